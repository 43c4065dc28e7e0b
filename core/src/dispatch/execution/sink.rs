//! What a call tells of itself.

use std::sync::atomic::Ordering;

use aegis_plugin_api::{Effect, HandlerError};
use bytes::Bytes;

use super::{Execution, Stage};
use crate::{
    clock,
    command::CancelReason,
    lifecycle::chain,
    plugin::{CallSink, Completion},
};

impl CallSink for Execution {
    fn progress(&self, permille: u32, note: &str) {
        self.shared
            .journal
            .progress(self.command.id, permille, note);
    }

    fn output(&self, data: &[u8]) {
        self.shared.journal.output(self.command.id, data);
    }

    fn save_checkpoint(&self, data: &[u8]) -> Result<(), HandlerError> {
        if self.target.effect != Effect::Resumable {
            return Err(HandlerError::new(
                "not-resumable",
                format!(
                    "{} declares the effect {}; only a resumable handler is given its checkpoint \
                     back",
                    self.lane.name,
                    self.target.effect.as_str()
                ),
            ));
        }
        let kept = self
            .shared
            .journal
            .checkpoint(self.command.id, Bytes::copy_from_slice(data));
        kept.map_err(|error| {
            HandlerError::new(
                "checkpoint-not-kept",
                format!("the checkpoint cannot be written: {}", chain(&error)),
            )
            .help("see the worker's log; the disk may be full")
            .retryable()
        })
    }

    fn checkpoint(&self) -> Option<Bytes> {
        self.shared.journal.checkpoint_of(self.command.id)
    }

    fn complete(&self, completion: Completion) {
        let Some(before) = self.returned(completion, clock::wall()) else {
            return;
        };
        self.lane.free(before == Stage::GivenUp);
        self.shared.pump(&self.lane);
    }

    fn cancelled(&self) -> Option<CancelReason> {
        match self.cancelled.load(Ordering::Acquire) {
            1 => Some(CancelReason::Requested),
            2 => Some(CancelReason::Deadline),
            3 => Some(CancelReason::Shutdown),
            4 => Some(CancelReason::Abandon),
            _ => None,
        }
    }
}

/// A reason as it is kept in an atomic; 0 is none.
pub(super) const fn code(reason: CancelReason) -> u8 {
    match reason {
        CancelReason::Requested => 1,
        CancelReason::Deadline => 2,
        CancelReason::Shutdown => 3,
        CancelReason::Abandon => 4,
    }
}
