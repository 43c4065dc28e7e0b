//! Commands that wait for their `not_before`.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use super::{
    Live, Shared,
    ending::{self, Cancel},
    execution::Run,
    lane::Lane,
    timers::{Due, TimerKey},
};
use crate::{
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
    /// `None` once it was taken out: run, cancelled or expired.
    timer: Mutex<Option<TimerKey>>,
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
            timer: Mutex::new(None),
        });
        let mut timer = lock(&scheduled.timer);
        lock(&self.live).insert(
            scheduled.command.id,
            Live::Scheduled(Arc::clone(&scheduled)),
        );
        *timer = Some(self.wake(&scheduled));
        drop(timer);
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
        let mut timer = lock(&scheduled.timer);
        if *timer != Some(key) {
            return;
        }
        if remaining(scheduled.command.not_before).is_some() {
            *timer = Some(self.wake(scheduled));
            return;
        }
        *timer = None;
        drop(timer);
        self.unschedule(scheduled);
        // Much may have changed since it was permitted: it is decided anew. A
        // task of its own, for its handler may run inline.
        let (shared, command) = (Arc::clone(self), Arc::clone(&scheduled.command));
        self.tasks.spawn_on(
            async move {
                let admission = shared.admit(&command, false);
                match admission.decision {
                    Ok((target, lane)) => shared.enter(command, target, lane, Run::FIRST),
                    Err(error) => shared.refuse(&command, error, admission.known),
                }
            },
            &self.runtime,
        );
    }

    pub(super) fn cancel_scheduled(&self, scheduled: &Scheduled, reason: CancelReason, note: &str) {
        let Some(key) = lock(&scheduled.timer).take() else {
            return;
        };
        self.timers.clear(key);
        self.unschedule(scheduled);
        let cancel = Cancel {
            reason,
            note: note.to_owned(),
        };
        self.settle(
            scheduled.command.id,
            ending::cancelled_before_start(&cancel),
            &scheduled.lane.outcomes,
        );
    }

    fn unschedule(&self, scheduled: &Scheduled) {
        lock(&self.live).remove(&scheduled.command.id);
        scheduled.lane.unschedule();
    }

    fn wake(&self, scheduled: &Arc<Scheduled>) -> TimerKey {
        let sleep = remaining(scheduled.command.not_before)
            .unwrap_or_default()
            .min(LONGEST_SLEEP);
        self.timers.set(
            Instant::now() + sleep,
            Due::Scheduled(Arc::clone(scheduled)),
        )
    }
}

/// How far off a moment of the wall clock is; `None` once it is there.
pub(super) fn remaining(until: Option<SystemTime>) -> Option<Duration> {
    until?
        .duration_since(SystemTime::now())
        .ok()
        .filter(|left| !left.is_zero())
}
