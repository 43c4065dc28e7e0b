//! Commands and their outcomes, as the worker sees them.

use std::time::{Duration, SystemTime};

pub use aegis_plugin_api::HandlerError;
pub use aegis_proto::CommandId;
use bytes::Bytes;

/// What a controller asks of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The same on every delivery.
    pub id: CommandId,
    /// Which handler.
    pub name: String,
    /// JSON in UTF-8.
    pub payload: Bytes,
    /// Not run earlier.
    pub not_before: Option<SystemTime>,
    /// Not run later.
    pub start_by: Option<SystemTime>,
    /// From the start of the handler; `None`: the handler's own.
    pub timeout: Option<Duration>,
    /// Who gave it.
    pub issuer: String,
    /// W3C trace context, or empty.
    pub traceparent: String,
    /// 1 for the first time that the controller sent it, and then one more for
    /// each; 0 where it does not say.
    pub delivery: u32,
}

impl Command {
    /// When the controller made it, which its id tells.
    pub fn created_at(&self) -> Option<SystemTime> {
        let (seconds, nanos) = self.id.as_uuid().get_timestamp()?.to_unix();
        SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
    }
}

/// How a command ended. There is exactly one per command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Of which command.
    pub id: CommandId,
    /// The command's name.
    pub name: String,
    /// What came of it.
    pub state: FinalState,
    /// The handler's response, JSON in UTF-8; empty unless it succeeded.
    pub response: Bytes,
    /// Set unless it succeeded.
    pub error: Option<HandlerError>,
    /// The kept output.
    pub output: Bytes,
    /// Bytes of output that were not kept.
    pub output_cut: u64,
    /// When the handler began; `None` if it never did.
    pub started_at: Option<SystemTime>,
    /// When the outcome was known.
    pub finished_at: SystemTime,
    /// 0 if the handler never began.
    pub attempt: u32,
}

/// The states that end a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinalState {
    /// The handler answered.
    Succeeded,
    /// The handler returned an error or panicked.
    Failed,
    /// It was never run: unknown, disabled, not permitted, malformed, draining
    /// or overloaded.
    Rejected,
    /// It was never run: its `start_by` passed.
    Expired,
    /// It was never run, or ended early, because of a cancel or its timeout.
    Cancelled,
    /// It may or may not have taken effect.
    Unknown,
}

/// Why a command is to end early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// An operator asked for it.
    Requested,
    /// Its timeout passed.
    Deadline,
    /// The worker shuts down.
    Shutdown,
    /// The grace after an earlier cancel is over.
    Abandon,
}
