//! Knows when nothing is left to do before the next step.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
};

use aegis_controller::store::SqliteStore;
use tokio::runtime::{Builder, Runtime};

#[derive(Default)]
pub struct Quiet {
    store: Mutex<Option<SqliteStore>>,
    is_quiet: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Quiet {
    /// A runtime of one thread that says when it has nothing to do.
    pub fn runtime() -> (Runtime, Arc<Self>) {
        let quiet = Arc::new(Self::default());
        let told = Arc::clone(&quiet);
        let runtime = Builder::new_current_thread()
            .enable_time()
            // So that what blocks is done in its order.
            .max_blocking_threads(1)
            .on_thread_park(move || told.parks())
            .build()
            .expect("a runtime");
        (runtime, quiet)
    }

    /// The store's threads count too.
    pub fn watch(&self, store: SqliteStore) {
        *self.store.lock().expect("nobody panics here") = Some(store);
    }

    /// As [`settle`](Self::settle), where something may have been given to the
    /// blocking thread.
    pub async fn settle_all(&self) {
        self.settle().await;
        let behind = tokio::task::spawn_blocking(|| {}).await;
        behind.expect("it does nothing");
        self.settle().await;
    }

    /// Waits until every task waits for something that only a step can bring.
    pub async fn settle(&self) {
        self.is_quiet.store(false, Ordering::Relaxed);
        poll_fn(|context| {
            if self.is_quiet.load(Ordering::Relaxed) {
                return Poll::Ready(());
            }
            let waker = context.waker().clone();
            *self.waker.lock().expect("nobody panics here") = Some(waker);
            Poll::Pending
        })
        .await;
    }

    fn parks(&self) {
        let store = self.store.lock().expect("nobody panics here");
        if store.as_ref().is_some_and(|store| !store.is_idle()) {
            return;
        }
        let waker = self.waker.lock().expect("nobody panics here").take();
        if let Some(waker) = waker {
            self.is_quiet.store(true, Ordering::Relaxed);
            waker.wake();
        }
    }
}
