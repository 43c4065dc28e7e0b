//! What happens after a panic: the instance that panicked finishes its other
//! calls, a new one takes its place, and calls that come meanwhile wait.

use std::{
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use aegis_plugin_api::HandlerError;

use super::{Call, CallId, Completion, calls::InstanceNumber, ffi::Instance, hosted::Hosted};
use crate::command::CommandId;

/// As many panics in a row cost no waiting: the next command runs.
pub(super) const FREE_PANICS: u32 = 3;
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// A plugin that held out as long starts anew.
pub(super) const FORGIVEN_AFTER: Duration = Duration::from_secs(300);
/// Calls wait for a restart that is no further off.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(5);
pub(super) const MAX_PARKED: usize = 1024;
/// How often an old instance that still works is looked after.
const SLICE: Duration = Duration::from_millis(250);
/// An old instance that is not quiet after that is left alone for good.
const RETIRED_AFTER: Duration = Duration::from_secs(600);

/// A call that waits for an instance.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) id: CallId,
    handler: u32,
    command_id: CommandId,
    payload: Vec<u8>,
    deadline: Option<Instant>,
    issuer: String,
    traceparent: String,
    attempt: u32,
}

impl Parked {
    pub(super) fn new(id: CallId, call: Call<'_>) -> Self {
        Self {
            id,
            handler: call.handler,
            command_id: call.command_id,
            payload: call.payload.to_vec(),
            deadline: call
                .timeout
                .and_then(|timeout| Instant::now().checked_add(timeout)),
            issuer: call.issuer.to_owned(),
            traceparent: call.traceparent.to_owned(),
            attempt: call.attempt,
        }
    }

    pub(super) fn call(&self) -> Call<'_> {
        Call {
            handler: self.handler,
            command_id: self.command_id,
            payload: &self.payload,
            timeout: self
                .deadline
                .map(|at| at.saturating_duration_since(Instant::now())),
            issuer: &self.issuer,
            traceparent: &self.traceparent,
            attempt: self.attempt,
        }
    }
}

/// What became of a call that found no instance.
#[derive(Debug)]
pub(super) enum Admission {
    /// It waits.
    Parked(CallId),
    /// There is an instance now.
    Ready(Arc<Instance>),
}

/// The state of a plugin's restarts.
#[derive(Debug, Default)]
pub(super) struct Restart {
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closing: bool,
    /// When the new instance is made; `None` if none is to be made.
    due: Option<Instant>,
    parked: Vec<Parked>,
    panics: u32,
    /// Since the worker began.
    all_panics: u64,
    last: Option<Instant>,
    failure: Option<String>,
    threads: Vec<JoinHandle<()>>,
}

impl Restart {
    /// Keeps a call until there is an instance, if one is to be expected soon.
    /// `ready` looks for one under the lock that a new one is put in place
    /// under, so that no call waits for what has happened.
    pub(super) fn admit(
        &self,
        ready: impl FnOnce() -> Option<Arc<Instance>>,
        park: impl FnOnce() -> Result<Parked, HandlerError>,
    ) -> Result<Admission, HandlerError> {
        let mut state = self.state();
        if let Some(instance) = ready() {
            return Ok(Admission::Ready(instance));
        }
        if state.closing {
            return Err(
                HandlerError::new("plugin-unavailable", "the plugin has been shut down")
                    .retryable(),
            );
        }
        let wait = state.due.map_or(Duration::ZERO, |due| {
            due.saturating_duration_since(Instant::now())
        });
        if wait > LONGEST_WAIT || state.parked.len() >= MAX_PARKED {
            return Err(HandlerError::new(
                "plugin-unavailable",
                "the plugin panicked and is being restarted",
            )
            .help("the worker's log tells where it panicked")
            .retry_after(wait));
        }
        let parked = park()?;
        let id = parked.id;
        state.parked.push(parked);
        Ok(Admission::Parked(id))
    }

    /// Why there is no instance, while there is none.
    pub(super) fn failure(&self) -> Option<String> {
        self.state().failure.clone()
    }

    /// How often it panicked since the worker began.
    pub(super) fn panics(&self) -> u64 {
        self.state().all_panics
    }

    /// Makes no more instances. Answers with the calls that wait for one.
    pub(super) fn close(&self) -> Vec<Parked> {
        let mut state = self.state();
        state.closing = true;
        self.woken.notify_all();
        mem::take(&mut state.parked)
    }

    /// Waits for the threads, which end soon after [`close`](Self::close).
    pub(super) fn join(&self) {
        let threads = mem::take(&mut self.state().threads);
        for thread in threads {
            // It has no result, and a panic in it was reported.
            let _ = thread.join();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `due` or the close. False if it is closed.
    fn wait(&self) -> bool {
        let mut state = self.state();
        loop {
            if state.closing {
                return false;
            }
            let left = state.due.map_or(Duration::ZERO, |due| {
                due.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return true;
            }
            state = self
                .woken
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Hosted {
    /// Begins to replace the instance `number`, which is poisoned.
    pub(super) fn panicked(self: &Arc<Self>, number: InstanceNumber) {
        let Some(old) = self
            .current
            .load_full()
            .filter(|old| old.host().number() == number)
        else {
            return;
        };
        let mut state = self.restart.state();
        state.all_panics += 1;
        if state.closing {
            return;
        }
        let now = Instant::now();
        if state
            .last
            .is_some_and(|last| now.duration_since(last) > FORGIVEN_AFTER)
        {
            state.panics = 0;
        }
        state.panics += 1;
        state.last = Some(now);
        let delay = delay(state.panics);
        state.due = Some(now + delay);
        tracing::warn!(
            plugin = self.side.id,
            panics = state.panics,
            ?delay,
            "a handler panicked; the plugin gets a new instance"
        );
        state.threads.retain(|thread| !thread.is_finished());
        let me = Arc::clone(self);
        let thread = std::thread::Builder::new().name(format!("restart-{}", self.side.id));
        match thread.spawn(move || me.replace(old)) {
            Ok(handle) => state.threads.push(handle),
            Err(error) => {
                state.due = Some(now + LONGEST_DELAY);
                state.failure = Some(format!("it panicked, and no thread restarts it: {error}"));
            }
        }
        drop(state);
        self.side.faults.changed();
    }

    fn replace(&self, old: Arc<Instance>) {
        while self.restart.wait() {
            let config = self.config().clone();
            match self.create(config.clone()) {
                Ok(instance) => {
                    self.take_over(&instance, &config);
                    break;
                }
                Err(error) => self.not_created(&error),
            }
        }
        self.retire(&old);
    }

    fn take_over(&self, instance: &Arc<Instance>, made_from: &str) {
        let parked = {
            let mut state = self.restart.state();
            if state.closing {
                drop(state);
                self.hush(instance, SLICE);
                return;
            }
            state.due = None;
            state.failure = None;
            self.current.store(Some(Arc::clone(instance)));
            mem::take(&mut state.parked)
        };
        self.side.faults.changed();
        self.catch_up(instance, made_from);
        tracing::info!(
            plugin = self.side.id,
            waiting = parked.len(),
            "the plugin runs again"
        );
        if !self.descriptor.start_may_block() {
            parked
                .iter()
                .for_each(|parked| self.begin_parked(instance, parked));
            return;
        }
        std::thread::scope(|scope| {
            for parked in &parked {
                scope.spawn(|| self.begin_parked(instance, parked));
            }
        });
    }

    fn not_created(&self, error: &HandlerError) {
        let parked = {
            let mut state = self.restart.state();
            state.panics = state.panics.saturating_add(1).max(FREE_PANICS + 1);
            let delay = delay(state.panics);
            state.due = Some(Instant::now() + delay);
            state.failure = Some(format!("it panicked, and a new instance failed: {error}"));
            tracing::error!(plugin = self.side.id, %error, ?delay, "no new instance of the plugin");
            mem::take(&mut state.parked)
        };
        self.side.faults.changed();
        for parked in parked {
            if let Some(ended) = self.side.calls.withdraw(parked.id) {
                ended.sink.complete(Completion::Failed(
                    HandlerError::new(
                        "plugin-unavailable",
                        format!("the plugin did not restart: {error}"),
                    )
                    .retryable(),
                ));
            }
        }
    }

    /// Lets an old instance finish, and then destroys it.
    fn retire(&self, old: &Instance) {
        let deadline = Instant::now() + RETIRED_AFTER;
        while !self.hush(old, SLICE) {
            if self.restart.state().closing || Instant::now() > deadline {
                tracing::warn!(
                    plugin = self.side.id,
                    "an instance that panicked is still busy and is left alone; a restart of the worker would free it"
                );
                return;
            }
            // A plugin that answers at once that it is busy must not spin.
            std::thread::sleep(SLICE);
        }
    }
}

pub(super) fn delay(panics: u32) -> Duration {
    let Some(doublings) = panics.checked_sub(FREE_PANICS + 1) else {
        return Duration::ZERO;
    };
    2_u32
        .checked_pow(doublings)
        .and_then(|factor| FIRST_DELAY.checked_mul(factor))
        .map_or(LONGEST_DELAY, |delay| delay.min(LONGEST_DELAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_from_none_to_a_minute() {
        assert_eq!(delay(1), Duration::ZERO);
        assert_eq!(delay(FREE_PANICS), Duration::ZERO);
        assert_eq!(delay(FREE_PANICS + 1), FIRST_DELAY);
        assert_eq!(delay(FREE_PANICS + 2), FIRST_DELAY * 2);
        assert_eq!(delay(u32::MAX), LONGEST_DELAY);
        assert!((1..100).all(|panics| delay(panics) <= delay(panics + 1)));
    }
}
