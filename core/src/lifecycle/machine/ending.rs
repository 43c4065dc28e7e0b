//! The worker's own end, which goes on beside the link.

use crate::clock::BootInstant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    No,
    /// Until the last command has an outcome. The dispatcher bounds it.
    Draining,
    /// Until the controller has every outcome.
    Flushing {
        until: BootInstant,
    },
    /// Deregistering.
    Leaving,
    Over,
}

impl Ending {
    pub(super) const fn deadline(self) -> Option<BootInstant> {
        match self {
            Self::Flushing { until } => Some(until),
            _ => None,
        }
    }
}
