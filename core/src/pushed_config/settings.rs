//! The key `worker` of a pushed config: the worker's own reloadable settings.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use crate::{
    command::HandlerError,
    config::{is_name, parse_duration, parse_log_filter},
};

/// The command that brings the next config. A pushed one that could turn it off
/// would be the node's last.
const WAY_BACK: &str = "push-config";

/// What a pushed config sets of the worker itself. Strict: an unknown key is
/// an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSettings {
    /// Within the bounds of the local file.
    #[serde(default, deserialize_with = "duration")]
    pub heartbeat_interval: Option<Duration>,
    /// As in `info` or `info,aegis_core=debug`.
    #[serde(default, deserialize_with = "log_level")]
    pub log_level: Option<String>,
    /// By command name.
    #[serde(default)]
    pub handlers: BTreeMap<String, HandlerSettings>,
}

/// What a pushed config sets of one handler. It narrows what the local file
/// allows and never widens it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandlerSettings {
    /// False turns the handler off; true changes nothing.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// The longest timeout.
    #[serde(default, deserialize_with = "duration")]
    pub timeout: Option<Duration>,
    /// The most at once.
    #[serde(default, deserialize_with = "concurrency")]
    pub concurrency: Option<u32>,
    /// Who may give it, of those that the local file lets.
    #[serde(default)]
    pub issuers: Option<Vec<String>>,
}

impl WorkerSettings {
    /// Reads the value of the key `worker`; absent, nothing is set.
    pub(super) fn read(worker: Option<&Value>) -> Result<Self, HandlerError> {
        let Some(worker) = worker else {
            return Ok(Self::default());
        };
        let invalid = |message: String| {
            HandlerError::new("invalid-config", format!("the key `worker`: {message}")).help(
                "it takes heartbeat_interval, log_level and handlers.NAME with enabled, timeout, \
                 concurrency and issuers",
            )
        };
        let settings = Self::deserialize(worker).map_err(|error| invalid(error.to_string()))?;
        if let Some(name) = settings.handlers.keys().find(|name| !is_name(name)) {
            return Err(invalid(format!("{name:?} is no name of a command")));
        }
        if settings.handlers.contains_key(WAY_BACK) {
            return Err(invalid(format!(
                "handlers.{WAY_BACK} is for the node's own file: no other config could come after"
            )));
        }
        Ok(settings)
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let duration = parse_duration(&text).map_err(de::Error::custom)?;
    if duration.is_zero() {
        return Err(de::Error::custom("a duration of zero"));
    }
    Ok(Some(duration))
}

fn concurrency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    match Option::<u32>::deserialize(deserializer)? {
        Some(0) => Err(de::Error::custom(
            "a concurrency of 0; `enabled: false` turns it off",
        )),
        other => Ok(other),
    }
}

/// Checks the directives `LEVEL` and `TARGET=LEVEL`, separated by commas.
fn log_level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    parse_log_filter(&text).map(Some).map_err(de::Error::custom)
}
