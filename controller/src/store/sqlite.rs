//! The embedded store: one SQLite file.
//!
//! One connection writes, several read. A transaction is either durable (it is
//! on the disk before it returns) or relaxed (a power failure may undo it, a
//! crash of the process does not).

mod allowed_plugins;
mod commands;
mod committer;
mod connections;
mod enrolment;
mod groups;
mod layers;
mod log;
mod nodes;
mod rollouts;
mod rows;
mod transaction;

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    Row,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use uuid::Uuid;

use committer::Committer;
use connections::Connections;
use transaction::Write;

use super::{Store, StoreError};

const READERS: u32 = 3;

/// Longer than any transaction here takes, so that "busy" is never an answer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Pages in the log after which they are copied into the database. A command
/// writes some 20 of them, most of them the same ones as the command before it:
/// at SQLite's own 1000, every 50th command copies and waits for the disk twice
/// more. The log then fills 16 MiB.
const LOG_PAGES: u32 = 4000;

/// The store in one SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    read: Connections,
    write: Connections,
    committer: Committer,
}

impl SqliteStore {
    /// Opens the file that `url` (`sqlite:///path`) names, makes it where it is
    /// missing, and brings its schema up to date.
    ///
    /// # Errors
    /// Where the URL is not SQLite's, the file can't be opened, or its schema
    /// is newer than this program.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let path =
            sqlite_path(url).ok_or_else(|| StoreError::UnsupportedUrl { url: url.into() })?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("wal_autocheckpoint", LOG_PAGES.to_string());
        let open = |source| StoreError::Open {
            path: path.clone(),
            source,
        };
        keep_private(&path).map_err(|source| open(sqlx::Error::Io(source)))?;
        let write = Connections::open(&options, 1).await.map_err(open)?;
        sqlx::migrate!("./migrations/sqlite")
            .run(&mut *write.lend().await?)
            .await
            .map_err(|source| StoreError::Migrate {
                path: path.clone(),
                source,
            })?;
        let read = Connections::open(&options, READERS).await.map_err(open)?;
        Ok(Self {
            committer: Committer::start(write.clone()),
            read,
            write,
        })
    }

    /// Whether no connection is at work.
    #[doc(hidden)]
    pub fn is_idle(&self) -> bool {
        self.read.is_idle() && self.write.is_idle()
    }

    /// Ends all connections after their work.
    pub async fn close(&self) {
        self.committer.close().await;
        self.read.close().await;
        self.write.close().await;
    }

    /// Begins a transaction that is on the disk when its commit returns.
    async fn durable(&self) -> Result<Write, StoreError> {
        transaction::durable(&self.write).await
    }

    /// Begins a transaction that a power failure may undo.
    async fn relaxed(&self) -> Result<Write, StoreError> {
        transaction::relaxed(&self.write).await
    }
}

#[tonic::async_trait]
impl Store for SqliteStore {
    async fn probe(&self) -> Result<(), StoreError> {
        let mut tx = self.durable().await?;
        // Another value each time, or nothing would be written.
        sqlx::query(
            "INSERT INTO meta (name, value) VALUES ('probe', $1) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(Uuid::new_v4().as_bytes().to_vec())
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    async fn size(&self) -> Result<u64, StoreError> {
        let row = sqlx::query(
            "SELECT (page_count - freelist_count) * page_size AS size \
             FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()",
        )
        .fetch_one(&mut *self.read.lend().await?)
        .await?;
        Ok(u64::try_from(row.try_get::<i64, _>("size")?).unwrap_or(0))
    }
}

/// The database holds the signing key. SQLite gives its other files the mode
/// of the main one.
fn keep_private(path: &Path) -> std::io::Result<()> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

fn sqlite_path(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("sqlite:")?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    (!path.is_empty() && !path.starts_with(":memory:")).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sqlite_files_are_taken() {
        assert_eq!(
            sqlite_path("sqlite:///var/x.db"),
            Some(PathBuf::from("/var/x.db"))
        );
        assert_eq!(sqlite_path("sqlite:x.db"), Some(PathBuf::from("x.db")));
        for bad in ["postgres://h/d", "sqlite:", "sqlite::memory:", "/var/x.db"] {
            assert_eq!(sqlite_path(bad), None, "{bad}");
        }
    }
}
