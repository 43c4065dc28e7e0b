//! The node's own policy: which commands may run, from whom, for how long and
//! how many at once.
//!
//! The local file decides. What a controller pushed can narrow that and never
//! widen it: a handler is enabled if both enable it, an issuer is permitted if
//! both permit it, and of two numbers the smaller one holds.

use std::time::Duration;

use aegis_proto::{error_code, limits::MAX_PAYLOAD_BYTES};
use serde::de::IgnoredAny;
use tokio::sync::watch;

use crate::{
    command::{Command, HandlerError},
    config::model::HandlersConfig,
    plugin::HandlerInfo,
    pushed_config::WorkerSettings,
};

/// No command runs longer, whatever it asks for.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// The rules of one node.
#[derive(Debug, Clone)]
pub struct Policy {
    local: HandlersConfig,
    pushed: watch::Receiver<WorkerSettings>,
}

/// How a command may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// From the start of the handler.
    pub timeout: Duration,
    /// How many of its name run at once; at least 1.
    pub concurrency: u32,
}

impl Policy {
    /// The local rules, narrowed by whatever is pushed.
    pub fn new(local: HandlersConfig, pushed: watch::Receiver<WorkerSettings>) -> Self {
        Self { local, pushed }
    }

    /// The local rules alone.
    pub fn local(local: HandlersConfig) -> Self {
        Self::new(
            local,
            watch::Sender::new(WorkerSettings::default()).subscribe(),
        )
    }

    /// Whether and how an enabled handler runs this command. The node's drain
    /// is not looked at here.
    ///
    /// # Errors
    ///
    /// The error to reject the command with: `disabled`, `not-permitted` or
    /// `invalid-payload`.
    pub fn decide(&self, command: &Command, handler: &HandlerInfo) -> Result<Permit, HandlerError> {
        let local = self.local.by_name.get(&handler.name);
        let mut permit = Permit {
            timeout: handler.timeout,
            concurrency: local
                .and_then(|local| local.concurrency)
                .unwrap_or(handler.concurrency),
        };
        let mut bound = LONGEST_TIMEOUT;
        if let Some(timeout) = local.and_then(|local| local.timeout) {
            permit.timeout = timeout;
            bound = timeout;
        }
        if let Some(issuers) = local.and_then(|local| local.issuers.as_deref()) {
            permitted(command, issuers, "this node's own config")?;
        }
        let settings = self.pushed.borrow();
        if let Some(pushed) = settings.handlers.get(&handler.name) {
            if pushed.enabled == Some(false) {
                return Err(disabled(
                    &command.name,
                    &format!(
                        "the pushed config sets worker.handlers.{}.enabled",
                        handler.name
                    ),
                ));
            }
            if let Some(issuers) = &pushed.issuers {
                permitted(command, issuers, "the config pushed to this node")?;
            }
            bound = pushed.timeout.map_or(bound, |timeout| timeout.min(bound));
            permit.concurrency = pushed
                .concurrency
                .map_or(permit.concurrency, |most| most.min(permit.concurrency));
        }
        drop(settings);
        payload(command)?;
        permit.timeout = command.timeout.unwrap_or(permit.timeout).min(bound);
        permit.concurrency = permit.concurrency.max(1);
        Ok(permit)
    }
}

/// The rejection of a command that a config or a fault turns off.
pub(crate) fn disabled(name: &str, reason: &str) -> HandlerError {
    HandlerError::new(
        error_code::DISABLED,
        format!("the command {name:?} is disabled on this node: {reason}"),
    )
    .help("`aegis-worker plugins list` on the node shows what is enabled there")
}

/// The rejection of a command that no plugin has.
pub(crate) fn unknown(name: &str, nearest: Option<&str>) -> HandlerError {
    let name: String = name.chars().take(64).collect();
    let error = HandlerError::new(
        error_code::UNKNOWN_COMMAND,
        format!("no plugin of this node has a command {name:?}"),
    );
    match nearest {
        Some(nearest) => error.help(format!("did you mean {nearest:?}?")),
        None => error.help("`aegisctl node show` lists the commands of a node"),
    }
}

fn permitted(command: &Command, issuers: &[String], whose: &str) -> Result<(), HandlerError> {
    if issuers.contains(&command.issuer) {
        return Ok(());
    }
    Err(HandlerError::new(
        error_code::NOT_PERMITTED,
        format!(
            "{whose} does not let {:?} give the command {:?}",
            command.issuer, command.name
        ),
    )
    .help(format!(
        "`issuers` under `handlers.{}` names who may",
        command.name
    )))
}

fn payload(command: &Command) -> Result<(), HandlerError> {
    let invalid = |message: String| HandlerError::new(error_code::INVALID_PAYLOAD, message);
    let size = command.payload.len();
    if size > MAX_PAYLOAD_BYTES {
        return Err(invalid(format!(
            "the payload has {size} bytes, and {MAX_PAYLOAD_BYTES} is the limit"
        ))
        .help("pass a reference to large data, not the data"));
    }
    if size == 0 {
        return Ok(());
    }
    serde_json::from_slice::<IgnoredAny>(&command.payload)
        .map(|_| ())
        .map_err(|error| {
            invalid(format!("the payload is not JSON: {error}"))
                .help("`aegisctl describe COMMAND` shows what the command takes")
        })
}

#[cfg(test)]
mod tests;
