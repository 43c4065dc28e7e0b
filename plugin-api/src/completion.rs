//! How a call ended, on its way to the host.

use crate::{HandlerError, abi};

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completion {
    /// With this response: JSON in UTF-8.
    Succeeded(Vec<u8>),
    /// With the handler's error.
    Failed(HandlerError),
    /// Because it was asked to.
    Cancelled(HandlerError),
    /// The handler panicked.
    Panicked(HandlerError),
}

/// What came of beginning a call.
#[derive(Debug)]
pub(crate) enum Started {
    /// It is over already.
    Done(Completion),
    /// The host will hear.
    Pending,
    /// It was not taken and had no effect.
    Refused(HandlerError),
}

impl Completion {
    /// Of what a handler answered. An error is a cancellation only if the call
    /// was cancelled and the handler says that this is why.
    pub(crate) fn of(answer: Result<Vec<u8>, HandlerError>, cancelled: bool) -> Self {
        match answer {
            Ok(response) => Self::Succeeded(response),
            Err(error) if cancelled && error.code == HandlerError::CANCELLED => {
                Self::Cancelled(error)
            }
            Err(error) => Self::Failed(error),
        }
    }

    /// Its `AEGIS_STATUS_…` and its document.
    pub(crate) fn into_parts(self) -> (u32, Vec<u8>) {
        match self {
            Self::Succeeded(response) => (abi::AEGIS_STATUS_OK, response),
            Self::Failed(error) => (abi::AEGIS_STATUS_ERROR, error.to_document()),
            Self::Cancelled(error) => (abi::AEGIS_STATUS_CANCELLED, error.to_document()),
            Self::Panicked(error) => (abi::AEGIS_STATUS_PANICKED, error.to_document()),
        }
    }
}
