//! What plugins did that they must not, counted.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use serde::Serialize;

use super::calls::Stray;

/// The counters of one plugin.
#[derive(Debug, Default)]
pub(super) struct Faults {
    double: AtomicU64,
    late: AtomicU64,
    forged: AtomicU64,
    after_quiesce: AtomicU64,
    watcher: OnceLock<fn()>,
}

/// Completions of one plugin that were ignored, since the worker began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FaultCounts {
    /// Of calls that were completed before.
    pub double: u64,
    /// Of calls that were given up, or were over long ago.
    pub late: u64,
    /// Of calls that never were, or were not this instance's.
    pub forged: u64,
    /// From an instance that said that it was quiet.
    pub after_quiesce: u64,
}

impl Faults {
    pub(super) fn stray(&self, stray: Stray) {
        let counter = match stray {
            Stray::Double => &self.double,
            Stray::Late => &self.late,
            Stray::Forged => &self.forged,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.changed();
    }

    pub(super) fn after_quiesce(&self) {
        self.after_quiesce.fetch_add(1, Ordering::Relaxed);
        self.changed();
    }

    /// Has `watcher` called whenever there is more to tell of the plugin.
    pub(super) fn watch(&self, watcher: fn()) {
        // Whoever came first stays.
        let _ = self.watcher.set(watcher);
    }

    /// There is.
    pub(super) fn changed(&self) {
        if let Some(watcher) = self.watcher.get() {
            watcher();
        }
    }

    pub(super) fn counts(&self) -> FaultCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FaultCounts {
            double: read(&self.double),
            late: read(&self.late),
            forged: read(&self.forged),
            after_quiesce: read(&self.after_quiesce),
        }
    }
}
