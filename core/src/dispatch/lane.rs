//! The slots and the queue of one command name.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{
    DispatchLimits, LaneFigures, WedgedHandler, ending::overloaded, execution::Execution,
    tally::OutcomeCounts,
};
use crate::{command::HandlerError, plugin::HandlerInfo, unpoisoned::lock};

/// One command name's own capacity.
pub(super) struct Lane {
    pub(super) name: Arc<str>,
    pub(super) plugin: Arc<str>,
    pub(super) outcomes: Arc<OutcomeCounts>,
    concurrency: AtomicU32,
    slots: Mutex<Slots>,
    /// Grows by [`FORGIVEN_AFTER`] with every inline call that took too long,
    /// and shrinks by one with every other.
    inline_faults: AtomicU32,
    demoted: AtomicBool,
}

#[derive(Default)]
struct Slots {
    /// In use, lost ones included.
    taken: u32,
    /// Held by calls that were given up on.
    lost: u32,
    /// Starts that may block and have not returned.
    blocking: u32,
    /// Commands that wait for their `not_before`.
    scheduled: usize,
    queue: VecDeque<Arc<Execution>>,
}

/// So many good calls make up for an inline call that took too long: on a busy
/// machine even a blameless thread is now and then put to sleep.
const FORGIVEN_AFTER: u32 = 64;

/// What a lane answers to a new command.
pub(super) enum Entry {
    /// It has a slot.
    Begin,
    /// It waits in the queue.
    Queued,
    /// There is no room.
    Refused(HandlerError),
}

impl Lane {
    pub(super) fn new(handler: &HandlerInfo, outcomes: Arc<OutcomeCounts>) -> Self {
        Self {
            name: handler.name.as_str().into(),
            plugin: handler.plugin.as_str().into(),
            outcomes,
            concurrency: AtomicU32::new(1),
            slots: Mutex::default(),
            inline_faults: AtomicU32::new(0),
            demoted: AtomicBool::new(false),
        }
    }

    /// Whether it belongs to this handler's plugin. A name that went over to
    /// another plugin gets a lane anew.
    pub(super) fn is_of(&self, handler: &HandlerInfo) -> bool {
        *self.plugin == *handler.plugin
    }

    pub(super) fn set_concurrency(&self, concurrency: u32) {
        self.concurrency.store(concurrency, Ordering::Relaxed);
    }

    pub(super) fn enter(&self, execution: &Arc<Execution>, limits: &DispatchLimits) -> Entry {
        let concurrency = self.concurrency();
        let mut slots = lock(&self.slots);
        if slots.queue.is_empty() && slots.free_for(execution, concurrency, limits) {
            slots.take(execution);
            return Entry::Begin;
        }
        if slots.lost >= concurrency {
            return Entry::Refused(self.all_lost(slots.lost, limits));
        }
        if slots.queue.len() >= limits.queue && !execution.has_room() {
            let what = format!(
                "{} commands {:?} run and {} more wait already",
                slots.taken,
                self.name,
                slots.queue.len()
            );
            return Entry::Refused(overloaded(&what, limits.retry_after));
        }
        slots.queue.push_back(Arc::clone(execution));
        Entry::Queued
    }

    /// Gives the next command in the queue a slot, if there is one for it.
    pub(super) fn next(&self, limits: &DispatchLimits) -> Option<Arc<Execution>> {
        lock(&self.slots).next(self.concurrency(), limits)
    }

    /// Gives a slot back, and to the next command in the queue.
    pub(super) fn leave(&self, limits: &DispatchLimits) -> Option<Arc<Execution>> {
        let mut slots = lock(&self.slots);
        slots.taken -= 1;
        slots.next(self.concurrency(), limits)
    }

    /// Gives a slot back.
    pub(super) fn free(&self, was_lost: bool) {
        let mut slots = lock(&self.slots);
        slots.taken -= 1;
        slots.lost -= u32::from(was_lost);
    }

    /// Has a command take over the slot of another run of it.
    pub(super) fn take_over(&self, execution: &Execution) {
        lock(&self.slots).blocking += u32::from(execution.may_block());
    }

    /// Marks a slot as lost. Where it was the last, nothing in the queue can
    /// run any more: what waits is handed out with the error to reject it with.
    pub(super) fn lose(
        &self,
        limits: &DispatchLimits,
    ) -> Option<(Vec<Arc<Execution>>, HandlerError)> {
        let mut slots = lock(&self.slots);
        slots.lost += 1;
        let stranded = slots.lost >= self.concurrency();
        stranded.then(|| {
            (
                slots.queue.drain(..).collect(),
                self.all_lost(slots.lost, limits),
            )
        })
    }

    /// A start that may block has returned.
    pub(super) fn start_returned(&self) {
        lock(&self.slots).blocking -= 1;
    }

    /// Takes a command out of the queue.
    pub(super) fn remove(&self, execution: &Execution) {
        lock(&self.slots)
            .queue
            .retain(|queued| !std::ptr::eq(Arc::as_ptr(queued), execution));
    }

    /// Takes all commands out of the queue.
    pub(super) fn take_queued(&self) -> VecDeque<Arc<Execution>> {
        std::mem::take(&mut lock(&self.slots).queue)
    }

    pub(super) fn schedule(&self, most: usize) -> bool {
        let mut slots = lock(&self.slots);
        let room = slots.scheduled < most;
        slots.scheduled += usize::from(room);
        room
    }

    pub(super) fn unschedule(&self) {
        lock(&self.slots).scheduled -= 1;
    }

    /// Whether its inline handler took too long too often.
    pub(super) fn is_demoted(&self) -> bool {
        self.demoted.load(Ordering::Relaxed)
    }

    /// Looks at how long an inline call took.
    pub(super) fn took(&self, time: Duration, limits: &DispatchLimits) {
        let faults = self.inline_faults.load(Ordering::Relaxed);
        if time <= limits.inline_budget {
            if faults > 0 {
                self.inline_faults.store(faults - 1, Ordering::Relaxed);
            }
            return;
        }
        let faults = faults.saturating_add(FORGIVEN_AFTER);
        self.inline_faults.store(faults, Ordering::Relaxed);
        let most = limits
            .inline_overruns
            .saturating_sub(1)
            .saturating_mul(FORGIVEN_AFTER);
        if faults > most && !self.demoted.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                command = %self.name, plugin = %self.plugin, ?time, budget = ?limits.inline_budget,
                "an inline handler took too long again: from now on it runs on a thread"
            );
        }
    }

    pub(super) fn wedged(&self) -> Option<WedgedHandler> {
        let lost_slots = lock(&self.slots).lost;
        (lost_slots > 0).then(|| WedgedHandler {
            name: self.name.to_string(),
            plugin: self.plugin.to_string(),
            lost_slots,
        })
    }

    pub(super) fn figures(&self) -> LaneFigures {
        let slots = lock(&self.slots);
        LaneFigures {
            command: self.name.to_string(),
            plugin: self.plugin.to_string(),
            concurrency: self.concurrency(),
            running: slots.taken - slots.lost,
            wedged: slots.lost,
            queued: slots.queue.len(),
            scheduled: slots.scheduled,
        }
    }

    fn concurrency(&self) -> u32 {
        self.concurrency.load(Ordering::Relaxed)
    }

    fn all_lost(&self, lost: u32, limits: &DispatchLimits) -> HandlerError {
        let what = format!(
            "all {lost} slots of {:?} are held by calls that ignored their cancellation",
            self.name
        );
        overloaded(&what, limits.retry_after)
            .help("restart the worker to get the slots back, and mend the plugin")
    }
}

impl Slots {
    fn free_for(&self, execution: &Execution, concurrency: u32, limits: &DispatchLimits) -> bool {
        self.taken < concurrency
            && (!execution.may_block() || self.blocking < limits.blocking_starts)
    }

    fn take(&mut self, execution: &Execution) {
        self.taken += 1;
        self.blocking += u32::from(execution.may_block());
    }

    fn next(&mut self, concurrency: u32, limits: &DispatchLimits) -> Option<Arc<Execution>> {
        let free = self
            .queue
            .front()
            .is_some_and(|first| self.free_for(first, concurrency, limits));
        let execution = free.then(|| self.queue.pop_front()).flatten()?;
        self.take(&execution);
        Some(execution)
    }
}
