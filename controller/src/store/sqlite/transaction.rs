//! The two kinds of transaction that write.

use std::ops::{Deref, DerefMut};

use sqlx::SqliteConnection;

use super::connections::{Connections, Lent};
use crate::store::StoreError;

/// A transaction on the one connection that writes. Dropped without a commit,
/// it is undone before the next one begins.
#[derive(Debug)]
pub(super) struct Write {
    connection: Lent,
}

/// Begins a transaction that is on the disk when its commit returns.
pub(super) async fn durable(write: &Connections) -> Result<Write, StoreError> {
    begin(write, "PRAGMA synchronous = FULL; BEGIN IMMEDIATE").await
}

/// Begins a transaction that a power failure may undo.
pub(super) async fn relaxed(write: &Connections) -> Result<Write, StoreError> {
    begin(write, "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE").await
}

/// The statements are prepared each time: the pragma takes effect when it is
/// prepared, not when it runs.
async fn begin(write: &Connections, statements: &'static str) -> Result<Write, StoreError> {
    let mut connection = write.lend().await?;
    if connection.is_unfinished() {
        // Refused where nothing is open any more: SQLite rolls back by itself
        // what a full disk refused, and a commit may have gone through whose
        // caller did not wait for it.
        if let Err(error) = sqlx::query("ROLLBACK").execute(&mut *connection).await {
            tracing::debug!(%error, "there was nothing to undo");
        }
    }
    connection.set_unfinished(true);
    sqlx::raw_sql(statements).execute(&mut *connection).await?;
    Ok(Write { connection })
}

impl Write {
    /// Ends it for good.
    ///
    /// # Errors
    /// Where nothing was changed.
    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        sqlx::query("COMMIT").execute(&mut *self.connection).await?;
        self.connection.set_unfinished(false);
        Ok(())
    }
}

impl Deref for Write {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions, Row, sqlite::SqliteConnectOptions};

    use super::*;

    async fn connections(folder: &tempfile::TempDir) -> Connections {
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("x.db"))
            .create_if_missing(true);
        let mut first = options.connect().await.expect("a file");
        sqlx::raw_sql("CREATE TABLE t (n INTEGER NOT NULL UNIQUE)")
            .execute(&mut first)
            .await
            .expect("a table");
        Connections::open(&options, 1).await.expect("a file")
    }

    async fn insert(write: &mut Write, n: i64) -> Result<(), sqlx::Error> {
        let insert = sqlx::query("INSERT INTO t (n) VALUES ($1)").bind(n);
        insert.execute(&mut **write).await.map(drop)
    }

    async fn all(write: &Connections) -> Vec<i64> {
        let mut connection = write.lend().await.expect("open");
        sqlx::query("SELECT n FROM t ORDER BY n")
            .fetch_all(&mut *connection)
            .await
            .expect("a table")
            .iter()
            .map(|row| row.get("n"))
            .collect()
    }

    #[tokio::test]
    async fn what_was_not_committed_is_undone_and_the_next_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = connections(&folder).await;
        let mut tx = durable(&write).await.expect("the first");
        insert(&mut tx, 1).await.expect("it is new");
        tx.commit().await.expect("room");

        let mut tx = relaxed(&write).await.expect("the second");
        insert(&mut tx, 2).await.expect("it is new");
        drop(tx);
        let mut tx = relaxed(&write).await.expect("the third");
        insert(&mut tx, 3).await.expect("it is new");
        insert(&mut tx, 1).await.expect_err("it is there");
        // Undone by itself, as SQLite does where a disk is full.
        sqlx::query("ROLLBACK")
            .execute(&mut *tx)
            .await
            .expect("open");
        drop(tx);
        let mut tx = durable(&write).await.expect("the fourth");
        insert(&mut tx, 4).await.expect("it is new");
        tx.commit().await.expect("room");
        assert_eq!(all(&write).await, [1, 4]);
    }

    #[tokio::test]
    async fn whoever_goes_away_midway_leaves_all_or_nothing_and_holds_up_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = connections(&folder).await;
        for polls in 0..24 {
            let pair = async {
                let begun = if polls % 2 == 0 {
                    durable(&write).await
                } else {
                    relaxed(&write).await
                };
                let mut tx = begun.expect("an open file");
                insert(&mut tx, 2 * polls).await.expect("it is new");
                insert(&mut tx, 2 * polls + 1).await.expect("it is new");
                tx.commit().await.expect("room");
            };
            let mut pair = Box::pin(pair);
            // It is left at another of its awaits each time.
            let mut left = polls;
            std::future::poll_fn(|cx| {
                let ready = pair.as_mut().poll(cx).is_ready();
                left -= 1;
                if ready || left < 0 {
                    std::task::Poll::Ready(())
                } else {
                    std::task::Poll::Pending
                }
            })
            .await;
            drop(pair);
            let mut tx = durable(&write).await.expect("an open file");
            insert(&mut tx, -1 - polls).await.expect("it is new");
            tx.commit().await.expect("room");
        }
        let found = all(&write).await;
        for polls in 0..24 {
            assert!(found.contains(&(-1 - polls)), "{polls}");
            let pair = [2 * polls, 2 * polls + 1].map(|n| found.contains(&n));
            assert_eq!(pair[0], pair[1], "{polls}");
        }
    }

    #[tokio::test]
    async fn each_kind_sets_how_it_is_synchronised() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = connections(&folder).await;
        for _ in 0..2 {
            for durably in [true, false] {
                let begun = if durably {
                    durable(&write).await
                } else {
                    relaxed(&write).await
                };
                let mut tx = begun.expect("an open file");
                let ask = sqlx::query("PRAGMA synchronous").persistent(false);
                let row = ask.fetch_one(&mut *tx).await;
                let level: i64 = row.expect("a level").get(0);
                assert_eq!(level, if durably { 2 } else { 1 });
                tx.commit().await.expect("room");
            }
        }
    }

    #[tokio::test]
    async fn a_connection_is_lent_to_one_at_a_time_and_to_none_once_closed() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = connections(&folder).await;
        assert!(write.is_idle());
        let lent = write.lend().await.expect("open");
        assert!(!write.is_idle());
        let (next, closed) = (
            tokio::spawn({
                let write = write.clone();
                async move { write.lend().await.map(drop) }
            }),
            tokio::spawn({
                let write = write.clone();
                async move { write.close().await }
            }),
        );
        drop(lent);
        closed.await.expect("no panic");
        // Before the close or after it, but never without an answer.
        let _ = next.await.expect("no panic");
        assert!(matches!(write.lend().await, Err(StoreError::Closed)));
    }
}
