//! One permitted command, from its place in the queue to the return of its
//! handler.

mod sink;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use super::{
    EMPTY_PAYLOAD, Live, Shared,
    ending::{self, Cancel},
    lane::Lane,
    scheduled::{LONGEST_SLEEP, remaining},
    timers::{Due, TimerKey},
};
use crate::{
    command::{CancelReason, Command, HandlerError},
    drain::ActiveCommand,
    journal::Ending,
    plugin::{Call, CallId, CallSink, Handler, PluginInstance, Started},
    unpoisoned::lock,
};

/// A command under way, and the sink that its handler talks to.
pub(super) struct Execution {
    shared: Arc<Shared>,
    pub(super) command: Arc<Command>,
    pub(super) lane: Arc<Lane>,
    target: Target,
    /// Its start is made on a thread for blocking.
    blocks: bool,
    state: Mutex<State>,
    /// The reason of [`State::cancel`], for the handler to poll.
    cancelled: AtomicU8,
}

/// The handler that runs a command, and how.
pub(super) struct Target {
    instance: Arc<dyn PluginInstance>,
    handler: u32,
    timeout: Duration,
    inline: bool,
    runs_while_draining: bool,
}

#[derive(Default)]
struct State {
    stage: Stage,
    /// The one thing that is to happen next if nothing else does: it expires
    /// in the queue, its timeout passes, a grace is over.
    timer: Option<TimerKey>,
    cancel: Option<Cancel>,
    /// It was told to abandon its work.
    abandoned: bool,
    call: Option<CallId>,
    /// A cancel can find it.
    enlisted: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// It waits, or has just been given a slot.
    #[default]
    Queued,
    /// It has a slot; `start` has not returned.
    Starting,
    /// `start` has returned; the handler has not.
    Running,
    /// It has its outcome; the handler has not returned and keeps its slot.
    GivenUp,
    /// The handler has returned, or never began.
    Over,
}

/// What became of beginning a command.
pub(super) enum Begun {
    /// It is over, and its slot is the caller's to give on.
    Over,
    /// It runs, or whatever ended it took care of the slot.
    Pending,
}

impl Target {
    pub(super) fn new(handler: &Handler, timeout: Duration) -> Self {
        Self {
            instance: Arc::clone(&handler.instance),
            handler: handler.index,
            timeout,
            inline: handler.info.inline,
            runs_while_draining: handler.info.runs_while_draining,
        }
    }
}

impl Execution {
    pub(super) fn new(
        shared: Arc<Shared>,
        command: Arc<Command>,
        target: Target,
        lane: Arc<Lane>,
    ) -> Arc<Self> {
        let blocks = target.instance.start_may_block() || (target.inline && lane.is_demoted());
        Arc::new(Self {
            shared,
            command,
            lane,
            target,
            blocks,
            state: Mutex::default(),
            cancelled: AtomicU8::new(0),
        })
    }

    /// Whether beginning it takes a thread for blocking.
    pub(super) fn may_block(&self) -> bool {
        self.blocks
    }

    /// It was put into the queue: from now on a cancel finds it, and its
    /// `start_by` is watched.
    pub(super) fn queued(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        if state.stage != Stage::Queued {
            return;
        }
        self.enlist(&mut state);
        self.watch_start_by(&mut state);
        drop(state);
        if self.target.runs_while_draining {
            return;
        }
        // The drain may have begun, and swept the queue, just before.
        if let Some(closed) = self.shared.node.closed() {
            self.reject_if_queued(ending::draining(&closed.reason));
        }
    }

    /// Begins the handler. The caller holds a slot for it.
    pub(super) fn begin(self: &Arc<Self>) -> Begun {
        {
            let mut state = lock(&self.state);
            if state.stage != Stage::Queued {
                // It was cancelled after it had been given the slot.
                drop(state);
                return self.never_began();
            }
            state.stage = Stage::Starting;
            self.clear_timer(&mut state);
        }
        let command = &self.command;
        let started_at = SystemTime::now();
        if command
            .start_by
            .is_some_and(|start_by| started_at > start_by)
        {
            self.end(|_| ending::expired(command.start_by));
            return self.never_began();
        }
        let active = ActiveCommand {
            name: Arc::clone(&self.lane.name),
            plugin: Arc::clone(&self.lane.plugin),
            started_at,
            timeout: self.target.timeout,
            runs_while_draining: self.target.runs_while_draining,
            resumed: false,
        };
        if let Err(closed) = self.shared.node.begin(command.id, active) {
            self.end(|_| ending::rejected(ending::draining(&closed.reason)));
            return self.never_began();
        }
        self.shared.journal.running(command.id, started_at, 1);
        {
            // Before the start: it may be the start that never returns.
            let mut state = lock(&self.state);
            self.enlist(&mut state);
            self.set_timer(&mut state, self.target.timeout);
        }
        if !self.blocks {
            return self.start(started_at);
        }
        let execution = Arc::clone(self);
        self.shared.runtime.spawn_blocking(move || {
            let begun = execution.start(started_at);
            execution.lane.start_returned();
            if matches!(begun, Begun::Over) {
                execution.lane.free(false);
            }
            execution.shared.pump(&execution.lane);
        });
        Begun::Pending
    }

    /// Calls the plugin.
    fn start(self: &Arc<Self>, started_at: SystemTime) -> Begun {
        let command = &self.command;
        let payload = if command.payload.is_empty() {
            &EMPTY_PAYLOAD
        } else {
            &command.payload
        };
        let call = Call {
            handler: self.target.handler,
            command_id: command.id,
            payload,
            timeout: Some(self.target.timeout),
            issuer: &command.issuer,
            traceparent: &command.traceparent,
            attempt: 1,
        };
        let inline_since = (self.target.inline && !self.blocks).then(Instant::now);
        let started = self
            .target
            .instance
            .start(call, Arc::clone(self) as Arc<dyn CallSink>);
        // Of an inline call one clock is read, and the other follows from it.
        let at = inline_since.map_or_else(SystemTime::now, |since| {
            let took = since.elapsed();
            self.lane.took(took, &self.shared.limits);
            started_at + took
        });
        let before = match started {
            Started::Done(completion) => {
                self.end(|cancel| ending::completed(completion, cancel, at))
            }
            Started::Refused(error) => self.end(|_| ending::rejected(error)),
            Started::Pending(call) => {
                self.pending(call);
                return Begun::Pending;
            }
        };
        match before {
            Some(Stage::GivenUp) => {
                self.lane.free(true);
                self.shared.pump(&self.lane);
                Begun::Pending
            }
            Some(_) => Begun::Over,
            None => Begun::Pending,
        }
    }

    /// `start` has returned and the handler runs on.
    fn pending(self: &Arc<Self>, call: CallId) {
        let told = {
            let mut state = lock(&self.state);
            state.call = Some(call);
            match state.stage {
                Stage::Starting => {
                    state.stage = Stage::Running;
                }
                // It completed before `start` returned.
                Stage::Over => return,
                Stage::Queued | Stage::Running | Stage::GivenUp => {}
            }
            // A cancel that came before the call had an id.
            if state.abandoned {
                Some(CancelReason::Abandon)
            } else {
                state.cancel.as_ref().map(|cancel| cancel.reason)
            }
        };
        if let Some(reason) = told {
            self.tell(call, reason);
        }
    }

    pub(super) fn cancel(self: &Arc<Self>, reason: CancelReason, note: &str) {
        if self.cancel_if_queued(reason, note) {
            return;
        }
        let mut state = lock(&self.state);
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

    pub(super) fn cancel_if_queued(&self, reason: CancelReason, note: &str) -> bool {
        let cancel = Cancel {
            reason,
            note: note.to_owned(),
        };
        self.end_if_queued(|| ending::cancelled_before_start(&cancel))
    }

    pub(super) fn reject_if_queued(&self, error: HandlerError) -> bool {
        self.end_if_queued(|| ending::rejected(error))
    }

    /// A node that drains rejects it if it waits, unless it runs while draining.
    pub(super) fn reject_if_drained(&self, reason: &str) {
        if !self.target.runs_while_draining {
            self.reject_if_queued(ending::draining(reason));
        }
    }

    pub(super) fn timer_fired(self: &Arc<Self>, key: TimerKey) {
        let mut state = lock(&self.state);
        if state.timer != Some(key) {
            return;
        }
        state.timer = None;
        match state.stage {
            Stage::Queued => {
                self.watch_start_by(&mut state);
                if state.timer.is_none() {
                    drop(state);
                    self.end_if_queued(|| ending::expired(self.command.start_by));
                }
            }
            Stage::Starting | Stage::Running if state.cancel.is_none() => {
                let note = format!("its timeout of {:?} passed", self.target.timeout);
                let cancel = Cancel {
                    reason: CancelReason::Deadline,
                    note,
                };
                self.cancel_running(&mut state, cancel);
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
    pub(super) fn forget(self: &Arc<Self>) {
        let Some(call) = lock(&self.state).call else {
            return;
        };
        let execution = Arc::clone(self);
        self.shared
            .runtime
            .spawn_blocking(move || execution.target.instance.abandon(call));
    }

    fn give_up(&self, ending: Ending) {
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
    fn end(&self, ending: impl FnOnce(Option<&Cancel>) -> Ending) -> Option<Stage> {
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

    fn end_if_queued(&self, ending: impl FnOnce() -> Ending) -> bool {
        {
            let mut state = lock(&self.state);
            if state.stage != Stage::Queued {
                return false;
            }
            self.leave(&mut state);
        }
        self.lane.remove(self);
        self.over(Stage::Queued, ending());
        true
    }

    /// Makes the stage the last one. Answers with the one before.
    fn leave(&self, state: &mut State) -> Stage {
        self.clear_timer(state);
        if state.enlisted {
            lock(&self.shared.live).remove(&self.command.id);
        }
        std::mem::replace(&mut state.stage, Stage::Over)
    }

    fn over(&self, before: Stage, ending: Ending) {
        if before != Stage::Queued {
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

    fn settle(&self, ending: Ending) {
        self.shared
            .settle(self.command.id, ending, &self.lane.outcomes);
    }

    fn never_began(&self) -> Begun {
        if self.blocks {
            self.lane.start_returned();
        }
        Begun::Over
    }

    fn cancel_running(self: &Arc<Self>, state: &mut State, cancel: Cancel) {
        let reason = cancel.reason;
        state.cancel = Some(cancel);
        self.shared
            .node
            .cancelled(self.command.id, SystemTime::now());
        self.cancelled.store(sink::code(reason), Ordering::Release);
        self.set_timer(state, self.shared.limits.cancel_grace);
        if let Some(call) = state.call {
            self.tell(call, reason);
        }
    }

    /// Tells the plugin, from a thread where it hurts nobody if it blocks.
    fn tell(self: &Arc<Self>, call: CallId, reason: CancelReason) {
        let execution = Arc::clone(self);
        self.shared
            .runtime
            .spawn_blocking(move || execution.target.instance.cancel(call, reason));
    }

    fn watch_start_by(self: &Arc<Self>, state: &mut State) {
        if self.command.start_by.is_none() {
            return;
        }
        if let Some(left) = remaining(self.command.start_by) {
            self.set_timer(state, left.min(LONGEST_SLEEP));
        }
    }

    fn set_timer(self: &Arc<Self>, state: &mut State, after: Duration) {
        self.clear_timer(state);
        let due = Due::Execution(Arc::clone(self));
        state.timer = Some(self.shared.timers.set(Instant::now() + after, due));
    }

    fn clear_timer(&self, state: &mut State) {
        if let Some(key) = state.timer.take() {
            self.shared.timers.clear(key);
        }
    }

    /// Makes it known to cancels. Called with the state locked, so that its end
    /// can't come first.
    fn enlist(self: &Arc<Self>, state: &mut State) {
        state.enlisted = true;
        lock(&self.shared.live).insert(self.command.id, Live::Admitted(Arc::clone(self)));
    }
}
