//! One permitted command, from its place in the queue to the return of its
//! handler.

mod again;
mod end;
mod lost;
mod sink;

use std::{
    sync::{Arc, Mutex, atomic::AtomicU8},
    time::{Duration, Instant, SystemTime},
};

use aegis_plugin_api::Effect;

use super::{
    EMPTY_PAYLOAD, Live, Shared,
    ending::{self, Cancel},
    lane::Lane,
    scheduled::{LONGEST_SLEEP, remaining},
    timers::{Due, TimerKey},
};
use crate::{
    clock,
    command::{CancelReason, Command},
    drain::ActiveCommand,
    journal::{Attempt, Ending},
    kill_point::kill_point,
    plugin::{Call, CallId, CallSink, Handler, PluginInstance, Started},
    unpoisoned::lock,
};

/// A command under way, and the sink that its handler talks to.
pub(super) struct Execution {
    shared: Arc<Shared>,
    pub(super) command: Arc<Command>,
    pub(super) lane: Arc<Lane>,
    target: Target,
    run: Run,
    /// Its start is made on a thread for blocking.
    blocks: bool,
    state: Mutex<State>,
    /// The reason of [`State::cancel`], for the handler to poll.
    cancelled: AtomicU8,
}

/// Which run of a command this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// 1 for the first; each other one follows a crash.
    pub(super) attempt: u32,
    /// An earlier life of the worker took the command.
    pub(super) recovered: bool,
    /// The process that ran it before is gone, and the worker lives on: when
    /// the time that it began with is over.
    pub(super) until: Option<Instant>,
}

impl Run {
    pub(super) const FIRST: Self = Self {
        attempt: 1,
        recovered: false,
        until: None,
    };

    /// The one after the crash that interrupted `attempt`.
    pub(super) fn recovered_after(attempt: u32) -> Self {
        Self {
            attempt: attempt.saturating_add(1),
            recovered: true,
            until: None,
        }
    }

    /// Whether a crash interrupted an earlier one.
    pub(super) fn is_again(self) -> bool {
        self.attempt > 1
    }
}

/// The handler that runs a command, and how.
pub(super) struct Target {
    instance: Arc<dyn PluginInstance>,
    handler: u32,
    timeout: Duration,
    inline: bool,
    runs_while_draining: bool,
    effect: Effect,
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
    /// When its timeout passes; set as its handler begins.
    ends: Option<Instant>,
    /// It was lost, and this runs it again.
    next: Option<Arc<Execution>>,
    /// A cancel can find it.
    enlisted: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// It waits, or has just been given a slot.
    #[default]
    Queued,
    /// It has a slot; that it is about to begin is on its way into the journal.
    Writing,
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
            effect: handler.info.effect,
        }
    }
}

impl Execution {
    pub(super) fn new(
        shared: Arc<Shared>,
        command: Arc<Command>,
        target: Target,
        lane: Arc<Lane>,
        run: Run,
    ) -> Arc<Self> {
        let blocks = target.instance.start_may_block() || (target.inline && lane.is_demoted());
        Arc::new(Self {
            shared,
            command,
            lane,
            target,
            run,
            blocks,
            state: Mutex::default(),
            cancelled: AtomicU8::new(0),
        })
    }

    /// Whether beginning it takes a thread for blocking.
    pub(super) fn may_block(&self) -> bool {
        self.blocks
    }

    /// Whether room was made for it before: by an earlier life of the worker,
    /// or when it was run for the first time.
    pub(super) fn has_room(&self) -> bool {
        self.run.recovered || self.run.until.is_some()
    }

    /// It was put into the queue: from now on a cancel finds it, and its
    /// `start_by` is watched.
    pub(super) fn queued(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        if state.stage != Stage::Queued {
            return;
        }
        self.enlist(&mut state);
        self.watch_start(&mut state);
        drop(state);
        if self.is_let_in() {
            return;
        }
        // The drain may have begun, and swept the queue, just before.
        if let Some(closed) = self.shared.node.closed() {
            self.reject_if_queued(ending::draining(&closed.reason));
        }
    }

    /// Begins the handler. The caller holds a slot for it.
    pub(super) fn begin(self: &Arc<Self>) -> Begun {
        let started_at = clock::wall();
        let refused = {
            // Held until the node knows of it: an end that came in between
            // would leave the node waiting for a handler that never began.
            let mut state = lock(&self.state);
            if state.stage != Stage::Queued {
                // It was cancelled after it had been given the slot.
                drop(state);
                return self.never_began();
            }
            let refused = self.announce(started_at);
            if refused.is_none() {
                state.stage = Stage::Writing;
                self.clear_timer(&mut state);
                self.enlist(&mut state);
                self.watch_start(&mut state);
            } else {
                self.leave(&mut state);
            }
            refused
        };
        if let Some(ending) = refused {
            self.over(Stage::Queued, ending);
            return self.never_began();
        }
        let command = &self.command;
        let attempt = Attempt {
            number: self.run.attempt,
            at: started_at,
            effect: self.target.effect,
            plugin: Arc::clone(&self.lane.plugin),
            own_process: self.target.instance.has_own_process(),
        };
        let execution = Arc::clone(self);
        let at_once = self.shared.journal.attempt(command.id, &attempt, move || {
            execution.shared.begin_soon(Arc::clone(&execution));
        });
        if at_once {
            return self.written_at(started_at);
        }
        Begun::Pending
    }

    /// Tells the node that it is about to begin, unless it may not and ends.
    fn announce(&self, started_at: SystemTime) -> Option<Ending> {
        if let Some(ending) = self.too_late(started_at) {
            return Some(ending);
        }
        let active = ActiveCommand {
            name: Arc::clone(&self.lane.name),
            plugin: Arc::clone(&self.lane.plugin),
            started_at,
            timeout: self.time(),
            runs_while_draining: self.target.runs_while_draining,
            resumed: self.run.is_again(),
        };
        let closed = self.shared.node.begin(self.command.id, active).err()?;
        Some(self.refused(ending::draining(&closed.reason)))
    }

    /// Its attempt is in the journal: its handler begins, unless it was ended
    /// in the meantime.
    pub(super) fn written(self: &Arc<Self>) -> Begun {
        self.written_at(clock::wall())
    }

    fn written_at(self: &Arc<Self>, started_at: SystemTime) -> Begun {
        if self.too_late(started_at).is_some() {
            self.end_if_waiting(|| self.too_late(started_at).unwrap_or_else(|| self.expired()));
        }
        let timeout = self.time();
        {
            let mut state = lock(&self.state);
            if state.stage != Stage::Writing {
                drop(state);
                return self.never_began();
            }
            // Before the start: it may be the start that never returns.
            state.stage = Stage::Starting;
            state.ends = clock::monotonic().checked_add(timeout);
            self.set_timer(&mut state, timeout);
        }
        self.shared
            .journal
            .running(self.command.id, started_at, self.run.attempt);
        kill_point!("handler.starting");
        if !self.blocks {
            return self.start(started_at, timeout);
        }
        let execution = Arc::clone(self);
        self.shared.runtime.spawn_blocking(move || {
            let begun = execution.start(started_at, timeout);
            execution.lane.start_returned();
            if matches!(begun, Begun::Over) {
                execution.lane.free(false);
            }
            execution.shared.pump(&execution.lane);
        });
        Begun::Pending
    }

    /// Calls the plugin.
    fn start(self: &Arc<Self>, started_at: SystemTime, timeout: Duration) -> Begun {
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
            timeout: Some(timeout),
            issuer: &command.issuer,
            traceparent: &command.traceparent,
            attempt: self.run.attempt,
        };
        let inline_since = (self.target.inline && !self.blocks).then(clock::monotonic);
        let started = self
            .target
            .instance
            .start(call, Arc::clone(self) as Arc<dyn CallSink>);
        // Of an inline call one clock is read, and the other follows from it.
        let at = inline_since.map_or_else(clock::wall, |since| {
            let took = clock::monotonic().saturating_duration_since(since);
            self.lane.took(took, &self.shared.limits);
            started_at + took
        });
        kill_point!("handler.started");
        let before = match started {
            Started::Done(completion) => self.returned(completion, at),
            Started::Refused(error) => self.end(|_| self.refused(error)),
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
                Stage::Queued | Stage::Writing | Stage::Running | Stage::GivenUp => {}
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

    /// How it ends if it has to begin by now and has not.
    fn too_late(&self, now: SystemTime) -> Option<Ending> {
        if self.command.start_by.is_some_and(|by| now > by) {
            return Some(self.expired());
        }
        let used_up = self.time().is_zero();
        used_up.then(|| self.cancelled_before_start(&self.timed_out()))
    }

    /// How long it may run if it begins now.
    fn time(&self) -> Duration {
        let left = |until: Instant| until.saturating_duration_since(clock::monotonic());
        let most = self.target.timeout;
        self.run.until.map_or(most, |until| left(until).min(most))
    }

    /// A drain does not keep it out.
    fn is_let_in(&self) -> bool {
        self.target.runs_while_draining || self.run.is_again()
    }

    fn never_began(&self) -> Begun {
        if self.blocks {
            self.lane.start_returned();
        }
        Begun::Over
    }

    /// Sets the timer for the moment at which it is too late to begin, if there
    /// is one and it has not come.
    fn watch_start(self: &Arc<Self>, state: &mut State) {
        let mut left = LONGEST_SLEEP;
        if self.command.start_by.is_some() {
            match remaining(self.command.start_by) {
                Some(remaining) => left = left.min(remaining),
                None => return,
            }
        }
        if self.run.until.is_some() {
            match self.time() {
                Duration::ZERO => return,
                time => left = left.min(time),
            }
        }
        if self.command.start_by.is_some() || self.run.until.is_some() {
            self.set_timer(state, left);
        }
    }

    fn set_timer(self: &Arc<Self>, state: &mut State, after: Duration) {
        self.clear_timer(state);
        let due = Due::Execution(Arc::clone(self));
        state.timer = Some(self.shared.timers.set(clock::monotonic() + after, due));
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
