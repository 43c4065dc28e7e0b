//! How many commands ended how.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{command::FinalState, unpoisoned::lock};

/// The states in the order of [`OutcomeCounts`].
pub(crate) const STATES: [(FinalState, &str); 6] = [
    (FinalState::Succeeded, "succeeded"),
    (FinalState::Failed, "failed"),
    (FinalState::Rejected, "rejected"),
    (FinalState::Expired, "expired"),
    (FinalState::Cancelled, "cancelled"),
    (FinalState::Unknown, "unknown"),
];

/// The outcomes of one command name, or of all names without a handler.
#[derive(Debug, Default)]
pub(super) struct OutcomeCounts([AtomicU64; STATES.len()]);

/// The counts of every name. Only names that have a handler, enabled or not,
/// get counts of their own, so that a peer cannot make them grow.
#[derive(Debug, Default)]
pub(super) struct Tally {
    by_name: Mutex<HashMap<String, Arc<OutcomeCounts>>>,
    unknown: OutcomeCounts,
}

impl OutcomeCounts {
    pub(super) fn count(&self, state: FinalState) {
        let place = match state {
            FinalState::Succeeded => 0,
            FinalState::Failed => 1,
            FinalState::Rejected => 2,
            FinalState::Expired => 3,
            FinalState::Cancelled => 4,
            FinalState::Unknown => 5,
        };
        self.0[place].fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> [u64; STATES.len()] {
        self.0.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

impl Tally {
    /// The counts of a name that has a handler.
    pub(super) fn of(&self, name: &str) -> Arc<OutcomeCounts> {
        let mut by_name = lock(&self.by_name);
        match by_name.get(name) {
            Some(counts) => Arc::clone(counts),
            None => Arc::clone(by_name.entry(name.to_owned()).or_default()),
        }
    }

    /// Those of all names that have none.
    pub(super) const fn unknown(&self) -> &OutcomeCounts {
        &self.unknown
    }

    /// By name in the order of names, and what had no name of its own.
    pub(super) fn read(&self) -> (Vec<(String, [u64; STATES.len()])>, [u64; STATES.len()]) {
        let mut named: Vec<_> = lock(&self.by_name)
            .iter()
            .map(|(name, counts)| (name.clone(), counts.read()))
            .collect();
        named.sort_unstable();
        (named, self.unknown.read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_counted_in_its_own_place() {
        for (place, (state, _)) in STATES.into_iter().enumerate() {
            let counts = OutcomeCounts::default();
            counts.count(state);
            let mut expected = [0; STATES.len()];
            expected[place] = 1;
            assert_eq!(counts.read(), expected, "{state:?}");
        }
    }
}
