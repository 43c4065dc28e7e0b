//! What a refusal says beside its code.

use std::{fmt::Debug, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The refusal, once its code is the expected one.
#[track_caller]
pub fn refused<T: Debug>(result: Result<T, Status>, code: Code) -> Status {
    let status = result.expect_err("it is refused");
    assert_eq!(status.code(), code, "{status:?}");
    assert!(!status.message().is_empty(), "a refusal says why");
    status
}

/// The stable reason of its `google.rpc.ErrorInfo`; empty if it has none.
pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    details
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default()
}

/// The delay of its `google.rpc.RetryInfo`.
pub fn retry_delay(status: &Status) -> Option<Duration> {
    status
        .get_error_details()
        .retry_info()
        .and_then(|info| info.retry_delay)
}
