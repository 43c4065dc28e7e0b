//! Why an RPC failed, in the terms of what can be done about it.

use std::{error::Error, fmt, time::Duration};

use aegis_proto::error_info;
use tonic::{Code, Status};
use tonic_types::StatusExt;

type Cause = Box<dyn Error + Send + Sync>;

/// A failed RPC or connection.
#[derive(Debug)]
pub struct ClientError {
    rpc: &'static str,
    failure: Failure,
    message: String,
    source: Option<Cause>,
}

/// A failure without its story: what the lifecycle decides on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// The controller's own word on when to try again.
    pub retry_after: Option<Duration>,
}

/// What a failure calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// No connection, or it broke.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// The controller is up but wants to be left alone for a while.
    Busy,
    /// Attest again.
    TokenExpired,
    /// Attest and register again. A controller of the fixed contract does not
    /// tell this from an expired token.
    NodeUnknown,
    /// Stop trying.
    Banned,
    /// The attestation was refused.
    EnrolmentRefused(EnrolmentRefusal),
    /// The controller does not know this RPC.
    Unimplemented,
    /// The controller says no, for a reason that is no other of these.
    Refused,
    /// The controller's answer breaks the contract.
    Malformed,
    /// Something on this machine is in the way, as an unreadable certificate.
    Misconfigured,
}

/// Why a controller does not admit a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrolmentRefusal {
    /// It has no key of this node, and no token came.
    TokenMissing,
    /// It never made this token.
    TokenUnknown,
    /// The token was used before.
    TokenSpent,
    /// The token is too old.
    TokenExpired,
    /// The token is bound to another node id.
    TokenOfAnotherNode,
    /// Another key is pinned for this node id.
    KeyMismatch,
    /// It does not say. A controller of the fixed contract never does.
    Unspecified,
}

impl ClientError {
    /// What it calls for.
    pub const fn failure(&self) -> Failure {
        self.failure
    }

    fn new(
        rpc: &'static str,
        kind: FailureKind,
        message: impl Into<String>,
        source: Option<Cause>,
    ) -> Self {
        Self {
            rpc,
            failure: Failure {
                kind,
                retry_after: None,
            },
            message: message.into(),
            source,
        }
    }

    pub(super) fn unreachable(endpoint: &str, cause: tonic::transport::Error) -> Self {
        let message = format!("cannot connect to the controller at {endpoint}");
        Self::new(
            "Connect",
            FailureKind::Unreachable,
            message,
            Some(cause.into()),
        )
    }

    pub(super) fn misconfigured(message: String, source: Option<Cause>) -> Self {
        Self::new("Connect", FailureKind::Misconfigured, message, source)
    }

    pub(crate) fn timed_out(rpc: &'static str, deadline: Duration) -> Self {
        Self::new(
            rpc,
            FailureKind::TimedOut,
            format!("no answer within {deadline:?}"),
            None,
        )
    }

    pub(crate) fn malformed(rpc: &'static str, what: impl Into<String>) -> Self {
        Self::new(rpc, FailureKind::Malformed, what, None)
    }

    pub(super) fn declined(rpc: &'static str, message: String) -> Self {
        let message = if message.is_empty() {
            "not accepted".to_owned()
        } else {
            message
        };
        Self::new(rpc, FailureKind::Refused, message, None)
    }

    pub(super) fn no_token(rpc: &'static str) -> Self {
        Self::new(
            rpc,
            FailureKind::TokenExpired,
            "the node has not attested yet",
            None,
        )
    }

    /// The controller ended the stream of messages that `rpc` opened.
    pub(crate) fn closed(rpc: &'static str) -> Self {
        Self::new(
            rpc,
            FailureKind::Unreachable,
            "the controller closed the stream",
            None,
        )
    }

    /// Reads `google.rpc.ErrorInfo` and `RetryInfo` first, the code next, and
    /// the text never.
    pub(crate) fn from_status(rpc: &'static str, status: Status) -> Self {
        let reason = status
            .get_details_error_info()
            .filter(|info| info.domain == error_info::DOMAIN)
            .and_then(|info| kind_of_reason(&info.reason));
        let kind = reason.unwrap_or_else(|| kind_of_code(rpc, status.code()));
        let retry_after = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        let mut error = Self::new(rpc, kind, status.message().to_owned(), None);
        error.failure.retry_after = retry_after;
        if error.message.is_empty() {
            error.message = status.code().description().to_owned();
        }
        // The status itself would repeat its message and dump its causes; of
        // these the first one says what happened.
        let causes = std::iter::successors(status.source(), |cause| (*cause).source());
        if let Some(first) = causes.last() {
            error.source = Some(first.to_string().into());
        }
        error
    }
}

fn kind_of_reason(reason: &str) -> Option<FailureKind> {
    use EnrolmentRefusal as Refusal;
    use FailureKind::{Banned, EnrolmentRefused, NodeUnknown, TokenExpired};

    Some(match reason {
        error_info::TOKEN_EXPIRED | error_info::TOKEN_INVALID | error_info::SIGNATURE_INVALID => {
            TokenExpired
        }
        error_info::NODE_UNKNOWN => NodeUnknown,
        error_info::NODE_BANNED => Banned,
        error_info::ENROLMENT_TOKEN_MISSING => EnrolmentRefused(Refusal::TokenMissing),
        error_info::ENROLMENT_TOKEN_UNKNOWN => EnrolmentRefused(Refusal::TokenUnknown),
        error_info::ENROLMENT_TOKEN_SPENT => EnrolmentRefused(Refusal::TokenSpent),
        error_info::ENROLMENT_TOKEN_EXPIRED => EnrolmentRefused(Refusal::TokenExpired),
        error_info::ENROLMENT_TOKEN_WRONG_NODE => EnrolmentRefused(Refusal::TokenOfAnotherNode),
        error_info::KEY_MISMATCH => EnrolmentRefused(Refusal::KeyMismatch),
        _ => return None,
    })
}

/// What a bare code means depends on whether the call is part of the
/// attestation or sealed.
fn kind_of_code(rpc: &'static str, code: Code) -> FailureKind {
    let attesting = matches!(rpc, "AttestNode" | "ChallengeNode");
    match code {
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Aborted => {
            FailureKind::Unreachable
        }
        Code::DeadlineExceeded => FailureKind::TimedOut,
        Code::ResourceExhausted => FailureKind::Busy,
        Code::Unimplemented => FailureKind::Unimplemented,
        Code::PermissionDenied if attesting => {
            FailureKind::EnrolmentRefused(EnrolmentRefusal::Unspecified)
        }
        // On a sealed call a new attestation brings to light what is the
        // matter; in an attestation only another attempt can help.
        Code::Unauthenticated | Code::PermissionDenied | Code::NotFound if !attesting => {
            FailureKind::NodeUnknown
        }
        _ => FailureKind::Refused,
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rpc, self.message)
    }
}

impl Error for ClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|cause| {
            let cause: &(dyn Error + 'static) = cause.as_ref();
            cause
        })
    }
}

impl EnrolmentRefusal {
    /// What is wrong.
    pub const fn why(self) -> &'static str {
        match self {
            Self::TokenMissing => "it does not know the node, and no enrolment token was given",
            Self::TokenUnknown => "the enrolment token is unknown to it or was revoked",
            Self::TokenSpent => "the enrolment token was used before",
            Self::TokenExpired => "the enrolment token has expired",
            Self::TokenOfAnotherNode => "the enrolment token is for another node",
            Self::KeyMismatch => "it knows another key of this node",
            Self::Unspecified => "it does not say why",
        }
    }

    /// What the operator can do about it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::TokenMissing => {
                "make a token with `aegisctl enrol` and give it with --enrolment-token-file"
            }
            Self::TokenUnknown => {
                "check that the token is whole and from this controller, or make a new one with `aegisctl enrol`"
            }
            Self::TokenSpent | Self::TokenExpired => "make a new token with `aegisctl enrol`",
            Self::TokenOfAnotherNode => {
                "make a token for this node with `aegisctl enrol --node-id`"
            }
            Self::KeyMismatch => {
                "if the node's key was replaced on purpose, run `aegisctl evict` for the node and enrol it again"
            }
            Self::Unspecified => {
                "the enrolment token is missing, unknown, expired, spent or for another node, \
                 or the node is banned: ask the controller's operator"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    fn with_reason(code: Code, reason: &str) -> Status {
        let details = ErrorDetails::with_error_info(reason, error_info::DOMAIN, []);
        Status::with_error_details(code, "text that must not matter", details)
    }

    #[test]
    fn the_reason_goes_before_the_code() {
        let kind = |reason| {
            let status = with_reason(Code::Unauthenticated, reason);
            ClientError::from_status("Heartbeat", status).failure().kind
        };
        assert_eq!(kind("TOKEN_EXPIRED"), FailureKind::TokenExpired);
        assert_eq!(kind("NODE_UNKNOWN"), FailureKind::NodeUnknown);
        assert_eq!(kind("NODE_BANNED"), FailureKind::Banned);
        assert_eq!(
            kind("ENROLMENT_TOKEN_SPENT"),
            FailureKind::EnrolmentRefused(EnrolmentRefusal::TokenSpent)
        );
        assert_eq!(kind("SOMETHING_NEWER"), FailureKind::NodeUnknown);
    }

    #[test]
    fn a_reason_of_another_domain_does_not_count() {
        let details = ErrorDetails::with_error_info("NODE_BANNED", "proxy.example", []);
        let status = Status::with_error_details(Code::Unavailable, "", details);
        let failure = ClientError::from_status("Heartbeat", status).failure();
        assert_eq!(failure.kind, FailureKind::Unreachable);
    }

    #[test]
    fn bare_codes_mean_what_the_fixed_contract_says() {
        let kind = |rpc, code| {
            ClientError::from_status(rpc, Status::new(code, ""))
                .failure()
                .kind
        };
        assert_eq!(
            kind("Heartbeat", Code::Unauthenticated),
            FailureKind::NodeUnknown
        );
        assert_eq!(
            kind("ChallengeNode", Code::Unauthenticated),
            FailureKind::Refused
        );
        assert_eq!(
            kind("AttestNode", Code::PermissionDenied),
            FailureKind::EnrolmentRefused(EnrolmentRefusal::Unspecified)
        );
        assert_eq!(
            kind("Heartbeat", Code::PermissionDenied),
            FailureKind::NodeUnknown
        );
        assert_eq!(
            kind("Connect", Code::Unimplemented),
            FailureKind::Unimplemented
        );
        assert_eq!(
            kind("RegisterNode", Code::InvalidArgument),
            FailureKind::Refused
        );
    }

    #[test]
    fn a_retry_delay_is_handed_on() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(7)));
        let status = Status::with_error_details(Code::ResourceExhausted, "slow down", details);
        let failure = ClientError::from_status("AttestNode", status).failure();
        let expected = Failure {
            kind: FailureKind::Busy,
            retry_after: Some(Duration::from_secs(7)),
        };
        assert_eq!(failure, expected);
    }
}
