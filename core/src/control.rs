//! What a granted plugin can do to its node: the facilities behind the host
//! interfaces `aegis.node-control/1` and `aegis.config/1`.
//!
//! The plugin host turns these traits into C tables; the drain object and the
//! pushed config implement them. Neither knows the other.

use aegis_plugin_api::HandlerError;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// `aegis.node-control/1`.
pub trait NodeControl: Send + Sync + 'static {
    /// Begins, changes or undoes a drain. Blocks until that is written down.
    fn drain(&self, request: DrainRequest) -> Result<DrainStatus, HandlerError>;
    /// The drain as it is now.
    fn drain_status(&self) -> DrainStatus;
    /// Begins the worker's own end. Repeating it changes nothing.
    fn shutdown(&self, request: ShutdownRequest) -> Result<(), HandlerError>;
}

/// `aegis.config/1`, the steps of a pushed config in their order. May block
/// for a bounded time.
pub trait ConfigControl: Send + Sync + 'static {
    /// What is in force and what was refused.
    fn current(&self) -> CurrentConfig;
    /// Refuses what this node cannot take. Changes nothing.
    fn validate(&self, candidate: &CandidateConfig) -> Result<(), HandlerError>;
    /// Writes it durably beside the last good one.
    fn store(&self, candidate: &CandidateConfig) -> Result<(), HandlerError>;
    /// Puts the stored one into force, on probation, or leaves the one before it
    /// in force. The one that is in force already is left as it is.
    fn apply(&self, version: &str) -> Result<(), HandlerError>;
    /// Tells the controller which version is in force.
    fn acknowledge(&self, version: &str) -> Result<(), HandlerError>;
    /// Remembers that a version is not to be tried again, and tells why.
    fn reject(&self, rejected: RejectedConfig) -> Result<(), HandlerError>;
}

/// Begins (`drain: true`) or undoes a drain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRequest {
    /// Whether the node takes no new work.
    pub drain: bool,
    /// From now. After it, running commands are cancelled.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// For the operators.
    #[serde(default)]
    pub reason: String,
}

/// The drain object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// Whether the node takes no new work.
    pub draining: bool,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When running commands are cancelled.
    pub deadline: Option<DateTime<Utc>>,
    /// When the last handler had returned.
    pub finished_at: Option<DateTime<Utc>>,
    /// For the operators.
    pub reason: String,
    /// What it waits for. Commands that may run while draining are not in it.
    pub in_flight: Vec<InFlight>,
}

/// A command that runs, or that a crash interrupted and that waits to run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// Its id.
    pub command_id: String,
    /// Its name.
    pub name: String,
    /// Whose handler.
    pub plugin: String,
    /// `None` while it waits.
    pub started_at: Option<DateTime<Utc>>,
    /// When its timeout passes; `None` while it waits and once it is cancelled.
    #[serde(default)]
    pub timeout_at: Option<DateTime<Utc>>,
    /// When its handler was asked to end, by its timeout or by a person.
    #[serde(default)]
    pub cancelled_at: Option<DateTime<Utc>>,
    /// Its handler ignored that. Its outcome is told, as unknown, and only a
    /// restart of the worker ends it.
    #[serde(default)]
    pub given_up: bool,
}

/// Asks the worker to end itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownRequest {
    /// For the log and the controller.
    pub reason: String,
    /// How long running commands are waited for; `None`: the config's.
    #[serde(default)]
    pub drain_timeout_ms: Option<u64>,
}

/// A pushed config that is not yet in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateConfig {
    /// Opaque.
    pub version: String,
    /// A JSON object.
    pub document: serde_json::Map<String, serde_json::Value>,
}

/// What is in force and what was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentConfig {
    /// Empty if none was ever applied.
    pub version: String,
    /// Of its document, in hexadecimal digits: a version is known by its
    /// content too. Empty where `version` is.
    #[serde(default)]
    pub sha256: String,
    /// The last refusal, unless a later version was applied.
    pub rejected: Option<RejectedConfig>,
}

/// A version that is not to be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedConfig {
    /// Which.
    pub version: String,
    /// `decode`, `validate`, `store`, `apply`, `acknowledge` or `health`.
    pub step: String,
    /// Why.
    pub reason: String,
}
