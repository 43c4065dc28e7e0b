//! What a call tells of itself.

use std::{sync::atomic::Ordering, time::SystemTime};

use super::{Execution, Stage};
use crate::{
    command::CancelReason,
    dispatch::ending,
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

    fn complete(&self, completion: Completion) {
        let Some(before) =
            self.end(|cancel| ending::completed(completion, cancel, SystemTime::now()))
        else {
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
