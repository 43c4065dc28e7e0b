//! A command under way.

use std::{fmt, sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    Progress,
    book::{Book, Record},
};
use crate::{
    CancelReason,
    abi::{
        AEGIS_CANCEL_ABANDON, AEGIS_CANCEL_DEADLINE, AEGIS_CANCEL_REQUESTED, AEGIS_CANCEL_SHUTDOWN,
    },
    call_facts::TextParts,
    completion::{Completion, Started},
    instance::{Engine, IncomingCall},
};

/// What a command brings beside its payload.
#[derive(Debug, Clone)]
pub struct CallOptions {
    /// From now; the harness does not cancel by itself.
    pub timeout: Option<Duration>,
    /// Who gave it.
    pub issuer: String,
    /// 1 for the first.
    pub attempt: u32,
    /// What an earlier attempt kept; see [`TestCall::checkpoint`].
    pub checkpoint: Option<Value>,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self {
            timeout: Some(Duration::from_secs(60)),
            issuer: "test".to_owned(),
            attempt: 1,
            checkpoint: None,
        }
    }
}

/// A command that was begun.
pub struct TestCall {
    engine: Arc<dyn Engine>,
    book: Arc<Book>,
    id: u64,
    command_id: String,
}

impl TestCall {
    pub(super) fn start(
        engine: &Arc<dyn Engine>,
        book: &Arc<Book>,
        id: u64,
        handler: u32,
        resumable: bool,
        payload: &[u8],
        options: CallOptions,
    ) -> Self {
        let command_id = format!("01890a5d-ac96-774b-bcce-{id:012x}");
        let record = Record {
            command_id: command_id.clone(),
            resumable,
            checkpoint: options
                .checkpoint
                .map(|state| state.to_string().into_bytes()),
            ..Record::default()
        };
        book.open(id, record);
        let started = Arc::clone(engine).start(IncomingCall {
            handler,
            id,
            timeout: options.timeout,
            text: TextParts {
                command_id: &command_id,
                issuer: &options.issuer,
                traceparent: "",
            },
            payload,
            attempt: options.attempt,
        });
        match started {
            Started::Pending => {}
            Started::Done(completion) => {
                book.change(id, |record| record.completion = Some(completion));
            }
            Started::Refused(error) => {
                book.change(id, |record| {
                    record.completion = Some(Completion::Failed(error))
                });
            }
        }
        Self {
            engine: Arc::clone(engine),
            book: Arc::clone(book),
            id,
            command_id,
        }
    }

    /// The command's id.
    pub fn command_id(&self) -> &str {
        &self.command_id
    }

    /// Cancels it, as a worker does.
    pub fn cancel(&self, reason: CancelReason) {
        self.send_cancel(match reason {
            CancelReason::Requested => AEGIS_CANCEL_REQUESTED,
            CancelReason::Deadline => AEGIS_CANCEL_DEADLINE,
            CancelReason::Shutdown => AEGIS_CANCEL_SHUTDOWN,
        });
    }

    /// Gives it up, as a worker does when a cancel had no effect in time.
    pub fn abandon(&self) {
        self.send_cancel(AEGIS_CANCEL_ABANDON);
    }

    /// How it ended, if it has.
    pub fn completion(&self) -> Option<Completion> {
        self.record().completion
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// If it does not end in 30 s.
    pub fn wait(&self) -> Completion {
        self.book.wait(self.id, "the call's end", |record| {
            record.completion.clone()
        })
    }

    /// Waits for a sign of progress.
    ///
    /// # Panics
    ///
    /// If none comes that fits in 30 s.
    pub fn wait_for_progress(&self, fits: impl Fn(&Progress) -> bool) -> Progress {
        self.book.wait(self.id, "progress", |record| {
            record
                .progress
                .iter()
                .find(|progress| fits(progress))
                .cloned()
        })
    }

    /// What it has kept for its next attempt, as JSON; for
    /// [`CallOptions::checkpoint`] of a call that is to go on from there.
    pub fn checkpoint(&self) -> Option<Value> {
        serde_json::from_slice(&self.record().checkpoint?).ok()
    }

    /// Waits for a checkpoint.
    ///
    /// # Panics
    ///
    /// If none comes that fits in 30 s.
    pub fn wait_for_checkpoint(&self, fits: impl Fn(&Value) -> bool) -> Value {
        self.book.wait(self.id, "a checkpoint", |record| {
            let checkpoint = record.checkpoint.as_ref()?;
            serde_json::from_slice(checkpoint).ok().filter(&fits)
        })
    }

    /// All its progress so far.
    pub fn progress(&self) -> Vec<Progress> {
        self.record().progress
    }

    /// Its output so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.record().output).into_owned()
    }

    fn record(&self) -> Record {
        self.book.record(self.id)
    }

    fn send_cancel(&self, reason: u32) {
        self.book
            .change(self.id, |record| record.cancelled = reason);
        self.engine.cancel(self.id, reason);
    }
}

impl fmt::Debug for TestCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestCall")
            .field("command_id", &self.command_id)
            .finish_non_exhaustive()
    }
}
