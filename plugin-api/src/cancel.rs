//! How a running call learns that it is to end.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use tokio::sync::Notify;

use crate::{abi, call_facts::CallFacts};

/// Why a command is to end early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// An operator asked for it.
    Requested,
    /// Its timeout passed.
    Deadline,
    /// The worker shuts down.
    Shutdown,
}

/// The cancellation of one call. Cheap to clone, so that it can be handed to
/// whatever the handler starts.
#[derive(Debug, Clone)]
pub struct Cancellation(Arc<State>);

/// The whole state of a call is one allocation, which an inline call would feel
/// if it were more.
#[derive(Debug)]
struct State {
    /// 0, or the first `AEGIS_CANCEL_…` that was asked for.
    reason: AtomicU32,
    /// The grace is over: the call is dropped where it can be.
    abandoned: AtomicBool,
    changed: Notify,
    facts: CallFacts,
}

impl Cancellation {
    /// Of a call that goes on.
    pub(crate) fn new(facts: CallFacts) -> Self {
        Self(Arc::new(State {
            reason: AtomicU32::new(0),
            abandoned: AtomicBool::new(false),
            changed: Notify::new(),
            facts,
        }))
    }

    /// What is known of the call.
    pub(crate) fn facts(&self) -> &CallFacts {
        &self.0.facts
    }

    /// Whether the call is to end.
    pub fn is_cancelled(&self) -> bool {
        self.0.reason.load(Ordering::Acquire) != 0
    }

    /// Why the call is to end; `None` while it may go on.
    pub fn reason(&self) -> Option<CancelReason> {
        match self.0.reason.load(Ordering::Acquire) {
            0 => None,
            abi::AEGIS_CANCEL_DEADLINE => Some(CancelReason::Deadline),
            abi::AEGIS_CANCEL_SHUTDOWN => Some(CancelReason::Shutdown),
            _ => Some(CancelReason::Requested),
        }
    }

    /// Waits until the call is to end.
    pub async fn cancelled(&self) {
        self.wait(|state| state.reason.load(Ordering::Acquire) != 0)
            .await;
    }

    /// Whether the grace after a cancel is over.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.abandoned.load(Ordering::Acquire)
    }

    /// Waits until the grace after a cancel is over.
    pub(crate) async fn abandoned(&self) {
        self.wait(|state| state.abandoned.load(Ordering::Acquire))
            .await;
    }

    /// Cancels with an `AEGIS_CANCEL_…`; the first reason stays.
    pub(crate) fn cancel(&self, reason: u32) {
        if reason == abi::AEGIS_CANCEL_ABANDON {
            self.0.abandoned.store(true, Ordering::Release);
        }
        let _ = self.0.reason.compare_exchange(
            0,
            // 0 is no reason; a foreign host may still send it.
            reason.max(abi::AEGIS_CANCEL_REQUESTED),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        self.0.changed.notify_waiters();
    }

    async fn wait(&self, over: impl Fn(&State) -> bool) {
        loop {
            // Made before the look, so that a change after it wakes us.
            let changed = self.0.changed.notified();
            if over(&self.0) {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call_facts::TextParts;

    fn cancellation() -> Cancellation {
        Cancellation::new(CallFacts::new(1, &TextParts::default(), 1, None))
    }

    #[test]
    fn the_first_reason_stays() {
        let cancellation = cancellation();
        assert_eq!(cancellation.reason(), None);
        cancellation.cancel(abi::AEGIS_CANCEL_DEADLINE);
        cancellation.cancel(abi::AEGIS_CANCEL_ABANDON);
        assert_eq!(cancellation.reason(), Some(CancelReason::Deadline));
    }

    #[tokio::test]
    async fn abandoning_ends_both_waits() {
        let cancellation = cancellation();
        let waiting = cancellation.clone();
        let wait = tokio::spawn(async move {
            waiting.cancelled().await;
            waiting.abandoned().await;
        });
        cancellation.cancel(abi::AEGIS_CANCEL_ABANDON);
        wait.await.expect("the wait ends");
    }

    #[test]
    fn a_reason_from_a_newer_host_counts_as_a_request() {
        let cancellation = cancellation();
        cancellation.cancel(77);
        assert_eq!(cancellation.reason(), Some(CancelReason::Requested));
    }
}
