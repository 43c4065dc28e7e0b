//! The errors of commands whose outcome the controller made or derived.

use aegis_proto::{
    error_code,
    worker::v1::{CommandError, CommandState},
};

use crate::command::Step;

/// A queued command that an operator cancelled.
pub fn cancelled(reason: &str) -> CommandError {
    let why = if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    };
    error(
        error_code::CANCELLED,
        format!("cancelled before it reached its node{why}"),
        "Submit it again if it is still wanted.",
    )
}

/// A command whose outcome will never be told, because of what happened to it.
pub fn unknown(code: &str, message: impl Into<String>) -> CommandError {
    error(
        code,
        message,
        "Look at the node before submitting it again: it may have taken effect.",
    )
}

/// A command that a later one replaced before it took effect.
pub fn superseded(by: &str) -> CommandError {
    error("superseded", format!("replaced by {by}"), "")
}

/// The same where its node had been told of it.
pub fn superseded_late() -> CommandError {
    unknown(
        "superseded",
        "replaced by a later one before its node told the outcome",
    )
}

/// A command that its node can't be given.
pub fn rejected(code: &str, message: impl Into<String>, help: &str) -> CommandError {
    error(code, message, help)
}

/// The error for an end that the controller brought about by itself.
pub fn ended_by(step: Step, state: CommandState) -> Option<CommandError> {
    match (step, state) {
        (Step::Expire, _) => Some(error(
            error_code::EXPIRED,
            "its start_by passed before its node took it",
            "Check that the node is connected, and submit it again with a later start_by.",
        )),
        (Step::Orphan, CommandState::Cancelled) => Some(error(
            error_code::CANCELLED,
            "its node was evicted before it took it",
            "",
        )),
        (Step::Orphan, _) => Some(unknown(
            error_code::WORKER_LOST,
            "its node was evicted before it told the outcome",
        )),
        _ => None,
    }
}

fn error(code: &str, message: impl Into<String>, help: &str) -> CommandError {
    CommandError {
        code: code.into(),
        message: message.into(),
        help: help.into(),
        retryable: false,
        retry_after: None,
    }
}
