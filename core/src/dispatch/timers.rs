//! Everything that is to happen later, in the order of its time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use tokio::sync::Notify;

use super::{execution::Execution, scheduled::Scheduled};
use crate::unpoisoned::lock;

/// Names a timer. A timer that was cancelled while it fired is told apart by
/// it from the one that was set after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimerKey {
    at: Instant,
    sequence: u64,
}

/// Whom a timer wakes.
#[derive(Clone)]
pub(super) enum Due {
    Execution(Arc<Execution>),
    Scheduled(Arc<Scheduled>),
}

#[derive(Default)]
pub(super) struct Timers {
    queue: Mutex<Queue>,
    /// The earliest one has changed.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct Queue {
    sequence: u64,
    timers: BTreeMap<TimerKey, Due>,
}

impl Timers {
    pub(super) fn set(&self, at: Instant, due: Due) -> TimerKey {
        let (key, first) = {
            let mut queue = lock(&self.queue);
            queue.sequence += 1;
            let key = TimerKey {
                at,
                sequence: queue.sequence,
            };
            let first = queue
                .timers
                .first_key_value()
                .is_none_or(|(earliest, _)| key < *earliest);
            queue.timers.insert(key, due);
            (key, first)
        };
        if first {
            self.changed.notify_one();
        }
        key
    }

    pub(super) fn clear(&self, key: TimerKey) {
        lock(&self.queue).timers.remove(&key);
    }

    /// Takes all of them out.
    pub(super) fn take(&self) -> Vec<Due> {
        std::mem::take(&mut lock(&self.queue).timers)
            .into_values()
            .collect()
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        lock(&self.queue)
            .timers
            .first_key_value()
            .map(|(key, _)| key.at)
    }

    /// Takes the next one that is due.
    pub(super) fn due(&self, now: Instant) -> Option<(TimerKey, Due)> {
        let mut queue = lock(&self.queue);
        let entry = queue
            .timers
            .first_entry()
            .filter(|entry| entry.key().at <= now)?;
        Some(entry.remove_entry())
    }
}
