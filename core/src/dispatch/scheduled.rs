//! Commands that wait for their `not_before`.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use super::{
    Live, Shared,
    ending::{self, Cancel},
    execution::Run,
    lane::Lane,
    timers::{Due, TimerKey},
};
use crate::{
    clock,
    command::{CancelReason, Command},
    unpoisoned::lock,
};

/// The wall clock is looked at this often: it may be set, and the machine may
/// have slept.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// A command whose time has not come.
pub(super) struct Scheduled {
    command: Arc<Command>,
    lane: Arc<Lane>,
    waits: Mutex<Waits>,
}

enum Waits {
    /// For its time.
    For(TimerKey),
    /// Its time has come, and it is decided anew; with a cancel that came
    /// meanwhile.
    Entering(Option<Cancel>),
    /// It was cancelled, or is where every other command is.
    Over,
}

impl Shared {
    pub(super) fn schedule(self: &Arc<Self>, command: Arc<Command>, lane: Arc<Lane>) {
        if !lane.schedule(self.limits.scheduled) {
            let what = format!(
                "{} commands {:?} wait for their time already",
                self.limits.scheduled, command.name
            );
            let error = ending::overloaded(&what, self.limits.retry_after);
            self.settle(command.id, ending::rejected(error), &lane.outcomes);
            return;
        }
        let scheduled = Arc::new(Scheduled {
            command,
            lane,
            waits: Mutex::new(Waits::Over),
        });
        let mut waits = lock(&scheduled.waits);
        lock(&self.live).insert(
            scheduled.command.id,
            Live::Scheduled(Arc::clone(&scheduled)),
        );
        *waits = Waits::For(self.wake(&scheduled));
        drop(waits);
        // The shutdown may have swept what waits just before.
        if self.node.is_ending() {
            self.cancel_scheduled(&scheduled, CancelReason::Shutdown, "");
        }
    }

    pub(super) fn scheduled_timer_fired(
        self: &Arc<Self>,
        scheduled: &Arc<Scheduled>,
        key: TimerKey,
    ) {
        let mut waits = lock(&scheduled.waits);
        if !matches!(*waits, Waits::For(current) if current == key) {
            return;
        }
        if remaining(scheduled.command.not_before).is_some() {
            *waits = Waits::For(self.wake(scheduled));
            return;
        }
        *waits = Waits::Entering(None);
        drop(waits);
        scheduled.lane.unschedule();
        // Much may have changed since it was permitted: it is decided anew. A
        // task of its own, for its handler may run inline.
        let (shared, scheduled) = (Arc::clone(self), Arc::clone(scheduled));
        self.tasks.spawn_on(
            async move {
                let command = Arc::clone(&scheduled.command);
                let admission = shared.admit(&command, false);
                match admission.decision {
                    Ok((target, lane)) => shared.enter(command, target, lane, Run::FIRST),
                    Err(error) => shared.refuse(&command, error, admission.known),
                }
                shared.entered(&scheduled);
            },
            &self.runtime,
        );
    }

    /// It was entered like any other command: passes on a cancel that did not
    /// find it there.
    fn entered(self: &Arc<Self>, scheduled: &Scheduled) {
        let id = scheduled.command.id;
        {
            let mut live = lock(&self.live);
            if let Some(Live::Scheduled(_)) = live.get(&id) {
                live.remove(&id);
            }
        }
        let waited = std::mem::replace(&mut *lock(&scheduled.waits), Waits::Over);
        if let Waits::Entering(Some(cancel)) = waited {
            self.cancel(id, cancel.reason, &cancel.note);
        }
    }

    pub(super) fn cancel_scheduled(&self, scheduled: &Scheduled, reason: CancelReason, note: &str) {
        let cancel = Cancel {
            reason,
            note: note.to_owned(),
        };
        let mut waits = lock(&scheduled.waits);
        let key = match &mut *waits {
            Waits::For(key) => *key,
            Waits::Entering(before) => {
                before.get_or_insert(cancel);
                return;
            }
            Waits::Over => {
                drop(waits);
                let live = lock(&self.live).get(&scheduled.command.id).cloned();
                if let Some(Live::Admitted(execution)) = live {
                    execution.cancel(reason, note);
                }
                return;
            }
        };
        *waits = Waits::Over;
        drop(waits);
        self.timers.clear(key);
        lock(&self.live).remove(&scheduled.command.id);
        scheduled.lane.unschedule();
        self.settle(
            scheduled.command.id,
            ending::cancelled_before_start(&cancel),
            &scheduled.lane.outcomes,
        );
    }

    fn wake(&self, scheduled: &Arc<Scheduled>) -> TimerKey {
        let sleep = remaining(scheduled.command.not_before)
            .unwrap_or_default()
            .min(LONGEST_SLEEP);
        self.timers.set(
            clock::monotonic() + sleep,
            Due::Scheduled(Arc::clone(scheduled)),
        )
    }
}

/// How far off a moment of the wall clock is; `None` once it is there.
pub(super) fn remaining(until: Option<SystemTime>) -> Option<Duration> {
    until?
        .duration_since(clock::wall())
        .ok()
        .filter(|left| !left.is_zero())
}
