//! A count of who is inside, with a door that closes for good.

use std::{
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const CLOSED: u64 = 1 << 63;

/// Lets any number in until it is closed; then whoever closed it can wait for
/// the last to leave.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// How many are inside, and [`CLOSED`].
    state: AtomicU64,
    idle: Mutex<()>,
    left: Condvar,
}

impl Gate {
    /// Goes in, or answers false if the gate is closed. Who went in calls
    /// [`leave`](Self::leave) once.
    pub(crate) fn enter(&self) -> bool {
        // Acquire pairs with the release in `leave`; the wait of a closer needs
        // nothing from `enter` but its place in the order of this one atomic.
        let before = self.state.fetch_add(1, Ordering::Acquire);
        if before & CLOSED != 0 {
            self.leave();
            return false;
        }
        true
    }

    /// Leaves.
    pub(crate) fn leave(&self) {
        let before = self.state.fetch_sub(1, Ordering::Release);
        if before == CLOSED | 1 {
            // The lock keeps the wake-up from falling between a waiter's look at
            // the count and its sleep.
            drop(self.idle.lock().unwrap_or_else(PoisonError::into_inner));
            self.left.notify_all();
        }
    }

    /// Lets nobody in any more.
    pub(crate) fn close(&self) {
        self.state.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Waits until nobody is inside; false if somebody still is after `timeout`.
    pub(crate) fn wait_empty(&self, timeout: Duration) -> bool {
        let end = Instant::now().checked_add(timeout);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.state.load(Ordering::Acquire) & !CLOSED == 0 {
                return true;
            }
            idle = match end {
                None => self.left.wait(idle).unwrap_or_else(PoisonError::into_inner),
                Some(end) => {
                    let now = Instant::now();
                    if now >= end {
                        return false;
                    }
                    self.left
                        .wait_timeout(idle, end - now)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    #[test]
    fn nobody_enters_a_closed_gate() {
        let gate = Gate::default();
        assert!(gate.enter());
        gate.close();
        assert!(!gate.enter());
        assert!(!gate.wait_empty(Duration::ZERO));
        gate.leave();
        assert!(gate.wait_empty(Duration::ZERO));
    }

    #[test]
    fn a_closer_sees_all_that_was_done_inside() {
        for _ in 0..200 {
            let gate = Arc::new(Gate::default());
            let done = Arc::new(AtomicU64::new(0));
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    let (gate, done) = (Arc::clone(&gate), Arc::clone(&done));
                    thread::spawn(move || {
                        let mut entered = 0;
                        while gate.enter() {
                            done.fetch_add(1, Ordering::Relaxed);
                            gate.leave();
                            entered += 1;
                        }
                        entered
                    })
                })
                .collect();
            gate.close();
            assert!(gate.wait_empty(Duration::from_secs(30)));
            let seen = done.load(Ordering::Relaxed);
            let entered: u64 = workers
                .into_iter()
                .map(|w| w.join().expect("no worker panics"))
                .sum();
            assert_eq!(seen, entered);
        }
    }
}
