//! `push-config`: takes a pushed config into force, step by step.
//!
//! Decode, validate, store, apply, acknowledge. What goes wrong before the
//! config is in force leaves the last good one in force and is remembered: the
//! same version with the same content is not tried again, and one that is in
//! force already changes nothing. A controller that cannot be told is no fault
//! of the config: that step is tried until the command's timeout.
//!
//! A config that came into force is on probation; what the node makes of that is
//! seen in its config status.

#![forbid(unsafe_code)]

mod payload;
mod steps;

use std::time::Duration;

use aegis_plugin_api::{host::ConfigControl, prelude::*};

use payload::{PushConfigCommand, decode};
use steps::Steps;

/// What became of a pushed config that is in force.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Applied {
    /// The version in force.
    config_version: String,
    /// It was in force already: nothing was changed.
    already_applied: bool,
    /// What was in force before; empty if nothing was.
    previous_version: String,
}

struct PushConfig;

impl BlockingHandler for PushConfig {
    type Request = PushConfigCommand;
    type Response = Applied;
    const SPEC: HandlerSpec = HandlerSpec::new("push-config")
        .summary("Validates, stores and applies a config")
        .effect(Effect::Idempotent)
        .timeout(Duration::from_secs(120))
        .concurrency(1)
        .runs_while_draining();

    fn handle(&self, request: PushConfigCommand, cx: &Context) -> Result<Applied, HandlerError> {
        let version = request.config_version.as_str();
        if version.is_empty() {
            return Err(HandlerError::new(
                HandlerError::INVALID_PAYLOAD,
                "configVersion is empty: a config needs a name by which it is known",
            ));
        }
        let steps = Steps {
            config: cx.interface::<ConfigControl>()?,
            version,
            cx,
        };
        let before = steps.config.current()?;
        let document = steps.run("decode", || decode(&request.config_payload))?;
        steps.run("validate", || steps.config.validate(version, &document))?;
        cx.check_cancelled()?;
        steps.run("store", || steps.config.store(version, &document))?;
        steps.run("apply", || steps.config.apply(version))?;
        steps.acknowledge()?;
        let after = steps.config.current()?;
        Ok(Applied {
            config_version: version.to_owned(),
            already_applied: (&before.version, &before.sha256) == (&after.version, &after.sha256),
            previous_version: before.version,
        })
    }
}

export_plugin! {
    id: "push-config",
    blocking: [PushConfig],
    requires: [ConfigControl],
}
