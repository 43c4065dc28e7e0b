//! The connections to the one file, each lent to one caller at a time.
//!
//! A pool of sqlx asks its connection's thread whether it is there whenever it
//! lends one and whenever it gets one back. To a file in this process that is
//! two more changes of thread for every statement, and tells nothing.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::store::StoreError;

/// Connections that are lent in the order in which they were asked for.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    size: u32,
    free: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Held>>>,
}

/// A connection, and what its last borrower left behind.
#[derive(Debug)]
struct Held {
    connection: SqliteConnection,
    unfinished: bool,
}

/// A connection on loan; it goes back when this is dropped.
#[derive(Debug)]
pub(super) struct Lent {
    held: Option<Held>,
    idle: Arc<Mutex<Vec<Held>>>,
    /// Given back after the connection is.
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    /// Opens `size` of them.
    pub(super) async fn open(
        options: &SqliteConnectOptions,
        size: u32,
    ) -> Result<Self, sqlx::Error> {
        let mut idle = Vec::new();
        for _ in 0..size {
            idle.push(Held {
                connection: options.connect().await?,
                unfinished: false,
            });
        }
        Ok(Self {
            size,
            free: Arc::new(Semaphore::new(idle.len())),
            idle: Arc::new(Mutex::new(idle)),
        })
    }

    /// Waits for one that nobody has.
    ///
    /// # Errors
    /// Where they were closed.
    pub(super) async fn lend(&self) -> Result<Lent, StoreError> {
        let permit = Arc::clone(&self.free)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Closed)?;
        Ok(Lent {
            held: Some(lock(&self.idle).pop().ok_or(StoreError::Closed)?),
            idle: Arc::clone(&self.idle),
            _permit: permit,
        })
    }

    /// Whether none is on loan.
    pub(super) fn is_idle(&self) -> bool {
        self.free.is_closed() || u32::try_from(self.free.available_permits()) == Ok(self.size)
    }

    /// Waits for those on loan and closes all.
    pub(super) async fn close(&self) {
        let Ok(_all) = self.free.acquire_many(self.size).await else {
            return;
        };
        self.free.close();
        let idle = std::mem::take(&mut *lock(&self.idle));
        for held in idle {
            if let Err(error) = held.connection.close().await {
                tracing::debug!(%error, "a connection did not close in order");
            }
        }
    }
}

impl Lent {
    /// Whether the last borrower, or this one, began something and did not say
    /// that it is over.
    pub(super) fn is_unfinished(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.unfinished)
    }

    /// Says so to the next borrower, or takes it back.
    pub(super) fn set_unfinished(&mut self, unfinished: bool) {
        if let Some(held) = &mut self.held {
            held.unfinished = unfinished;
        }
    }
}

const LENT: &str = "a connection is taken out of its loan by drop alone";

impl Deref for Lent {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.held.as_ref().expect(LENT).connection
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.held.as_mut().expect(LENT).connection
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        lock(&self.idle).extend(self.held.take());
    }
}

fn lock(idle: &Mutex<Vec<Held>>) -> MutexGuard<'_, Vec<Held>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
