//! The numbers that dispatch goes by.

use std::time::Duration;

/// Bounds and graces of a dispatcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DispatchLimits {
    /// Commands that wait for a slot, for each command name. Beyond it:
    /// rejected as `overloaded`.
    pub queue: usize,
    /// Commands that wait for their `not_before`, for each command name.
    pub scheduled: usize,
    /// Starts that occupy a blocking thread at once, for each command name. Of
    /// a handler that blocks in its start, so many run at once at the most.
    pub blocking_starts: u32,
    /// From a cancel until the call is told to abandon its work.
    pub cancel_grace: Duration,
    /// From then until the call is given up: outcome unknown, slot lost.
    pub abandon_grace: Duration,
    /// How long a handler that runs inline may take.
    pub inline_budget: Duration,
    /// The overrun of it, within 64 calls of the one before, after which it is
    /// run on a thread of its own.
    pub inline_overruns: u32,
    /// How often a command's handler begins where crashes interrupt it.
    pub attempts: u32,
    /// What a controller is told to wait before it tries an overloaded handler
    /// again.
    pub retry_after: Duration,
}

impl Default for DispatchLimits {
    fn default() -> Self {
        Self {
            queue: 128,
            scheduled: 128,
            blocking_starts: 16,
            cancel_grace: Duration::from_secs(5),
            abandon_grace: Duration::from_secs(1),
            inline_budget: Duration::from_millis(1),
            inline_overruns: 2,
            attempts: 3,
            retry_after: Duration::from_secs(1),
        }
    }
}
