//! Why a handler did not succeed, as data.

use std::{borrow::Cow, fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// The error of one command: what failed, what to do about it, and whether a
/// retry can help. On the ABI it is the error document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandlerError {
    /// Stable and made for programs: lower case with hyphens, as `disk-full`.
    pub code: Cow<'static, str>,
    /// What failed and why, for a person.
    pub message: String,
    /// What the operator can do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Whether the same command can succeed later.
    #[serde(default)]
    pub retryable: bool,
    /// When a retry makes sense at the earliest, in milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl HandlerError {
    /// The code of an error that says: ended because it was asked to.
    pub const CANCELLED: &'static str = "cancelled";
    /// The code of a request that does not fit the handler. A handler that
    /// answers with it has had no effect, and the command counts as rejected.
    pub const INVALID_PAYLOAD: &'static str = "invalid-payload";
    /// The code of a panic.
    pub const PANICKED: &'static str = "panicked";

    /// An error that a retry does not help.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            help: None,
            retryable: false,
            retry_after_ms: None,
        }
    }

    /// Says that the handler ended because it was asked to.
    pub fn cancelled(message: impl Into<String>) -> Self {
        Self::new(Self::CANCELLED, message)
    }

    /// Adds what the operator can do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says that the same command can succeed later.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Says when a retry makes sense at the earliest.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retryable = true;
        self.retry_after_ms = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The error document of the ABI.
    pub fn to_document(&self) -> Vec<u8> {
        // Strings, a boolean and a number always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads an error document. One that is not well formed becomes the message
    /// of an error with the code `malformed-error`.
    pub fn from_document(document: &[u8]) -> Self {
        serde_json::from_slice(document).unwrap_or_else(|_| {
            Self::new(
                "malformed-error",
                String::from_utf8_lossy(document).into_owned(),
            )
        })
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for HandlerError {}
