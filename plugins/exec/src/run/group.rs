//! The process group of a program.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

/// A program and all that it started, as far as that has not left. A group is
/// signalled only while its leader is not yet reaped: until then no other can
/// have its number.
#[derive(Debug)]
pub struct Group(Mutex<State>);

#[derive(Debug)]
enum State {
    /// With the signals that it has missed.
    Starting(Vec<Signal>),
    Running(Pid),
    Over,
}

impl Group {
    pub fn new() -> Self {
        Self(Mutex::new(State::Starting(Vec::new())))
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.send(&[Signal::TERM, Signal::CONT]);
    }

    /// Ends it.
    pub fn kill(&self) {
        self.send(&[Signal::KILL]);
    }

    /// Whether it was to be stopped before it was started.
    pub fn is_not_to_start(&self) -> bool {
        matches!(&*self.state(), State::Starting(missed) if !missed.is_empty())
    }

    /// The leader runs now, and hears what it was to hear before.
    pub fn started(&self, leader: Pid) {
        let mut state = self.state();
        if let State::Starting(missed) = &*state {
            missed.iter().for_each(|it| signal(leader, *it));
        }
        *state = State::Running(leader);
    }

    /// The leader has ended: ends whatever else is in the group, and then has
    /// `reap` free the group's number.
    pub fn over<R>(&self, reap: impl FnOnce() -> R) -> R {
        let mut state = self.state();
        if let State::Running(leader) = *state {
            signal(leader, Signal::KILL);
        }
        *state = State::Over;
        reap()
    }

    /// The leader is gone and its number with it.
    pub fn lost(&self) {
        *self.state() = State::Over;
    }

    fn send(&self, signals: &[Signal]) {
        match &mut *self.state() {
            State::Starting(missed) => missed.extend(signals),
            State::Running(leader) => signals.iter().for_each(|it| signal(*leader, *it)),
            State::Over => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A group that does not let itself be signalled runs as a user beyond this
/// worker's reach, by a set-user-id program: nothing more can be done here.
fn signal(leader: Pid, signal: Signal) {
    let _ = kill_process_group(leader, signal);
}
