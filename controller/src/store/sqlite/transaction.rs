//! The two kinds of transaction that write.

use sqlx::{Sqlite, SqlitePool, Transaction};

use crate::store::StoreError;

pub(super) type Write = Transaction<'static, Sqlite>;

/// Begins a transaction that is on the disk when its commit returns.
pub(super) async fn durable(write: &SqlitePool) -> Result<Write, StoreError> {
    begin(write, "PRAGMA synchronous = FULL; BEGIN IMMEDIATE").await
}

/// Begins a transaction that a power failure may undo.
pub(super) async fn relaxed(write: &SqlitePool) -> Result<Write, StoreError> {
    begin(write, "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE").await
}

async fn begin(write: &SqlitePool, statement: &'static str) -> Result<Write, StoreError> {
    match write.begin_with(statement).await {
        // SQLite rolls back by itself what a full disk refused. The driver does
        // not notice, believes in a transaction that is over, and begins no
        // other: this connection is of no more use.
        Err(sqlx::Error::InvalidSavePointStatement) => {
            if let Err(error) = write.acquire().await?.close().await {
                tracing::debug!(%error, "a connection did not close in order");
            }
            Ok(write.begin_with(statement).await?)
        }
        begun => Ok(begun?),
    }
}
