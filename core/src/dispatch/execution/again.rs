//! How a command ends that need not have run, where a crash, of the worker or of
//! the process that ran it, may have interrupted an earlier run of it: what says
//! that it did not run must then not be said.

use std::time::SystemTime;

use aegis_plugin_api::Effect;

use super::Execution;
use crate::{
    command::{FinalState, HandlerError},
    dispatch::ending::{self, Cancel},
    journal::Ending,
    plugin::Completion,
};

impl Execution {
    /// It is not run.
    pub(super) fn refused(&self, error: HandlerError) -> Ending {
        if self.run.is_again() {
            return self.not_again(&format!("it is not run again: {}", error.message));
        }
        ending::rejected(error)
    }

    /// It is not run, for it is too late.
    pub(super) fn expired(&self) -> Ending {
        if self.run.is_again() {
            return self.not_again("it is not run again, for it was to start earlier");
        }
        ending::expired(self.command.start_by)
    }

    /// It was cancelled before its handler began.
    pub(super) fn cancelled_before_start(&self, cancel: &Cancel) -> Ending {
        let ending = ending::cancelled_before_start(cancel);
        match &ending.error {
            // What changes nothing was cancelled, however far it came.
            Some(error) if self.run.is_again() && self.target.effect != Effect::Read => {
                self.not_again(&format!("it is not run again: {}", error.message))
            }
            _ => ending,
        }
    }

    /// Its handler returned.
    pub(super) fn completed(
        &self,
        completion: Completion,
        cancel: Option<&Cancel>,
        at: SystemTime,
    ) -> Ending {
        let mut ending = ending::completed(completion, cancel, at);
        if self.run.is_again() && ending.state == FinalState::Rejected {
            // The run before may have gone further than this one.
            ending.state = FinalState::Failed;
        }
        ending
    }

    fn not_again(&self, why: &str) -> Ending {
        if self.run.until.is_some() {
            return ending::lost_before(self.target.effect, self.run.attempt - 1, why);
        }
        ending::interrupted(self.target.effect, self.run.attempt - 1, why)
    }
}
