//! What each way of ending means: the states and codes of outcomes.

use std::time::{Duration, SystemTime};

use aegis_plugin_api::Effect;
use aegis_proto::error_code;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};

use crate::{
    clock,
    command::{CancelReason, FinalState, HandlerError},
    journal::Ending,
    plugin::Completion,
};

/// A cancel that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cancel {
    pub(super) reason: CancelReason,
    pub(super) note: String,
}

/// It was not run.
pub(super) fn rejected(error: HandlerError) -> Ending {
    ended(FinalState::Rejected, error)
}

/// It was not run, for it is too late.
pub(super) fn expired(start_by: Option<SystemTime>) -> Ending {
    let by = start_by.map_or_else(String::new, |by| {
        format!(
            ": it was to start by {}",
            DateTime::<Utc>::from(by).to_rfc3339_opts(SecondsFormat::Millis, true)
        )
    });
    ended(
        FinalState::Expired,
        HandlerError::new(
            error_code::EXPIRED,
            format!("the command came too late to run{by}"),
        )
        .help("submit it again with a later start_by"),
    )
}

/// It was cancelled before its handler began.
pub(super) fn cancelled_before_start(cancel: &Cancel) -> Ending {
    ended(FinalState::Cancelled, cancelled(cancel, None))
}

/// The handler ignored its cancellation and every grace.
pub(super) fn given_up(cancel: Option<&Cancel>) -> Ending {
    let (code, why) = match cancel {
        Some(Cancel {
            reason: CancelReason::Deadline,
            ..
        }) => (error_code::DEADLINE_EXCEEDED, "its timeout passed"),
        _ => (error_code::ABANDONED, "it was cancelled"),
    };
    ended(
        FinalState::Unknown,
        HandlerError::new(
            code,
            format!(
                "{why}, and its handler neither returned nor can be stopped; it may or may not \
                 have taken effect"
            ),
        )
        .help("its slot stays taken until it returns; a restart of the worker frees it"),
    )
}

/// The handler returned.
pub(super) fn completed(completion: Completion, cancel: Option<&Cancel>, at: SystemTime) -> Ending {
    match (completion, cancel) {
        // It did its work, late or not: that is the truth.
        (Completion::Succeeded(response), _) => Ending {
            state: FinalState::Succeeded,
            response,
            error: None,
            at,
        },
        (Completion::Lost(error), _) => ended_at(at, FinalState::Unknown, error),
        (Completion::Panicked(error), _) => ended_at(
            at,
            FinalState::Failed,
            HandlerError {
                code: error_code::PANICKED.into(),
                ..error
            },
        ),
        // It read the payload and did nothing else.
        (Completion::Failed(error), None) if error.code == error_code::INVALID_PAYLOAD => {
            ended_at(at, FinalState::Rejected, error)
        }
        (Completion::Failed(error), None) => ended_at(at, FinalState::Failed, error),
        (Completion::Cancelled(error), None) => ended_at(
            at,
            FinalState::Failed,
            error.unwrap_or_else(|| {
                HandlerError::new(
                    error_code::PLUGIN_FAULT,
                    "the handler said that it was cancelled, but nobody had cancelled it",
                )
            }),
        ),
        (Completion::Failed(error), Some(cancel)) => {
            ended_at(at, FinalState::Cancelled, cancelled(cancel, Some(&error)))
        }
        (Completion::Cancelled(error), Some(cancel)) => {
            ended_at(at, FinalState::Cancelled, cancelled(cancel, error.as_ref()))
        }
    }
}

/// The node takes no new work.
pub(super) fn draining(reason: &str) -> HandlerError {
    HandlerError::new(
        error_code::DRAINING,
        format!("this node drains and takes no new work: {reason}"),
    )
    .help("submit it to another node, or undo the drain with `aegisctl drain NODE --undo`")
    .retryable()
}

/// There is no room for it.
pub(super) fn overloaded(what: &str, retry_after: Duration) -> HandlerError {
    HandlerError::new(error_code::OVERLOADED, what).retry_after(retry_after)
}

/// It cannot be written down.
pub(super) fn unwritable(retry_after: Duration) -> HandlerError {
    HandlerError::new(
        error_code::JOURNAL_UNWRITABLE,
        "this node cannot write its journal, and runs nothing that it cannot write down first",
    )
    .help("look at the worker's log and at the free space of its state directory")
    .retry_after(retry_after)
}

/// It was delivered to a journal that is lost.
pub(super) fn journal_lost() -> Ending {
    ended(
        FinalState::Unknown,
        HandlerError::new(
            error_code::JOURNAL_LOST,
            "the worker lost its journal after this command had been delivered: it may or may not \
             have run",
        )
        .help("find out whether it took effect before you submit it again"),
    )
}

/// A crash of the worker interrupted it, and it is not run again.
pub(super) fn interrupted(effect: Effect, attempt: u32, why: &str) -> Ending {
    // What changes nothing has not taken effect, whatever became of it.
    let state = match effect {
        Effect::Read => FinalState::Failed,
        Effect::Idempotent | Effect::AtMostOnce | Effect::Resumable => FinalState::Unknown,
    };
    let error = HandlerError::new(
        error_code::INTERRUPTED,
        format!("the worker ended while its handler ran (attempt {attempt}); {why}"),
    );
    ended(
        state,
        match state {
            FinalState::Failed => error.retryable(),
            _ => error.help("find out whether it took effect before you submit it again"),
        },
    )
}

/// The process that ran it is gone, and it is not run again.
pub(super) fn lost(
    effect: Effect,
    error: HandlerError,
    cancel: Option<&Cancel>,
    why: &str,
    at: SystemTime,
) -> Ending {
    // What changes nothing has not taken effect, however far it came.
    let state = match (effect, cancel) {
        (Effect::Read, Some(_)) => FinalState::Cancelled,
        (Effect::Read, None) => FinalState::Failed,
        (Effect::Idempotent | Effect::AtMostOnce | Effect::Resumable, _) => FinalState::Unknown,
    };
    let error = match cancel {
        Some(cancel) => HandlerError {
            message: format!("{}; {}", cancelled(cancel, None).message, error.message),
            ..cancelled(cancel, None)
        },
        None => HandlerError {
            message: format!("{}; {why}", error.message),
            ..error
        },
    };
    let error = match state {
        FinalState::Unknown => {
            error.help("find out whether it took effect before you submit it again")
        }
        FinalState::Failed => error.retryable(),
        _ => error,
    };
    ended_at(at, state, error)
}

/// It was to run again after it was lost, and is not.
pub(super) fn lost_before(effect: Effect, attempt: u32, why: &str) -> Ending {
    let error = HandlerError::new(
        error_code::INTERRUPTED,
        format!("the process that ran it ended (attempt {attempt})"),
    );
    lost(effect, error, None, why, clock::wall())
}

fn cancelled(cancel: &Cancel, error: Option<&HandlerError>) -> HandlerError {
    let (code, what) = match cancel.reason {
        CancelReason::Deadline => (error_code::DEADLINE_EXCEEDED, "its timeout passed"),
        CancelReason::Shutdown => (error_code::CANCELLED, "the worker shut down"),
        CancelReason::Requested | CancelReason::Abandon => {
            (error_code::CANCELLED, "it was cancelled")
        }
    };
    let mut message = match (cancel.reason, cancel.note.as_str()) {
        (_, "") => what.to_owned(),
        (CancelReason::Deadline, note) => note.to_owned(),
        (_, note) => format!("{what}: {note}"),
    };
    // That it was cancelled is said already.
    if let Some(error) = error.filter(|error| error.code != error_code::CANCELLED) {
        message.push_str("; its handler ended with: ");
        message.push_str(&error.to_string());
    }
    let own = HandlerError::new(code, message);
    match cancel.reason {
        CancelReason::Deadline => own.help("submit it with a longer timeout, if the config allows"),
        CancelReason::Shutdown => own.retryable(),
        CancelReason::Requested | CancelReason::Abandon => own,
    }
}

fn ended(state: FinalState, error: HandlerError) -> Ending {
    ended_at(clock::wall(), state, error)
}

fn ended_at(at: SystemTime, state: FinalState, error: HandlerError) -> Ending {
    Ending {
        state,
        response: Bytes::new(),
        error: Some(error),
        at,
    }
}
