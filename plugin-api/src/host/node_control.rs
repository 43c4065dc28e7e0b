//! `aegis.node-control/1`: drain and shutdown of the node.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HostInterface, Interface};
use crate::HandlerError;

/// Drains the node and ends the worker.
#[derive(Debug, Clone)]
pub struct NodeControl(Interface);

/// Begins (`drain: true`) or undoes a drain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRequest {
    /// Whether the node takes no new work.
    pub drain: bool,
    /// From now. After it, running commands are cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// For the operators.
    #[serde(default)]
    pub reason: String,
}

/// The drain as it is now. Times are RFC 3339.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DrainStatus {
    /// Whether the node takes no new work.
    pub draining: bool,
    /// When it began.
    pub started_at: Option<String>,
    /// When running commands are cancelled.
    pub deadline: Option<String>,
    /// When the last handler had returned.
    pub finished_at: Option<String>,
    /// For the operators.
    pub reason: String,
    /// What it waits for.
    pub in_flight: Vec<InFlight>,
}

/// A command that a drain waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InFlight {
    /// Its id.
    pub command_id: String,
    /// Its name.
    pub name: String,
    /// Whose handler.
    pub plugin: String,
    /// RFC 3339; unset while it waits.
    pub started_at: Option<String>,
    /// RFC 3339: when its timeout passes; unset while it waits and once it is
    /// cancelled.
    pub timeout_at: Option<String>,
    /// RFC 3339: when its handler was asked to end.
    pub cancelled_at: Option<String>,
    /// Its handler ignored that. Its outcome is told, as unknown, and only a
    /// restart of the worker ends it.
    pub given_up: bool,
}

/// Begins the worker's own end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownRequest {
    /// For the log and the controller.
    pub reason: String,
    /// How long running commands are waited for; `None`: as the config says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_timeout_ms: Option<u64>,
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Deserialize)]
struct Done {}

impl NodeControl {
    /// Begins, changes or undoes a drain. Blocks until that is written down.
    ///
    /// # Errors
    ///
    /// The host's refusal.
    pub fn drain(&self, request: &DrainRequest) -> Result<DrainStatus, HandlerError> {
        self.0.call(0, request)
    }

    /// The drain as it is now.
    ///
    /// # Errors
    ///
    /// `plugin-stopped` once the plugin has been stopped.
    pub fn drain_status(&self) -> Result<DrainStatus, HandlerError> {
        self.0.call(1, &Nothing {})
    }

    /// Begins the worker's own end and answers before it ends. Repeating it
    /// changes nothing.
    ///
    /// # Errors
    ///
    /// The host's refusal.
    pub fn shutdown(&self, request: &ShutdownRequest) -> Result<(), HandlerError> {
        self.0.call(2, request).map(|Done {}| ())
    }
}

impl HostInterface for NodeControl {
    const ID: &'static str = "aegis.node-control/1";
    const GRANT: &'static str = "node-control";
    const FUNCTIONS: &'static [&'static str] = &["drain", "drain_status", "shutdown"];

    fn over(interface: Interface) -> Self {
        Self(interface)
    }
}
