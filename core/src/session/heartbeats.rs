//! How many heartbeats the controller was told.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counted since the worker began, on sessions and one by one alike.
#[derive(Debug, Default)]
pub(crate) struct Heartbeats {
    sent: AtomicU64,
    failed: AtomicU64,
}

impl Heartbeats {
    pub(crate) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Those that were sent and those that could not be.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.sent), read(&self.failed))
    }
}
