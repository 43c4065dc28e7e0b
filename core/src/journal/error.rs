//! Why the journal's file cannot be used.

use thiserror::Error;

use crate::database::{Meaning, meaning};

/// Why the journal's file cannot be read or written.
#[derive(Debug, Error)]
pub enum JournalError {
    /// Its content makes no sense. The worker sets such a file aside.
    #[error("the journal is damaged")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another process has it open.
    #[error("the journal is open in another process")]
    InUse,
    /// The disk is full, the file may not be read, or the like.
    #[error("the journal cannot be read or written")]
    Storage(#[source] Box<redb::Error>),
    /// An earlier error closed it, and it could not be opened again yet.
    #[error("the journal is closed after an error")]
    Closed,
    /// The damaged file cannot be moved out of the way.
    #[error("the damaged journal cannot be renamed")]
    SetAside(#[source] std::io::Error),
    /// The thread that writes it cannot be started.
    #[error("the journal's thread cannot be started")]
    Thread(#[source] std::io::Error),
}

impl From<redb::Error> for JournalError {
    fn from(error: redb::Error) -> Self {
        match meaning(&error) {
            Meaning::InUse => Self::InUse,
            Meaning::Damaged => Self::Damaged(error.into()),
            Meaning::Storage => Self::Storage(error.into()),
        }
    }
}

impl From<prost::DecodeError> for JournalError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Damaged(error.into())
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {
        $(impl From<$error> for JournalError {
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
