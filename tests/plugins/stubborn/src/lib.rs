//! A plugin that takes no new level where its node's own config makes it
//! stubborn: a pushed config that one node refuses and others take.

#![forbid(unsafe_code)]

use aegis_plugin_api::prelude::*;

/// `[plugins.stubborn.config]`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Refuses any level but 0.
    #[serde(default)]
    stubborn: bool,
    /// Anything.
    #[serde(default)]
    level: u32,
}

struct Stubborn;

impl Plugin for Stubborn {
    type Config = Config;

    fn start(_: Config, _: &Host) -> Result<Self, HandlerError> {
        Ok(Self)
    }

    fn reconfigure(&self, config: Config) -> Result<(), HandlerError> {
        if config.stubborn && config.level > 0 {
            let message = format!("level {} is not to this node's liking", config.level);
            return Err(HandlerError::new("stubborn", message));
        }
        Ok(())
    }
}

/// Says that the plugin is there.
struct Ask;

impl Handler<Stubborn> for Ask {
    type Request = NoFields;
    type Response = NoFields;
    const SPEC: HandlerSpec = HandlerSpec::new("stubborn.ask").effect(Effect::Read);

    async fn handle(&self, _: NoFields, _: &Context<Stubborn>) -> Result<NoFields, HandlerError> {
        Ok(NoFields {})
    }
}

export_plugin! {
    id: "stubborn",
    plugin: Stubborn,
    handlers: [Ask],
}
