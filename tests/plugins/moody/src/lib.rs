//! A plugin that takes its settings as its settings say: calmly, not at all, or
//! with the whole process. Where it is granted that, it counts beyond its own end.

#![forbid(unsafe_code)]

use std::sync::{Mutex, PoisonError};

use aegis_plugin_api::{KeyValue, Metrics, prelude::*};

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

/// Counts its calls: in a value that outlives the process, and in a figure.
struct Count;

impl Handler<Moody> for Count {
    type Request = NoFields;
    type Response = u64;
    const SPEC: HandlerSpec = HandlerSpec::new("moody.count");

    async fn handle(&self, _: NoFields, cx: &Context<Moody>) -> Result<u64, HandlerError> {
        let kv: KeyValue = cx.interface()?;
        let metrics: Metrics = cx.interface()?;
        let count = loop {
            let before = kv.get("count").await?;
            let (version, count) = before.map_or((None, 0), |entry| {
                let text = String::from_utf8_lossy(&entry.value).into_owned();
                (Some(entry.version), text.parse().unwrap_or(0))
            });
            let count: u64 = count + 1;
            match kv.put_if("count", count.to_string(), version).await {
                Ok(_) => break count,
                // Another call was faster.
                Err(error) if error.code == KeyValue::CONFLICT => {}
                Err(error) => return Err(error),
            }
        };
        let counter = metrics.counter("moody_counts", "Calls of moody.count")?;
        counter.add(1, &[("kept", "yes")])?;
        Ok(count)
    }
}

export_plugin! {
    id: "moody",
    plugin: Moody,
    handlers: [Tell, Count],
}
