//! What dispatch is about, in numbers.

use super::tally::STATES;

/// The state of a dispatcher at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct DispatchFigures {
    /// Of the commands that were permitted at least once.
    pub(crate) lanes: Vec<LaneFigures>,
    /// Outcomes by command name, in the order of [`STATES`].
    pub(crate) outcomes: Vec<(String, [u64; STATES.len()])>,
    /// Outcomes of commands whose names have no handler.
    pub(crate) unknown: [u64; STATES.len()],
}

/// One command name's capacity and what fills it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LaneFigures {
    pub(crate) command: String,
    pub(crate) plugin: String,
    pub(crate) concurrency: u32,
    /// Slots whose handlers run and were not given up on.
    pub(crate) running: u32,
    /// Slots lost to handlers that were.
    pub(crate) wedged: u32,
    pub(crate) queued: usize,
    /// Commands that wait for their `not_before`.
    pub(crate) scheduled: usize,
}
