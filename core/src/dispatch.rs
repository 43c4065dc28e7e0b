//! Dispatch: from a delivered command to its one outcome.
//!
//! The way of a command: the journal knows it → the policy permits it → it
//! waits for its `not_before` → a slot of its handler's lane is free, or it
//! queues → its handler begins → its outcome is in the journal.
//!
//! What holds:
//!
//! * Every command that the journal takes gets exactly one outcome.
//! * A lane belongs to one command name. Slots, queue and the threads for
//!   blocking starts are the lane's own, so nothing that one handler does holds
//!   up another one's commands; what is counted over all of them leaves room
//!   for handlers that run while draining.
//! * Plugins are called with no lock held, and never from within a call of
//!   theirs: a completion only marks work to be started elsewhere.
//! * A slot is lost while its handler ignores its cancellation, and only then.

mod ending;
mod execution;
mod figures;
mod fixed;
mod intake;
mod lane;
mod lanes;
mod limits;
mod resume;
mod scheduled;
mod shutdown;
mod supervisor;
mod tally;
mod timers;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{runtime::Handle, sync::Notify};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use self::{
    ending::rejected,
    execution::{Execution, Run, Target},
    intake::Intake,
    lane::Lane,
    lanes::Lanes,
    tally::{OutcomeCounts, Tally},
    timers::Timers,
};
use crate::{
    clock,
    command::{CancelReason, Command, CommandId, FinalState, HandlerError, Outcome},
    drain::NodeState,
    id_map::IdMap,
    journal::{Acceptance, Ending, Journal},
    plugin::{Handlers, Lookup},
    policy::{self, Policy},
};

pub(crate) use figures::{DispatchFigures, LaneFigures};
pub use fixed::{FIXED_ISSUER, FixedCommand, FixedCommands};
pub use limits::DispatchLimits;
pub(crate) use tally::STATES;

/// Runs commands. Clones share everything; when the last one is gone, its task
/// ends and what still runs is no longer watched, so end it with
/// [`shut_down`](Self::shut_down).
#[derive(Debug, Clone)]
pub struct Dispatcher {
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

/// A handler that holds slots although it was given up on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WedgedHandler {
    /// The command's name.
    pub name: String,
    /// Its plugin.
    pub plugin: String,
    /// Slots that are lost until its calls return.
    pub lost_slots: u32,
}

struct Shared {
    journal: Journal,
    node: Arc<NodeState>,
    handlers: Arc<dyn Handlers>,
    policy: Policy,
    limits: DispatchLimits,
    lanes: Lanes,
    tally: Tally,
    /// Commands that wait or whose handler has not returned.
    live: Mutex<IdMap<Live>>,
    timers: Timers,
    intake: Intake,
    /// Commands without an outcome.
    unsettled: AtomicUsize,
    /// Every command has an outcome.
    settled: Notify,
    /// Nothing is taken any more.
    closed: AtomicBool,
    runtime: Handle,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Something that a cancel can reach.
#[derive(Clone)]
enum Live {
    /// It waits for its `not_before`.
    Scheduled(Arc<scheduled::Scheduled>),
    /// It waits in its lane, or its handler runs.
    Admitted(Arc<Execution>),
}

/// What is to become of a command, decided before anything is done with it.
struct Admission {
    decision: Result<(Target, Arc<Lane>), HandlerError>,
    /// It runs while draining, and so finds room where others don't.
    reserved: bool,
    /// Its name has a handler, enabled or not.
    known: bool,
}

impl Dispatcher {
    /// Makes a dispatcher and starts its task on the current runtime.
    ///
    /// Handlers that may block occupy the runtime's blocking threads, at most
    /// [`DispatchLimits::blocking_starts`] for each command name.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn new(
        journal: Journal,
        node: Arc<NodeState>,
        handlers: Arc<dyn Handlers>,
        policy: Policy,
        limits: DispatchLimits,
    ) -> Self {
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            journal,
            node,
            handlers,
            policy,
            limits,
            lanes: Lanes::default(),
            tally: Tally::default(),
            live: Mutex::default(),
            timers: Timers::default(),
            intake: Intake::default(),
            unsettled: AtomicUsize::new(0),
            settled: Notify::new(),
            closed: AtomicBool::new(false),
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            stop: stop.clone(),
        });
        let watched = supervisor::Watched(Arc::clone(&shared));
        shared.tasks.spawn(supervisor::run(watched));
        Self {
            shared,
            _stop: Arc::new(stop.drop_guard()),
        }
    }

    /// Takes a command. Never waits for a handler, but for one that may run
    /// inline; every answer, refusals included, appears in the journal.
    pub fn submit(&self, command: Command) {
        self.shared.submit(command);
    }

    /// Asks that a command end, at whatever state it is. Ids that are unknown
    /// or over are ignored. `note` is for the person who reads the outcome.
    pub fn cancel(&self, id: CommandId, reason: CancelReason, note: &str) {
        self.shared.cancel(id, reason, note);
    }

    /// Handlers that have begun and have not returned.
    pub fn active(&self) -> u32 {
        self.shared.node.active()
    }

    /// The commands of those handlers.
    pub fn running(&self) -> Vec<CommandId> {
        self.shared.node.running()
    }

    /// The handlers that hold slots although they were given up on.
    pub fn wedged(&self) -> Vec<WedgedHandler> {
        self.shared.lanes.wedged()
    }

    /// Everything that is counted or measured here.
    pub(crate) fn figures(&self) -> DispatchFigures {
        let (outcomes, unknown) = self.shared.tally.read();
        DispatchFigures {
            lanes: self.shared.lanes.figures(),
            outcomes,
            unknown,
        }
    }

    /// Ends all work and then the dispatcher's own task. The node says that it
    /// drains; what waits is cancelled; what runs has `timeout`, is then
    /// cancelled, and is given up on after the graces of [`DispatchLimits`].
    /// When this returns, every command has an outcome.
    pub async fn shut_down(&self, timeout: Duration) {
        let shared = &self.shared;
        shared.node.end();
        shared.cancel_waiting(CancelReason::Shutdown, "it had not begun");
        if tokio::time::timeout(timeout, shared.all_settled())
            .await
            .is_err()
        {
            shared.closed.store(true, Ordering::Release);
            shared.end_all().await;
        }
        shared.closed.store(true, Ordering::Release);
        shared.end_all().await;
        shared.forget_calls();
        shared.stop.cancel();
        shared.tasks.close();
        shared.tasks.wait().await;
    }
}

impl Shared {
    fn submit(self: &Arc<Self>, command: Command) {
        let command = Arc::new(command);
        let admission = self.admit(&command, false);
        let decision = match self.journal.accept(&command, admission.reserved) {
            Acceptance::New => admission.decision,
            Acceptance::Full => Err(self.journal_full()),
            Acceptance::Unwritable => Err(ending::unwritable(self.limits.retry_after)),
            Acceptance::Lost => {
                self.unsettled.fetch_add(1, Ordering::AcqRel);
                self.settle_named(&command, ending::journal_lost(), admission.known);
                self.journal.commit_soon();
                return;
            }
            Acceptance::Dropped => {
                tracing::warn!(
                    id = %command.id,
                    "a command was not taken, for the journal is full or cannot be read"
                );
                return;
            }
            Acceptance::Reused => {
                tracing::warn!(
                    id = %command.id, name = command.name,
                    "a command came under the id of another one and is not run"
                );
                return;
            }
            Acceptance::Known => return,
        };
        self.unsettled.fetch_add(1, Ordering::AcqRel);
        match decision {
            Ok((target, lane)) => self.enter(command, target, lane, Run::FIRST),
            Err(error) => self.refuse(&command, error, admission.known),
        }
        self.journal.commit_soon();
    }

    /// Decides about a command from what is known now. Changes nothing. One
    /// that was `interrupted` is no new work.
    fn admit(&self, command: &Command, interrupted: bool) -> Admission {
        let mut admission = Admission {
            decision: Err(policy::unknown(&command.name, None)),
            reserved: false,
            known: true,
        };
        self.handlers.lookup(&command.name, &mut |lookup| {
            admission.decision = match lookup {
                Lookup::Unknown { nearest } => {
                    admission.known = false;
                    Err(policy::unknown(&command.name, nearest))
                }
                Lookup::Disabled { reason } => Err(policy::disabled(&command.name, reason)),
                Lookup::Found(handler) => {
                    admission.reserved = handler.info.runs_while_draining;
                    self.policy.decide(command, &handler.info).map(|permit| {
                        let lane = self
                            .lanes
                            .of(&handler.info, permit.concurrency, &self.tally);
                        (Target::new(handler, permit.timeout), lane)
                    })
                }
            };
        });
        if admission.decision.is_ok() {
            let closed = self.closed.load(Ordering::Acquire);
            let let_in = !closed && (admission.reserved || interrupted);
            if let Some(reason) = self.node.closed().filter(|_| !let_in) {
                admission.decision = Err(ending::draining(&reason.reason));
            }
        }
        admission
    }

    /// Schedules, queues or begins a permitted command.
    fn enter(self: &Arc<Self>, command: Arc<Command>, target: Target, lane: Arc<Lane>, run: Run) {
        if !run.is_again()
            && let Some(start_by) = command.start_by
            && (clock::wall() > start_by || command.not_before.is_some_and(|from| from > start_by))
        {
            self.settle(
                command.id,
                ending::expired(command.start_by),
                &lane.outcomes,
            );
            return;
        }
        if !run.is_again() && scheduled::remaining(command.not_before).is_some() {
            self.schedule(command, lane);
            return;
        }
        self.queue(&Execution::new(
            Arc::clone(self),
            command,
            target,
            lane,
            run,
        ));
    }

    /// Begins or queues a command, as its lane has room.
    fn queue(self: &Arc<Self>, execution: &Arc<Execution>) {
        match execution.lane.enter(execution, &self.limits) {
            lane::Entry::Begin => self.run(Arc::clone(execution)),
            lane::Entry::Queued => {
                execution.queued();
                // The lane may have grown since.
                self.pump(&execution.lane);
            }
            lane::Entry::Refused(error) => {
                execution.reject_if_queued(error);
            }
        }
    }

    /// Goes on with a command that has a slot and whose attempt is in the
    /// journal.
    fn run_begun(self: &Arc<Self>, execution: Arc<Execution>) {
        if let execution::Begun::Over = execution.written()
            && let Some(next) = execution.lane.leave(&self.limits)
        {
            self.run(next);
        }
    }

    /// Begins the handler of a command that has a slot, and then, as long as
    /// handlers end at once, of those that queue behind it.
    fn run(self: &Arc<Self>, first: Arc<Execution>) {
        let mut next = Some(first);
        while let Some(execution) = next {
            next = match execution.begin() {
                execution::Begun::Over => execution.lane.leave(&self.limits),
                execution::Begun::Pending => None,
            };
        }
    }

    /// Starts what a lane has room for, on a task of its own: whoever calls
    /// this may be a plugin.
    fn pump(self: &Arc<Self>, lane: &Arc<Lane>) {
        if let Some(execution) = lane.next(&self.limits) {
            let shared = Arc::clone(self);
            self.tasks.spawn_on(
                async move {
                    let lane = Arc::clone(&execution.lane);
                    shared.run(execution);
                    shared.pump(&lane);
                },
                &self.runtime,
            );
        }
    }

    /// Writes the one outcome of a command and counts it, unless it has one.
    fn settle(&self, id: CommandId, ending: Ending, counts: &OutcomeCounts) {
        if let Some(outcome) = self.finish(id, ending) {
            counts.count(outcome.state);
        }
    }

    fn finish(&self, id: CommandId, ending: Ending) -> Option<Arc<Outcome>> {
        let outcome = self.journal.finish(id, ending)?;
        match (&outcome.state, &outcome.error) {
            (FinalState::Succeeded, _) => {
                tracing::debug!(id = %id, name = outcome.name, "command succeeded");
            }
            (state, Some(error)) => tracing::info!(
                id = %id, name = outcome.name, state = ?state, code = %error.code,
                "{}", error.message
            ),
            (state, None) => {
                tracing::info!(id = %id, name = outcome.name, state = ?state, "command ended");
            }
        }
        if self.unsettled.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.settled.notify_waiters();
        }
        Some(outcome)
    }

    /// Rejects what never had a lane.
    fn refuse(&self, command: &Command, error: HandlerError, known: bool) {
        self.settle_named(command, rejected(error), known);
    }

    /// Ends what never had a lane. Names that are not `known` are counted as one.
    fn settle_named(&self, command: &Command, ending: Ending, known: bool) {
        if known {
            let counts = self.tally.of(&command.name);
            self.settle(command.id, ending, &counts);
        } else {
            self.settle(command.id, ending, self.tally.unknown());
        }
    }

    fn journal_full(&self) -> HandlerError {
        ending::overloaded(
            "this node holds as many commands and outcomes as it can",
            self.limits.retry_after,
        )
    }
}

/// How long after the graces the last outcomes are waited for.
const SHUT_DOWN_SLACK: Duration = Duration::from_secs(1);

/// What a handler is given that came without a payload.
const EMPTY_PAYLOAD: Bytes = Bytes::from_static(b"{}");

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("limits", &self.limits)
            .field("unsettled", &self.unsettled)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
