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

/// Processes that a seat remembers to have taken the place of.
const MOST_OUSTED: usize = 16;

/// A session as others see it. It holds no queue: a wake-up makes the session
/// look at the store, an end is told once.
#[derive(Debug)]
pub struct Seat {
    /// Made anew for each session.
    pub id: Uuid,
    boot_id: String,
    /// The processes whose place it took, and those before them; newest last.
    ousted: Vec<String>,
    wake: Notify,
    end: CancellationToken,
    left: CancellationToken,
    bye: Mutex<Option<Bye>>,
}

impl Seat {
    /// The seat of a worker's process, in the place of `older`. Nobody has left it.
    pub(super) fn taken(boot_id: &str, older: Option<&Self>) -> Self {
        let mut ousted = older.map_or_else(Vec::new, |older| older.ousted.clone());
        if let Some(older) = older.filter(|older| older.boot_id != boot_id) {
            ousted.push(older.boot_id.clone());
        }
        // As many as there may be live workers with one node id.
        let forgotten = ousted.len().saturating_sub(MOST_OUSTED);
        ousted.drain(..forgotten);
        Self {
            id: Uuid::new_v4(),
            boot_id: boot_id.to_owned(),
            ousted,
            wake: Notify::new(),
            end: CancellationToken::new(),
            left: CancellationToken::new(),
            bye: Mutex::default(),
        }
    }

    /// Whether this session, or one whose place it took, already took the place
    /// of that process: of two live workers the newer stays.
    pub(super) fn ousted(&self, boot_id: &str) -> bool {
        self.boot_id != boot_id && self.ousted.iter().any(|one| one == boot_id)
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
