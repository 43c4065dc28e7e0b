//! The one facade behind which every plugin stands, whatever its placement.

mod answer;
mod calls;
mod child;
mod faults;
#[allow(unsafe_code)]
mod ffi;
pub(crate) mod frame;
mod hosted;
mod interfaces;
mod log;
mod restart;
mod schema;

use std::{fmt, sync::Arc, time::Duration};

use aegis_plugin_api::{Effect, HandlerError};
use bytes::Bytes;
use serde::{Serialize, Serializer};

pub use child::PluginHostProgram;
pub(crate) use child::{ChildPlugin, ChildSetup};
pub use faults::FaultCounts;
pub(crate) use ffi::{
    Descriptor, executable_copy, inherited, log_level, map, map_copy, set_log_number,
};
pub(crate) use hosted::{Hosted, Hosting};
pub(crate) use interfaces::{Granted, HostInterfaces};
pub(crate) use log::PLUGIN_LOG;
pub use log::follow_log_level;

use crate::command::{CancelReason, CommandId};

/// Where a plugin's code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Linked into this program.
    BuiltIn,
    /// A library loaded into this process.
    InProcess,
    /// The same library in a process of its own.
    Process,
}

/// A running plugin.
pub trait PluginInstance: Send + Sync + 'static {
    /// Whether [`start`](Self::start) may block its caller. If so it is called
    /// on a thread made for blocking.
    fn start_may_block(&self) -> bool;

    /// Whether it runs in a process of its own, so that no crash of the worker is
    /// its fault.
    fn has_own_process(&self) -> bool {
        false
    }

    /// Begins a call. `sink` hears of it until its `complete`, which comes
    /// exactly once if this answers [`Started::Pending`] and never otherwise;
    /// it can come before this returns.
    fn start(&self, call: Call<'_>, sink: Arc<dyn CallSink>) -> Started;

    /// Asks that a call end. An id that is over is ignored.
    fn cancel(&self, call: CallId, reason: CancelReason);

    /// Forgets a call: a completion that comes later is counted, not delivered.
    fn abandon(&self, call: CallId);

    /// Gives a new config. On an error the old one stays in force. May block.
    fn reconfigure(&self, config: &serde_json::Value) -> Result<(), HandlerError>;

    /// Refuses new calls and waits for the running ones; false if they still
    /// run after `timeout`. May block.
    fn quiesce(&self, timeout: Duration) -> bool;
}

/// A running plugin as the catalog keeps it, and what it can tell of it.
pub(crate) trait Running: PluginInstance {
    /// How it fares.
    fn state(&self) -> PluginState;

    /// How often it panicked, or crashed in a process of its own, since the
    /// worker began.
    fn panics(&self) -> u64;

    /// What it did that it must not.
    fn faults(&self) -> FaultCounts;

    /// Ends a quarantine that began while the worker ran. False: there is none.
    fn release(&self) -> bool {
        false
    }
}

/// What a handler is given.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The handler's index in its plugin's manifest.
    pub handler: u32,
    /// The command.
    pub command_id: CommandId,
    /// JSON in UTF-8.
    pub payload: &'a [u8],
    /// From now.
    pub timeout: Option<Duration>,
    /// Who gave it.
    pub issuer: &'a str,
    /// W3C trace context, or empty.
    pub traceparent: &'a str,
    /// 1 for the first.
    pub attempt: u32,
}

/// Names a call between host and plugin: generational, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId(pub u64);

/// What came of beginning a call.
#[derive(Debug)]
pub enum Started {
    /// It is over already.
    Done(Completion),
    /// The sink will hear.
    Pending(CallId),
    /// It was not taken and had no effect.
    Refused(HandlerError),
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completion {
    /// With this response: JSON in UTF-8, checked by the host.
    Succeeded(Bytes),
    /// With the handler's error.
    Failed(HandlerError),
    /// Because it was asked to.
    Cancelled(Option<HandlerError>),
    /// The handler panicked.
    Panicked(HandlerError),
    /// The process that ran it is gone, and this is how it ended. What that
    /// means depends on what the handler declares.
    Lost(HandlerError),
}

/// Hears of one call. No method but one blocks; a plugin's thread calls them.
pub trait CallSink: Send + Sync + 'static {
    /// 0 to 1000, or 1001 where the handler cannot tell.
    fn progress(&self, permille: u32, note: &str);
    /// More output.
    fn output(&self, data: &[u8]);
    /// Keeps what the command is given back in its next attempt, and returns
    /// when that is on disk: the one method that blocks.
    ///
    /// # Errors
    ///
    /// Why it is not kept.
    fn save_checkpoint(&self, data: &[u8]) -> Result<(), HandlerError>;
    /// What was kept, in this attempt or one before.
    fn checkpoint(&self) -> Option<Bytes>;
    /// The end.
    fn complete(&self, completion: Completion);
    /// Whether it was asked to end.
    fn cancelled(&self) -> Option<CancelReason>;
}

/// One handler of the catalog.
#[derive(Clone)]
pub struct Handler {
    /// What it declares.
    pub info: HandlerInfo,
    /// Its index in its plugin's manifest.
    pub index: u32,
    /// Its plugin.
    pub instance: Arc<dyn PluginInstance>,
}

/// Where a command's name leads.
#[derive(Debug, Clone, Copy)]
pub enum Lookup<'a> {
    /// To this handler, which is enabled.
    Found(&'a Handler),
    /// To a handler that the node's own config, or a fault of its plugin, turns off.
    Disabled {
        /// What turns it off, and where.
        reason: &'a str,
    },
    /// Nowhere.
    Unknown {
        /// The name most like it, if one is.
        nearest: Option<&'a str>,
    },
}

/// The handlers of a node by command name. Dispatch asks it once per command.
pub trait Handlers: Send + Sync + 'static {
    /// Calls `see` exactly once. A visitor, so that a set of handlers that is
    /// swapped as a whole can be asked without a copy.
    fn lookup(&self, name: &str, see: &mut dyn FnMut(Lookup<'_>));
}

/// What is known of a handler, run or not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HandlerInfo {
    /// The command's name.
    pub name: String,
    /// Whose.
    pub plugin: String,
    /// One line.
    pub summary: String,
    /// What a crash means.
    pub effect: Effect,
    /// Of commands that bring none. Written in milliseconds.
    #[serde(rename = "timeout_ms", serialize_with = "milliseconds")]
    pub timeout: Duration,
    /// How many run at once.
    pub concurrency: u32,
    /// It may run on the caller's thread.
    pub inline: bool,
    /// It runs although the node takes no new work.
    pub runs_while_draining: bool,
    /// Of the request.
    pub request_schema: Option<serde_json::Value>,
    /// Of the response.
    pub response_schema: Option<serde_json::Value>,
    /// `None`: enabled. Otherwise why not.
    pub disabled: Option<String>,
}

/// One line of the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PluginInfo {
    /// Its name; the file's stem where even that could not be read.
    pub name: String,
    /// Its version, if it could be read.
    pub version: String,
    /// Where it runs, or would.
    pub placement: Placement,
    /// What decided that; empty where it was not decided.
    pub placed_by: String,
    /// Of the file. Written in hexadecimal.
    #[serde(serialize_with = "hexadecimal")]
    pub sha256: Option<[u8; 32]>,
    /// The path as found; `None` for a built-in plugin.
    pub file: Option<std::path::PathBuf>,
    /// What became of it.
    #[serde(flatten)]
    pub state: PluginState,
    /// What let it in: `owner`, `signed`, `pinned` or `built-in`; empty if
    /// nothing did.
    pub trust: String,
    /// Why, in a sentence; empty if nothing did.
    pub trust_reason: String,
}

/// What became of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "reason", rename_all = "kebab-case")]
pub enum PluginState {
    /// It runs.
    Active,
    /// The config turns it off.
    Disabled(String),
    /// It was never loaded, and this check says why.
    Refused(String),
    /// It was loaded, and then this failed.
    Failed(String),
    /// The worker crashed too often while it ran; an operator has to release it.
    Quarantined(String),
}

impl PluginState {
    /// Its name in tables and on the wire, and the reason where it does not run.
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Active => ("active", ""),
            Self::Disabled(reason) => ("disabled", reason),
            Self::Refused(reason) => ("refused", reason),
            Self::Failed(reason) => ("failed", reason),
            Self::Quarantined(reason) => ("quarantined", reason),
        }
    }
}

impl Placement {
    /// Its name in the config, in tables and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::InProcess => "in-process",
            Self::Process => "process",
        }
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler")
            .field("info", &self.info)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn hexadecimal<S: Serializer>(digest: &Option<[u8; 32]>, serializer: S) -> Result<S::Ok, S::Error> {
    digest
        .map(crate::loader::Digest::from)
        .serialize(serializer)
}
