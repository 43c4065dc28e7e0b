//! One call: its deadline, and what its refusal means to an operator.

use tonic::{Code, Request, Response, Status};

use super::{CALL_TIMEOUT, Client, Connection};
use crate::failure::{Exit, Failure, chain};

impl Connection {
    /// Makes one call. `what` completes "can't …", as in "list the nodes".
    ///
    /// A stream's own messages may take as long as they like: its deadline
    /// holds until it opens.
    pub async fn call<Q, R, F, Fut>(
        &self,
        what: &'static str,
        message: Q,
        call: F,
    ) -> Result<R, CallError>
    where
        F: FnOnce(Client, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        let answer = tokio::time::timeout(
            CALL_TIMEOUT,
            call(self.client.clone(), Request::new(message)),
        )
        .await;
        let status = match answer {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => {
                Status::deadline_exceeded(format!("no answer within {} s", CALL_TIMEOUT.as_secs()))
            }
        };
        Err(self.refused(what, status))
    }

    /// A status that came from this controller, as an error.
    pub fn refused(&self, what: &'static str, status: Status) -> CallError {
        CallError {
            what,
            endpoint: self.endpoint().to_owned(),
            status: Box::new(status),
        }
    }
}

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("can't {what}: {}", said(status))]
pub struct CallError {
    what: &'static str,
    endpoint: String,
    status: Box<Status>,
}

impl CallError {
    /// The status code.
    pub fn code(&self) -> Code {
        self.status.code()
    }

    /// Whether the same call may succeed once the controller can be reached
    /// again. A broken stream ends with any of these, according to where it broke.
    pub fn is_interruption(&self) -> bool {
        matches!(
            self.code(),
            Code::Unavailable
                | Code::Unknown
                | Code::Internal
                | Code::Cancelled
                | Code::DeadlineExceeded
        )
    }

    fn exit(&self) -> Exit {
        match self.code() {
            Code::Unavailable | Code::DeadlineExceeded => Exit::Unreachable,
            Code::Unauthenticated | Code::PermissionDenied => Exit::NotPermitted,
            Code::InvalidArgument
            | Code::NotFound
            | Code::OutOfRange
            | Code::FailedPrecondition => Exit::Usage,
            _ => Exit::Failed,
        }
    }

    fn next(&self) -> Option<String> {
        Some(match self.code() {
            Code::Unavailable | Code::DeadlineExceeded => {
                format!(
                    "Is the controller at {} still running? Its log says more; then run this again.",
                    self.endpoint
                )
            }
            Code::Unauthenticated => format!(
                "The controller at {} does not know this token: use the operator.token from its own data directory (--token-file, AEGIS_OPERATOR_TOKEN_FILE).",
                self.endpoint
            ),
            Code::PermissionDenied => "Use the token of an operator who may do this.".into(),
            Code::Unimplemented => format!(
                "The controller at {} is older than this aegisctl, or is no aegis-controller; see --endpoint.",
                self.endpoint
            ),
            _ => return None,
        })
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let failure = Self::new(error.exit(), error.to_string());
        match error.next() {
            Some(next) => failure.next(next),
            None => failure,
        }
    }
}

/// The status in words: its message, or its causes where it has none of the
/// controller's own.
fn said(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(cause) => chain(cause),
        None if status.message().is_empty() => status.code().description().to_owned(),
        None => crate::render::clean(status.message()),
    }
}
