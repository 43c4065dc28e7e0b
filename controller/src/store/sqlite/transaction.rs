//! The two kinds of transaction that write.

use sqlx::{Sqlite, SqlitePool, Transaction};

use crate::store::StoreError;

pub(super) type Write = Transaction<'static, Sqlite>;

/// Begins a transaction that is on the disk when its commit returns.
pub(super) async fn durable(write: &SqlitePool) -> Result<Write, StoreError> {
    Ok(write
        .begin_with("PRAGMA synchronous = FULL; BEGIN IMMEDIATE")
        .await?)
}

/// Begins a transaction that a power failure may undo.
pub(super) async fn relaxed(write: &SqlitePool) -> Result<Write, StoreError> {
    Ok(write
        .begin_with("PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE")
        .await?)
}
