//! What the machine hears and what it wants done.

use std::time::Duration;

use crate::{
    client::{EnrolmentRefusal, Failure},
    clock::BootInstant,
};

/// What has happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    Connected,
    Attested {
        expires_at: BootInstant,
    },
    Registered,
    /// With the controller's word on the heartbeat interval.
    SessionOpened {
        interval: Option<Duration>,
    },
    SessionEnded(SessionEnd),
    /// A unary heartbeat was answered.
    HeartbeatDone,
    /// Connecting, attesting, registering or a unary heartbeat failed.
    StepFailed(Failure),
    /// The answer to [`Action::Renew`].
    Renewed(Result<BootInstant, Failure>),
    /// The controller sent a new token of its own accord.
    TokenRenewed {
        expires_at: BootInstant,
    },
    /// A pushed config sets the interval, or no longer does.
    IntervalSet {
        interval: Option<Duration>,
    },
    /// The node drains, or does no longer: the controller should hear soon.
    StatusChanged,
    /// `None`: the config's.
    ShutdownRequested {
        drain_timeout: Option<Duration>,
    },
    Drained,
    Flushed,
    /// Or not: at that point there is nothing to be done about it.
    Deregistered,
}

/// Why there is no session any more, or none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionEnd {
    Failed(Failure),
    Superseded,
    Evicted,
    Banned,
    GoingAway { retry_after: Option<Duration> },
}

/// What is to be done. Each of the operations answers with one event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    Connect {
        keepalive: Duration,
    },
    Attest {
        offer_token: bool,
    },
    /// Attests beside a live link, with the key alone.
    Renew,
    Register,
    OpenSession,
    Heartbeat {
        deadline: Duration,
    },
    /// Answers with no event.
    SyncConfig,
    /// Ends every operation of the link: session, heartbeat, renewal.
    DropLink,
    /// Keeps it for later lives.
    NoteAdmitted,
    Drain {
        timeout: Duration,
    },
    Flush,
    Deregister,
    Say(Notice),
    Finish(Ended),
}

/// What people may want to read in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    SessionOpen,
    SessionNotServed,
    Retry { wait: Duration },
    Forgotten,
    TokenDemanded,
    Renewed,
    RenewalFailed { wait: Duration },
    Superseded { wait: Duration },
    Evicted { wait: Duration },
    GoingAway { wait: Duration },
    LeftUnheard,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Clean,
    Banned,
    NotAdmitted(EnrolmentRefusal),
}
