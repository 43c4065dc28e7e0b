//! What can go wrong with a store.

use std::path::PathBuf;

/// A failure of the store itself, as opposed to a refusal.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not do what it was asked.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the schema of {} can't be brought up to date; was it made by a newer version?", path.display())]
    Migrate {
        /// The database file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// The database could not be opened.
    #[error("can't open the database {}; check that the directory is writable and the file is a SQLite database", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The database URL is not one that this controller can use.
    #[error("{url:?} is not a database this controller can use: expected sqlite:///path/to/file")]
    UnsupportedUrl {
        /// As it was given.
        url: String,
    },
    /// There is no room for what was to be written, or the disk refuses it.
    #[error("the disk of the database takes no more: it is full or failing")]
    Full(#[source] sqlx::Error),
    /// The controller is on its way out.
    #[error("the store is closed")]
    Closed,
    /// A stored value is not what was once written.
    #[error("the database holds a malformed {what}")]
    Malformed {
        /// Which value.
        what: &'static str,
    },
}

/// SQLITE_FULL: the database or its log could not grow.
const SQLITE_FULL: u32 = 13;

/// SQLITE_IOERR: the file system refused; the upper bytes say what.
const SQLITE_IOERR: u32 = 10;

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = error
            .as_database_error()
            .and_then(|error| error.code())
            .and_then(|code| code.parse::<u32>().ok());
        match code.map(|code| code & 0xff) {
            Some(SQLITE_FULL | SQLITE_IOERR) => Self::Full(error),
            _ => Self::Database(error),
        }
    }
}
