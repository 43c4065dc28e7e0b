//! Why a plugin's value is not read or kept.

use aegis_plugin_api::{
    HandlerError, KeyValue,
    abi::{
        AEGIS_KV_MAX_BYTES, AEGIS_KV_MAX_KEY_BYTES, AEGIS_KV_MAX_KEYS, AEGIS_KV_MAX_PAGE,
        AEGIS_KV_MAX_VALUE_BYTES,
    },
};
use thiserror::Error;

use crate::{
    database::{Meaning, meaning},
    lifecycle::chain,
};

/// Nothing has changed where this is the answer.
#[derive(Debug, Error)]
pub(crate) enum KeyValueError {
    #[error("a key of {0} bytes; it has 1 to {AEGIS_KV_MAX_KEY_BYTES}")]
    Key(usize),
    #[error("a value of {0} bytes; it has at most {AEGIS_KV_MAX_VALUE_BYTES}")]
    Value(usize),
    #[error("the value is not in base64")]
    Base64(#[source] base64::DecodeError),
    #[error("a page of {0} keys; it has 1 to {AEGIS_KV_MAX_PAGE}")]
    Page(u64),
    #[error("the plugin has {AEGIS_KV_MAX_KEYS} keys, which is all that it may have")]
    TooManyKeys,
    #[error(
        "its keys and values would have {0} bytes, and the plugin may keep {AEGIS_KV_MAX_BYTES}"
    )]
    TooManyBytes(u64),
    #[error("the key has version {is}, and {expected} was expected (0: none)")]
    Conflict { is: u64, expected: u64 },
    #[error("what the plugins keep is damaged")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("what the plugins keep is open elsewhere, or is being closed after an error")]
    InUse,
    #[error("what the plugins keep cannot be read or written")]
    Storage(#[source] Box<redb::Error>),
    #[error("the damaged file of what the plugins keep cannot be renamed")]
    SetAside(#[source] std::io::Error),
}

impl KeyValueError {
    /// Whether the file is to be opened anew.
    pub(super) fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::Storage(_))
    }
}

impl From<KeyValueError> for HandlerError {
    fn from(error: KeyValueError) -> Self {
        let text = chain(&error);
        match error {
            KeyValueError::Key(_) => Self::new("invalid-key", text),
            KeyValueError::Value(_) => Self::new("value-too-large", text)
                .help("keep what is larger in a file of the plugin's state directory"),
            KeyValueError::Base64(_) | KeyValueError::Page(_) => {
                Self::new("malformed-request", text)
            }
            KeyValueError::TooManyKeys | KeyValueError::TooManyBytes(_) => {
                Self::new("kv-full", text).help("have the plugin delete what it needs no more")
            }
            KeyValueError::Conflict { .. } => Self::new(KeyValue::CONFLICT, text).retryable(),
            KeyValueError::Damaged(_)
            | KeyValueError::InUse
            | KeyValueError::Storage(_)
            | KeyValueError::SetAside(_) => Self::new("kv-unavailable", text)
                .help(
                    "see that the worker's state directory can be written, that its disk is not \
                     full, and what the worker's log says",
                )
                .retryable(),
        }
    }
}

impl From<redb::Error> for KeyValueError {
    fn from(error: redb::Error) -> Self {
        match meaning(&error) {
            Meaning::InUse => Self::InUse,
            Meaning::Damaged => Self::Damaged(error.into()),
            Meaning::Storage => Self::Storage(error.into()),
        }
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {
        $(impl From<$error> for KeyValueError {
            fn from(error: $error) -> Self {
                redb::Error::from(error).into()
            }
        })*
    };
}

from_redb!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);
