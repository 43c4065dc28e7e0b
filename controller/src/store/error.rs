//! What can go wrong with a store.

use std::path::PathBuf;

/// A failure of the store itself, as opposed to a refusal.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not do what it was asked.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
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
    /// A stored value is not what was once written.
    #[error("the database holds a malformed {what}")]
    Malformed {
        /// Which value.
        what: &'static str,
    },
}
