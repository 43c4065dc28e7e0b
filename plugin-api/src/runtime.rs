//! The plugin's own tokio, made when it is first needed.

use std::{
    io, mem,
    sync::{Mutex, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use tokio::runtime::{Builder, Handle, Runtime};

/// One worker thread serves all that awaits: handlers must not block it.
const WORKER_THREADS: usize = 1;

#[derive(Debug)]
pub(crate) struct LazyRuntime {
    name: &'static str,
    blocking_threads: usize,
    handle: OnceLock<Handle>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Unmade,
    Made(Runtime),
    ShutDown,
}

impl LazyRuntime {
    /// `blocking_threads` bounds what blocks at once.
    pub(crate) fn new(name: &'static str, blocking_threads: usize) -> Self {
        Self {
            name,
            blocking_threads: blocking_threads.max(1),
            handle: OnceLock::new(),
            state: Mutex::new(State::Unmade),
        }
    }

    /// The runtime, made if it is not yet there. After
    /// [`shut_down`](Self::shut_down) none is made any more, and one that was
    /// made cancels what it is given.
    pub(crate) fn handle(&self) -> io::Result<&Handle> {
        if let Some(handle) = self.handle.get() {
            return Ok(handle);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = self.handle.get() {
            return Ok(handle);
        }
        if matches!(*state, State::ShutDown) {
            return Err(io::Error::other("the plugin has already been stopped"));
        }
        let made = Builder::new_multi_thread()
            .worker_threads(WORKER_THREADS)
            .max_blocking_threads(self.blocking_threads)
            .thread_name(self.name)
            .enable_all()
            .build()?;
        let handle = self.handle.get_or_init(|| made.handle().clone());
        *state = State::Made(made);
        Ok(handle)
    }

    /// Ends its threads; gives up waiting for those that block after `timeout`.
    pub(crate) fn shut_down(&self, timeout: Duration) {
        let state = mem::replace(
            &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner),
            State::ShutDown,
        );
        let State::Made(runtime) = state else { return };
        // Linked into a worker, this may be called where that worker's tokio
        // forbids blocking; a thread of its own is allowed to.
        let name = "plugin-stop".to_owned();
        let mut left = Some(runtime);
        let ending = thread::scope(|scope| {
            let slot = &mut left;
            thread::Builder::new()
                .name(name)
                .spawn_scoped(scope, move || {
                    if let Some(runtime) = slot.take() {
                        runtime.shutdown_timeout(timeout);
                    }
                })
                .map(|thread| thread.join().is_ok())
        });
        if let (Err(_), Some(runtime)) = (ending, left) {
            runtime.shutdown_background();
        }
    }
}
