//! The drain in the form of a response.

use aegis_plugin_api::{host, prelude::*};

/// The drain as it is now. Times are RFC 3339.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainStatus {
    /// Whether the node takes no new work.
    draining: bool,
    /// When it began.
    started_at: Option<String>,
    /// When running commands are cancelled.
    deadline: Option<String>,
    /// When the last handler had returned.
    finished_at: Option<String>,
    /// For the operators.
    reason: String,
    /// What it waits for.
    in_flight: Vec<InFlight>,
}

/// A command that the drain waits for.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InFlight {
    /// Its id.
    command_id: String,
    /// Its name.
    name: String,
    /// Whose handler.
    plugin: String,
    /// Null while it waits.
    started_at: Option<String>,
    /// When its timeout passes; null while it waits and once it is cancelled.
    timeout_at: Option<String>,
    /// When its handler was asked to end.
    cancelled_at: Option<String>,
    /// Its handler ignored that: only a restart of the worker ends it.
    given_up: bool,
}

impl From<host::DrainStatus> for DrainStatus {
    fn from(status: host::DrainStatus) -> Self {
        Self {
            draining: status.draining,
            started_at: status.started_at,
            deadline: status.deadline,
            finished_at: status.finished_at,
            reason: status.reason,
            in_flight: status.in_flight.into_iter().map(InFlight::from).collect(),
        }
    }
}

impl From<host::InFlight> for InFlight {
    fn from(command: host::InFlight) -> Self {
        Self {
            command_id: command.command_id,
            name: command.name,
            plugin: command.plugin,
            started_at: command.started_at,
            timeout_at: command.timeout_at,
            cancelled_at: command.cancelled_at,
            given_up: command.given_up,
        }
    }
}
