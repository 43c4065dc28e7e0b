//! A call whose process is gone: it is run again at once where its effect class
//! and its attempts allow it, under the time that it began with.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use super::{Execution, Run, Stage, State, Target};
use crate::{
    clock,
    command::HandlerError,
    dispatch::{ending, lane::Lane},
    plugin::Completion,
    unpoisoned::lock,
};

impl Execution {
    /// Its handler is over, and so is the command unless it is run again.
    /// Answers with the stage that it was at, or `None` if its slot is not to
    /// be given back.
    pub(super) fn returned(&self, completion: Completion, at: SystemTime) -> Option<Stage> {
        let Completion::Lost(error) = completion else {
            return self.end(|cancel| self.completed(completion, cancel, at));
        };
        // Before anything is locked: it asks the catalog.
        let next = self.target_again();
        let why = {
            let mut state = lock(&self.state);
            match state.stage {
                // Only what has begun can be lost.
                Stage::Queued | Stage::Writing | Stage::Over => return None,
                Stage::GivenUp => String::new(),
                Stage::Starting | Stage::Running => {
                    let ends = state.ends.unwrap_or_else(clock::monotonic);
                    if state.cancel.is_none() && ends <= clock::monotonic() {
                        state.cancel = Some(self.timed_out());
                    }
                    match next {
                        _ if state.cancel.is_some() => String::new(),
                        Ok((target, lane)) => {
                            let before = state.stage;
                            let (again, takes_over) =
                                self.hand_over(&mut state, target, lane, ends);
                            drop(state);
                            self.run_again(again, takes_over, &error);
                            return (!takes_over).then_some(before);
                        }
                        Err(why) => why,
                    }
                }
            }
        };
        let (effect, attempt) = (self.target.effect, self.run.attempt);
        let error = HandlerError {
            message: format!("{} (attempt {attempt})", error.message),
            ..error
        };
        self.end(|cancel| ending::lost(effect, error, cancel, &why, at))
    }

    /// What would run it again, or why nothing does.
    fn target_again(&self) -> Result<(Target, Arc<Lane>), String> {
        let (effect, attempt) = (self.target.effect, self.run.attempt);
        let stop = self
            .shared
            .reason_to_stop(effect, attempt, self.command.start_by);
        if let Some(reason) = stop {
            return Err(reason);
        }
        let admission = self.shared.admit(&self.command, true);
        admission
            .decision
            .map_err(|error| format!("it is not run again: {}", error.message))
    }

    /// Ends this run without ending the command. Whoever looks for the command
    /// finds the next run, at any moment. True: it takes this one's slot.
    fn hand_over(
        &self,
        state: &mut State,
        target: Target,
        lane: Arc<Lane>,
        ends: Instant,
    ) -> (Arc<Self>, bool) {
        let takes_over = Arc::ptr_eq(&lane, &self.lane);
        let run = Run {
            attempt: self.run.attempt.saturating_add(1),
            recovered: self.run.recovered,
            until: Some(ends),
        };
        let (shared, command) = (Arc::clone(&self.shared), Arc::clone(&self.command));
        let again = Self::new(shared, command, target, lane, run);
        self.clear_timer(state);
        state.stage = Stage::Over;
        // First of all: once it can be found it may end, and be taken off again.
        if !self.target.runs_while_draining {
            let (name, plugin) = (Arc::clone(&self.lane.name), Arc::clone(&self.lane.plugin));
            self.shared.node.interrupted(self.command.id, name, plugin);
        }
        if takes_over {
            self.lane.take_over(&again);
        }
        again.enlist(&mut lock(&again.state));
        state.next = Some(Arc::clone(&again));
        (again, takes_over)
    }

    /// On a task of its own: this is called by what watches the process.
    fn run_again(&self, again: Arc<Self>, takes_over: bool, error: &HandlerError) {
        tracing::warn!(
            id = %self.command.id, name = %self.lane.name, attempt = self.run.attempt,
            reason = error.message,
            "the process that ran this command is gone: it is run again"
        );
        let shared = Arc::clone(&self.shared);
        let lane = Arc::clone(&again.lane);
        self.shared.tasks.spawn_on(
            async move {
                if takes_over {
                    shared.run(again);
                } else {
                    shared.queue(&again);
                }
                shared.pump(&lane);
            },
            &self.shared.runtime,
        );
    }
}
