//! How a command ends: by itself, by a cancel, by its time.

use std::sync::{Arc, atomic::Ordering};

use super::{Execution, Stage, State, sink};
use crate::{
    clock,
    command::{CancelReason, HandlerError},
    dispatch::{
        ending::{self, Cancel},
        timers::TimerKey,
    },
    journal::Ending,
    plugin::CallId,
    unpoisoned::lock,
};

impl Execution {
    pub(in crate::dispatch) fn cancel(self: &Arc<Self>, reason: CancelReason, note: &str) {
        if self.cancel_if_queued(reason, note) {
            return;
        }
        let mut state = lock(&self.state);
        if let Some(next) = state.next.clone() {
            drop(state);
            return next.cancel(reason, note);
        }
        if matches!(state.stage, Stage::Starting | Stage::Running) && state.cancel.is_none() {
            self.cancel_running(
                &mut state,
                Cancel {
                    reason,
                    note: note.to_owned(),
                },
            );
        }
    }

    pub(in crate::dispatch) fn cancel_if_queued(&self, reason: CancelReason, note: &str) -> bool {
        let cancel = Cancel {
            reason,
            note: note.to_owned(),
        };
        self.end_if_waiting(|| self.cancelled_before_start(&cancel))
    }

    pub(in crate::dispatch) fn reject_if_queued(&self, error: HandlerError) -> bool {
        self.end_if(Stage::Queued, || self.refused(error))
    }

    /// A node that drains rejects it if it waits, unless it runs while draining.
    pub(in crate::dispatch) fn reject_if_drained(&self, reason: &str) {
        if !self.is_let_in() {
            self.reject_if_queued(ending::draining(reason));
        }
    }

    pub(in crate::dispatch) fn timer_fired(self: &Arc<Self>, key: TimerKey) {
        let mut state = lock(&self.state);
        if state.timer != Some(key) {
            return;
        }
        state.timer = None;
        match state.stage {
            Stage::Queued | Stage::Writing => {
                self.watch_start(&mut state);
                if state.timer.is_none() {
                    drop(state);
                    self.end_if_waiting(|| {
                        self.too_late(clock::wall())
                            .unwrap_or_else(|| self.expired())
                    });
                }
            }
            Stage::Starting | Stage::Running if state.cancel.is_none() => {
                self.cancel_running(&mut state, self.timed_out());
            }
            Stage::Starting | Stage::Running if !state.abandoned => {
                state.abandoned = true;
                self.cancelled
                    .store(sink::code(CancelReason::Abandon), Ordering::Release);
                self.set_timer(&mut state, self.shared.limits.abandon_grace);
                if let Some(call) = state.call {
                    self.tell(call, CancelReason::Abandon);
                }
            }
            Stage::Starting | Stage::Running => {
                state.stage = Stage::GivenUp;
                let ending = ending::given_up(state.cancel.as_ref());
                drop(state);
                self.give_up(ending);
            }
            Stage::GivenUp | Stage::Over => {}
        }
    }

    /// Has the plugin's host forget the call.
    pub(in crate::dispatch) fn forget(self: &Arc<Self>) {
        let Some(call) = lock(&self.state).call else {
            return;
        };
        let execution = Arc::clone(self);
        self.shared
            .runtime
            .spawn_blocking(move || execution.target.instance.abandon(call));
    }

    pub(super) fn give_up(&self, ending: Ending) {
        tracing::error!(
            id = %self.command.id, name = %self.lane.name, plugin = %self.lane.plugin,
            "a handler ignored its cancellation and was given up on; its slot is lost until it \
             returns"
        );
        self.shared.node.given_up(self.command.id);
        // The slot first: whoever hears of the outcome finds it lost.
        let stranded = self.lane.lose(&self.shared.limits);
        self.settle(ending);
        if let Some((queued, error)) = stranded {
            for execution in queued {
                execution.reject_if_queued(error.clone());
            }
        }
    }

    /// Ends it with what `ending` makes of its cancel, if any. Answers with the
    /// stage that it was at, or `None` if it was over.
    pub(super) fn end(&self, ending: impl FnOnce(Option<&Cancel>) -> Ending) -> Option<Stage> {
        let (before, ending) = {
            let mut state = lock(&self.state);
            if state.stage == Stage::Over {
                return None;
            }
            (self.leave(&mut state), ending(state.cancel.as_ref()))
        };
        self.over(before, ending);
        Some(before)
    }

    /// Ends it unless its handler was, or is about to be, called.
    pub(super) fn end_if_waiting(&self, ending: impl Fn() -> Ending) -> bool {
        self.end_if(Stage::Queued, &ending) || self.end_if(Stage::Writing, &ending)
    }

    pub(super) fn end_if(&self, stage: Stage, ending: impl FnOnce() -> Ending) -> bool {
        {
            let mut state = lock(&self.state);
            if state.stage != stage {
                return false;
            }
            self.leave(&mut state);
        }
        if stage == Stage::Queued {
            self.lane.remove(self);
        }
        self.over(stage, ending());
        true
    }

    /// Makes the stage the last one. Answers with the one before.
    pub(super) fn leave(&self, state: &mut State) -> Stage {
        self.clear_timer(state);
        if state.enlisted {
            lock(&self.shared.live).remove(&self.command.id);
        }
        std::mem::replace(&mut state.stage, Stage::Over)
    }

    pub(super) fn over(&self, before: Stage, ending: Ending) {
        // A drain waits for one that was interrupted before it begins again.
        if before != Stage::Queued || self.run.is_again() {
            self.shared.node.returned(self.command.id);
        }
        if before == Stage::GivenUp {
            tracing::warn!(
                id = %self.command.id, name = %self.lane.name, state = ?ending.state,
                "a handler returned after it had been given up on; its slot is free again"
            );
        } else {
            self.settle(ending);
        }
    }

    pub(super) fn settle(&self, ending: Ending) {
        self.shared
            .settle(self.command.id, ending, &self.lane.outcomes);
    }

    pub(super) fn timed_out(&self) -> Cancel {
        Cancel {
            reason: CancelReason::Deadline,
            note: format!("its timeout of {:?} passed", self.target.timeout),
        }
    }

    pub(super) fn cancel_running(self: &Arc<Self>, state: &mut State, cancel: Cancel) {
        let reason = cancel.reason;
        state.cancel = Some(cancel);
        self.shared.node.cancelled(self.command.id, clock::wall());
        self.cancelled.store(sink::code(reason), Ordering::Release);
        self.set_timer(state, self.shared.limits.cancel_grace);
        if let Some(call) = state.call {
            self.tell(call, reason);
        }
    }

    /// Tells the plugin, from a thread where it hurts nobody if it blocks.
    pub(super) fn tell(self: &Arc<Self>, call: CallId, reason: CancelReason) {
        let execution = Arc::clone(self);
        self.shared
            .runtime
            .spawn_blocking(move || execution.target.instance.cancel(call, reason));
    }
}
