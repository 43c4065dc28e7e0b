//! How far the worker has come towards its controller.

use crate::clock::BootInstant;

/// At most one operation of the link is under way in each of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// Nothing is, until then.
    Down {
        retry_at: BootInstant,
    },
    Connecting,
    Attesting,
    Registering,
    /// The session's hello and welcome.
    Opening,
    Session {
        since: BootInstant,
    },
    /// Heartbeats one by one, for a controller that serves no session.
    Unary {
        next: BootInstant,
        in_flight: bool,
    },
}
