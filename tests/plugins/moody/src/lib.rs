//! A plugin that takes its settings as its settings say: calmly, not at all, or
//! with the whole process.

#![forbid(unsafe_code)]

use std::sync::{Mutex, PoisonError};

use aegis_plugin_api::prelude::*;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Mood {
    #[default]
    Calm,
    /// Refuses these settings.
    Stubborn,
    /// Ends the worker's process with these settings.
    Deadly,
    /// Panics at its next command.
    Nervous,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    mood: Mood,
}

struct Moody(Mutex<Mood>);

impl Moody {
    fn take(settings: &Settings) -> Result<Mood, HandlerError> {
        match settings.mood {
            Mood::Stubborn => Err(HandlerError::new("stubborn", "I do not want to")),
            Mood::Deadly => std::process::abort(),
            mood => Ok(mood),
        }
    }
}

impl Plugin for Moody {
    type Config = Settings;

    fn start(settings: Settings, _host: &Host) -> Result<Self, HandlerError> {
        Self::take(&settings).map(Mutex::new).map(Self)
    }

    fn reconfigure(&self, settings: Settings) -> Result<(), HandlerError> {
        let mood = Self::take(&settings)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = mood;
        Ok(())
    }
}

/// Tells its mood.
struct Tell;

impl Handler<Moody> for Tell {
    type Request = NoFields;
    type Response = String;
    const SPEC: HandlerSpec = HandlerSpec::new("moody.tell").effect(Effect::Read);

    async fn handle(&self, _: NoFields, cx: &Context<Moody>) -> Result<String, HandlerError> {
        let mood = *cx.plugin().0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_ne!(mood, Mood::Nervous, "too nervous to tell");
        Ok(format!("{mood:?}"))
    }
}

export_plugin! {
    id: "moody",
    plugin: Moody,
    handlers: [Tell],
}
