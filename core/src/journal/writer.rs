//! The thread that writes what is staged.
//!
//! While one batch is on its way to the disk the next one gathers: so the cost
//! of a commit is shared by all that come at the same time.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle, ThreadId},
    time::{Duration, Instant},
};

use super::{
    Shared,
    disk::{Disk, Write},
    state::{State, Then, Waiter},
};
use crate::{kill_point::kill_point, lifecycle::chain, unpoisoned::lock};

/// How long a write may wait for others where nobody waits for it.
const LAZY: Duration = Duration::from_secs(1);

/// So many writes that nobody waits for are written at once.
pub(super) const LAZY_WRITES: usize = 512;

/// Between two attempts to write to a disk that refuses.
const RETRY: Duration = Duration::from_secs(1);

/// Owns the thread: dropping it [ends](Writer::end) it.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    id: ThreadId,
}

struct Batch {
    writes: Vec<Write>,
    thens: Vec<Then>,
    waiters: Vec<Waiter>,
    last: u64,
}

impl Writer {
    pub(super) fn start(shared: Arc<Shared>, disk: Arc<Disk>) -> io::Result<Self> {
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("aegis-journal".into())
            .spawn(move || {
                let own = Ended(own);
                while own.0.write_next(&disk) {}
            })?;
        Ok(Self {
            shared,
            id: thread.thread().id(),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Writes what is staged and closes the file. Blocks.
    pub(super) fn end(&self) {
        if let Some(staged) = &mut lock(&self.shared.state).staged {
            staged.closing = true;
        }
        self.shared.staged.notify_all();
        // What the thread itself calls may hold the last handle.
        if thread::current().id() != self.id
            && let Some(thread) = lock(&self.thread).take()
        {
            // A panic of the thread was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whatever ended the thread: nothing is written after it, and nobody waits for
/// it in vain.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(staged) = &mut lock(&self.0.state).staged {
            staged.refuse();
        }
        // Handles of it may be held for as long as some handler runs.
        if let Some(disk) = &self.0.disk {
            disk.close();
        }
        if thread::panicking() {
            let trouble = "the journal's thread panicked: restart the worker";
            self.0.trouble.send_replace(Some(trouble.to_owned()));
        }
    }
}

impl Shared {
    /// Waits for a batch and writes it. False once there will be no more.
    fn write_next(&self, disk: &Disk) -> bool {
        let Some(mut batch) = self.gather() else {
            return false;
        };
        kill_point!("journal.committing");
        let mut failed = false;
        while let Err(error) = disk.commit(&batch.writes) {
            if !failed {
                failed = true;
                let trouble = format!("the journal cannot be written: {}", chain(&error));
                tracing::error!("{trouble}; new commands are refused until it can");
                self.trouble.send_replace(Some(trouble));
                if let Some(staged) = &mut lock(&self.state).staged {
                    staged.refuse();
                }
                batch.writes.retain(|write| !write.is_awaited());
                batch.waiters.clear();
            }
            if self.is_closing_after(RETRY) {
                tracing::error!(
                    writes = batch.writes.len(),
                    "the worker ends and the journal cannot be written: commands of now may be \
                     run again or end as unknown after the next start"
                );
                return false;
            }
            // It closes itself after an error.
            if let Err(error) = disk.reopen() {
                tracing::debug!(error = chain(&error), "the journal cannot be opened");
            }
        }
        kill_point!("journal.committed");
        lock(&self.state).commit(&batch.writes, batch.last);
        if failed {
            tracing::info!("the journal can be written again");
            self.trouble.send_replace(None);
        }
        self.changed.notify_waiters();
        for waiter in batch.waiters {
            // Whoever waits may have given up.
            let _ = waiter.send(());
        }
        for then in batch.thens {
            then();
        }
        true
    }

    fn gather(&self) -> Option<Batch> {
        let mut state = lock(&self.state);
        loop {
            let staged = state.staged.as_mut()?;
            let waits = match staged.since {
                Some(since) if !staged.urgent && staged.writes.len() < LAZY_WRITES => {
                    LAZY.checked_sub(since.elapsed())
                }
                Some(_) => None,
                None => Some(Duration::MAX),
            };
            match waits {
                Some(_) if staged.closing && staged.writes.is_empty() => return None,
                Some(wait) if !staged.closing => {
                    state = self.wait(state, wait);
                }
                _ => {
                    staged.urgent = false;
                    staged.since = None;
                    return Some(Batch {
                        writes: std::mem::take(&mut staged.writes),
                        thens: std::mem::take(&mut staged.thens),
                        waiters: std::mem::take(&mut staged.waiters),
                        last: staged.count,
                    });
                }
            }
        }
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>, most: Duration) -> MutexGuard<'s, State> {
        if most == Duration::MAX {
            return self
                .staged
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.staged
            .wait_timeout(state, most)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    fn is_closing_after(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        let mut state = lock(&self.state);
        loop {
            if state.staged.as_ref().is_none_or(|staged| staged.closing) {
                return true;
            }
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                return false;
            };
            state = self.wait(state, left);
        }
    }
}
