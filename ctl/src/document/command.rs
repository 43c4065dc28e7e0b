//! Commands and what became of them.

use aegis_proto::{
    operator::v1::{CommandView, SubmitCommandResponse},
    worker::v1::{self, CommandState},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::{json, milliseconds, some, time, word};

/// One command.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Command {
    pub command_id: String,
    pub group_id: Option<String>,
    pub node_id: String,
    pub name: String,
    /// "queued", "delivered", "accepted", "running", "succeeded", "failed",
    /// "rejected", "expired", "cancelled" or "unknown".
    pub state: String,
    /// Whether the state is one of the last six.
    #[serde(rename = "final")]
    pub is_final: bool,
    pub issuer: Option<String>,
    pub payload: Option<Value>,
    pub response: Option<Value>,
    pub error: Option<Error>,
    pub progress: Option<Progress>,
    pub attempt: u32,
    pub cancel_requested: bool,
    pub created_at: Option<DateTime<Utc>>,
    pub not_before: Option<DateTime<Utc>>,
    pub start_by: Option<DateTime<Utc>>,
    pub timeout_ms: Option<u64>,
    pub delivered_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    /// The output as text; bytes that are no UTF-8 are replaced.
    pub output: Option<String>,
    /// Bytes of output that were not kept.
    pub output_cut: u64,
    /// The receipt as the node signed it and its signature, in base64.
    pub receipt: Option<String>,
    pub receipt_signature: Option<String>,
}

/// Why a command did not succeed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Error {
    /// Stable, as "deadline-exceeded".
    pub code: String,
    pub message: String,
    pub help: Option<String>,
    pub retryable: bool,
    pub retry_after_ms: Option<u64>,
}

/// How far a command is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// 0 to 1000; nothing where the handler cannot tell.
    pub permille: Option<u32>,
    pub note: Option<String>,
}

/// The commands of one submission: what `run`, `drain` and `shutdown` print.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CommandList {
    pub group_id: Option<String>,
    pub commands: Vec<Command>,
    pub counts: Counts,
}

/// Commands by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub total: usize,
    pub succeeded: usize,
    pub failed: usize,
    pub rejected: usize,
    pub expired: usize,
    pub cancelled: usize,
    pub unknown: usize,
    /// Not final yet.
    pub open: usize,
}

/// One line of `command show --follow -o json`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Follow<'a> {
    /// At first, and at every change of state.
    Command {
        command_id: &'a str,
        command: &'a Command,
    },
    Progress {
        command_id: &'a str,
        progress: Progress,
    },
    Output {
        command_id: &'a str,
        /// Bytes of output before it.
        offset: u64,
        text: &'a str,
    },
    /// So many bytes of output are missing before the next `output`.
    Gap { command_id: &'a str, bytes: u64 },
    /// The handler was begun again, and its output with it.
    Attempt { command_id: &'a str, attempt: u32 },
}

impl From<CommandView> for Command {
    fn from(view: CommandView) -> Self {
        let base64 = |bytes: &[u8]| some(BASE64_STANDARD.encode(bytes));
        Self {
            state: word(view.state().as_str_name(), "COMMAND_STATE_"),
            is_final: view.state() >= CommandState::Succeeded,
            payload: json(&view.payload),
            response: json(&view.response),
            timeout_ms: milliseconds(view.timeout.as_ref()),
            created_at: time(view.created_at.as_ref()),
            not_before: time(view.not_before.as_ref()),
            start_by: time(view.start_by.as_ref()),
            delivered_at: time(view.delivered_at.as_ref()),
            started_at: time(view.started_at.as_ref()),
            finished_at: time(view.finished_at.as_ref()),
            receipt: base64(&view.receipt),
            receipt_signature: base64(&view.receipt_signature),
            command_id: view.command_id,
            group_id: some(view.group_id),
            node_id: view.node_id,
            name: view.name,
            issuer: some(view.issuer),
            error: view.error.map(Error::from),
            progress: view.progress.map(Progress::from),
            attempt: view.attempt,
            cancel_requested: view.cancel_requested,
            output: None,
            output_cut: view.output_cut,
        }
    }
}

impl Command {
    /// With its output beside it.
    #[must_use]
    pub fn with_output(mut self, output: &[u8]) -> Self {
        self.output = some(String::from_utf8_lossy(output).into_owned());
        self
    }

    /// Whether it did what it was to do.
    pub fn succeeded(&self) -> bool {
        self.state == "succeeded"
    }
}

impl From<v1::CommandError> for Error {
    fn from(error: v1::CommandError) -> Self {
        Self {
            retry_after_ms: milliseconds(error.retry_after.as_ref()),
            code: error.code,
            message: error.message,
            help: some(error.help),
            retryable: error.retryable,
        }
    }
}

impl From<v1::Progress> for Progress {
    fn from(progress: v1::Progress) -> Self {
        Self {
            permille: (progress.permille <= 1000).then_some(progress.permille),
            note: some(progress.note),
        }
    }
}

impl CommandList {
    /// Of commands that belong together.
    pub fn new(group_id: String, commands: Vec<Command>) -> Self {
        Self {
            group_id: some(group_id),
            counts: Counts::of(&commands),
            commands,
        }
    }
}

impl From<SubmitCommandResponse> for CommandList {
    fn from(response: SubmitCommandResponse) -> Self {
        let commands = response.commands.into_iter().map(Command::from).collect();
        Self::new(response.group_id, commands)
    }
}

impl Counts {
    fn of(commands: &[Command]) -> Self {
        let mut counts = Self {
            total: commands.len(),
            ..Self::default()
        };
        for command in commands {
            *match command.state.as_str() {
                "succeeded" => &mut counts.succeeded,
                "failed" => &mut counts.failed,
                "rejected" => &mut counts.rejected,
                "expired" => &mut counts.expired,
                "cancelled" => &mut counts.cancelled,
                "unknown" => &mut counts.unknown,
                _ => &mut counts.open,
            } += 1;
        }
        counts
    }
}
