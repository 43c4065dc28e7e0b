//! Refusals as callers see them: a gRPC status with `google.rpc` details.

use std::{collections::HashMap, error::Error, time::Duration};

use aegis_proto::error_info::DOMAIN;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{auth::TokenError, store::StoreError};

/// When to try again what found no room on the disk.
const STORAGE_RETRY: Duration = Duration::from_secs(5);

/// A refusal with a stable reason.
pub fn refuse(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

/// A refusal of too much, with the time to wait.
pub fn slow_down(message: impl Into<String>, retry_after: Duration) -> Status {
    let details = ErrorDetails::with_retry_info(Some(retry_after));
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// A fault of ours: logged in full, told in short.
pub fn internal(fault: &(dyn Error + 'static)) -> Status {
    let mut chain = fault.to_string();
    let mut source = fault.source();
    while let Some(cause) = source {
        chain = format!("{chain}: {cause}");
        source = cause.source();
    }
    tracing::error!(error = %chain, "a call failed");
    Status::internal(format!(
        "the controller failed: {fault}; see its log, and try again"
    ))
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Full(cause) => {
                tracing::warn!(%cause, "a call was refused for want of room on the disk");
                slow_down(
                    "the controller can't write it down: the disk of its database is full or \
                     failing; make room in its data directory, then try again",
                    STORAGE_RETRY,
                )
            }
            StoreError::Closed => Status::unavailable("the controller is stopping; try again"),
            _ => internal(&error),
        }
    }
}

impl From<TokenError> for Status {
    fn from(error: TokenError) -> Self {
        internal(&error)
    }
}

/// The name of a status code, as `PERMISSION_DENIED`.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
