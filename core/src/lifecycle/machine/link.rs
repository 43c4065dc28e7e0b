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

/// A [`Link`] by its name alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkStage {
    Down,
    Connecting,
    Attesting,
    Registering,
    Opening,
    Session,
    Heartbeats,
}

impl Link {
    pub(super) const fn stage(self) -> LinkStage {
        match self {
            Self::Down { .. } => LinkStage::Down,
            Self::Connecting => LinkStage::Connecting,
            Self::Attesting => LinkStage::Attesting,
            Self::Registering => LinkStage::Registering,
            Self::Opening => LinkStage::Opening,
            Self::Session { .. } => LinkStage::Session,
            Self::Unary { .. } => LinkStage::Heartbeats,
        }
    }
}

impl LinkStage {
    pub(crate) const ALL: [Self; 7] = [
        Self::Down,
        Self::Connecting,
        Self::Attesting,
        Self::Registering,
        Self::Opening,
        Self::Session,
        Self::Heartbeats,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Connecting => "connecting",
            Self::Attesting => "attesting",
            Self::Registering => "registering",
            Self::Opening => "opening",
            Self::Session => "session",
            Self::Heartbeats => "heartbeats",
        }
    }
}
