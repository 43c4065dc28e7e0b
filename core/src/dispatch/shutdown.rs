//! Cancels, of one command and of all, and the end of a dispatcher.

use std::sync::{Arc, atomic::Ordering};

use super::{Live, SHUT_DOWN_SLACK, Shared, ending};
use crate::{
    command::{CancelReason, CommandId},
    unpoisoned::lock,
};

impl Shared {
    pub(super) fn cancel(self: &Arc<Self>, id: CommandId, reason: CancelReason, note: &str) {
        let live = lock(&self.live).get(&id).cloned();
        match live {
            Some(Live::Scheduled(scheduled)) => self.cancel_scheduled(&scheduled, reason, note),
            Some(Live::Admitted(execution)) => execution.cancel(reason, note),
            None => {}
        }
    }

    /// Cancels what has not begun.
    pub(super) fn cancel_waiting(self: &Arc<Self>, reason: CancelReason, note: &str) {
        for live in self.everything() {
            match live {
                Live::Scheduled(scheduled) => self.cancel_scheduled(&scheduled, reason, note),
                Live::Admitted(execution) => {
                    execution.cancel_if_queued(reason, note);
                }
            }
        }
    }

    pub(super) fn cancel_all(self: &Arc<Self>, reason: CancelReason, note: &str) {
        for live in self.everything() {
            match live {
                Live::Scheduled(scheduled) => self.cancel_scheduled(&scheduled, reason, note),
                Live::Admitted(execution) => execution.cancel(reason, note),
            }
        }
    }

    /// Oldest first, for ids grow with time.
    pub(super) fn everything(&self) -> Vec<Live> {
        let live = lock(&self.live);
        let mut all: Vec<_> = live.iter().collect();
        all.sort_unstable_by_key(|(id, _)| **id);
        all.into_iter().map(|(_, live)| live.clone()).collect()
    }

    /// Rejects what queues on a node that drains now.
    pub(super) fn reject_queued(&self) {
        // On its way out the worker cancels what waits, and says so.
        let Some(closed) = self.node.closed().filter(|_| !self.node.is_ending()) else {
            return;
        };
        for live in self.everything() {
            if let Live::Admitted(execution) = live {
                execution.reject_if_drained(&closed.reason);
            }
        }
    }

    pub(super) async fn all_settled(&self) {
        loop {
            let settled = self.settled.notified();
            if self.unsettled.load(Ordering::Acquire) == 0 {
                return;
            }
            settled.await;
        }
    }

    /// Cancels until nothing is left, for a command that was submitted while
    /// the dispatcher closed may show up late.
    pub(super) async fn end_all(self: &Arc<Self>) {
        let graces = self.limits.cancel_grace + self.limits.abandon_grace;
        while self.unsettled.load(Ordering::Acquire) > 0 {
            self.cancel_all(CancelReason::Shutdown, "");
            let settled = tokio::time::timeout(graces + SHUT_DOWN_SLACK, self.all_settled());
            if settled.await.is_err() {
                // The timers had their time and more: nothing may keep the
                // worker from ending.
                for id in self.node.running() {
                    if let Some(outcome) = self.finish(id, ending::given_up(None)) {
                        self.tally.of(&outcome.name).count(outcome.state);
                    }
                }
            }
        }
    }

    /// Nothing is begun or ended any more, and what waits is left to the
    /// journal.
    pub(super) fn let_go(&self) {
        self.close_intake();
        self.forget_calls();
        // With no lock held: the last of them may hold much else.
        drop((self.timers.take(), self.lanes.take_queued()));
    }

    /// Has the plugins' hosts forget calls that were given up on, so that a
    /// late completion reaches nobody.
    pub(super) fn forget_calls(&self) {
        // Not in the head of the loop: the lock would be held through its body,
        // and a call that ends now takes it while it holds its own.
        let live = std::mem::take(&mut *lock(&self.live));
        for live in live.into_values() {
            if let Live::Admitted(execution) = live {
                execution.forget();
            }
        }
    }
}
