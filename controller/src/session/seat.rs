//! A node's place in a session: how the rest of the controller reaches it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aegis_proto::worker::v1::{Bye, bye};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::time::proto_duration;

/// A session as others see it. It holds no queue: a wake-up makes the session
/// look at the store, an end is told once.
#[derive(Debug)]
pub struct Seat {
    /// Made anew for each session.
    pub id: Uuid,
    wake: Notify,
    end: CancellationToken,
    left: CancellationToken,
    bye: Mutex<Option<Bye>>,
}

impl Seat {
    /// A seat that nobody has left.
    pub fn new() -> Self {
        Self {
            id: Uuid::new_v4(),
            wake: Notify::new(),
            end: CancellationToken::new(),
            left: CancellationToken::new(),
            bye: Mutex::default(),
        }
    }

    /// Makes the session look for what it has to send.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Ends the session. The first reason counts.
    pub fn end(&self, reason: bye::Reason, message: &str, retry_after: Option<Duration>) {
        self.bye
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| Bye {
                reason: reason.into(),
                message: message.into(),
                retry_after: retry_after.map(proto_duration),
            });
        self.end.cancel();
    }

    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(super) async fn ended(&self) {
        self.end.cancelled().await;
    }

    /// Why it was ended; `None` where nobody ended it.
    pub(super) fn bye(&self) -> Option<Bye> {
        self.bye
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until the session sends and takes nothing any more.
    pub(super) async fn left(&self) {
        self.left.cancelled().await;
    }

    /// Marks the seat as left when dropped, however its session ends.
    pub(super) fn leave_on_drop(&self) -> DropGuard {
        self.left.clone().drop_guard()
    }
}

impl Default for Seat {
    fn default() -> Self {
        Self::new()
    }
}
