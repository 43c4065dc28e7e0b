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
    /// Until the heartbeat under way is answered: one that arrived after the
    /// goodbye would speak for a node that is gone.
    Parting {
        until: BootInstant,
    },
    /// Deregistering.
    Leaving,
    Over,
}

impl Ending {
    pub(super) const fn deadline(self) -> Option<BootInstant> {
        match self {
            Self::Flushing { until } | Self::Parting { until } => Some(until),
            _ => None,
        }
    }
}
