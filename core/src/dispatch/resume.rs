//! What the last life of the worker left undone.

use std::{
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use aegis_plugin_api::Effect;

use super::{Dispatcher, Shared, ending, execution::Run};
use crate::{clock, journal::Recovered};

impl Dispatcher {
    /// Takes up the commands that the journal was opened with. To be called
    /// once, before anything else is submitted.
    ///
    /// One whose handler had not begun is admitted like a new one. Of the
    /// others the effect class decides: what may run again does, as often as
    /// [`attempts`](super::DispatchLimits::attempts) says and not beyond its
    /// `start_by`; the rest ends as unknown.
    pub fn resume(&self, commands: Vec<Recovered>) {
        let shared = &self.shared;
        shared.unsettled.fetch_add(commands.len(), Ordering::AcqRel);
        for recovered in commands {
            shared.resume(recovered);
        }
        shared.node.recovered();
        shared.journal.commit_soon();
    }
}

impl Shared {
    fn resume(self: &Arc<Self>, recovered: Recovered) {
        let command = recovered.command;
        let admission = self.admit(&command, recovered.attempt.is_some());
        let Some(attempt) = recovered.attempt else {
            match admission.decision {
                Ok((target, lane)) => {
                    let run = Run {
                        recovered: true,
                        ..Run::FIRST
                    };
                    self.enter(command, target, lane, run);
                }
                Err(error) => self.refuse(&command, error, admission.known),
            }
            return;
        };
        let (effect, number) = (attempt.effect, attempt.number);
        let decision = match self.reason_to_stop(effect, number, command.start_by) {
            Some(reason) => Err(reason),
            None => admission
                .decision
                .map_err(|error| format!("it is not run again: {}", error.message)),
        };
        match decision {
            Ok((target, lane)) => {
                tracing::warn!(
                    id = %command.id, name = command.name, attempt = attempt.number,
                    "the worker ended while this command ran: it is run again"
                );
                if !admission.reserved {
                    let name = Arc::clone(&lane.name);
                    self.node.interrupted(command.id, name, attempt.plugin);
                }
                let run = Run::recovered_after(attempt.number);
                self.enter(command, target, lane, run);
            }
            Err(reason) => {
                let ending = ending::interrupted(attempt.effect, attempt.number, &reason);
                self.settle_named(&command, ending, admission.known);
            }
        }
    }

    /// Why a command that was interrupted at this attempt is not run again.
    pub(super) fn reason_to_stop(
        &self,
        effect: Effect,
        attempt: u32,
        start_by: Option<SystemTime>,
    ) -> Option<String> {
        if effect == Effect::AtMostOnce {
            return Some(
                "it may run once at the most, and may or may not have taken effect".into(),
            );
        }
        if attempt >= self.limits.attempts {
            return Some(format!("it is not run again after {attempt} attempts"));
        }
        start_by
            .filter(|by| clock::wall() > *by)
            .map(|_| "it is not run again, for it was to start earlier".into())
    }
}
