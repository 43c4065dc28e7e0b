//! The thread that writes what is staged.
//!
//! While one batch is on its way to the disk the next one gathers: so the cost
//! of a commit is shared by all that come at the same time.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle, ThreadId},
    time::{Duration, Instant},
};

use super::{
    Shared,
    disk::{Disk, Write},
    state::{Staged, State, Then, Waiter},
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
    by: By,
}

#[derive(Debug)]
enum By {
    Thread(Mutex<Option<JoinHandle<()>>>, ThreadId),
    /// A simulation, and what its disk refused.
    Steps(Arc<Disk>, Mutex<Option<Batch>>),
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
        let id = thread.thread().id();
        Ok(Self {
            shared,
            by: By::Thread(Mutex::new(Some(thread)), id),
        })
    }

    /// Writes nothing by itself.
    pub(super) fn stepped(shared: Arc<Shared>, disk: Arc<Disk>) -> Self {
        Self {
            shared,
            by: By::Steps(disk, Mutex::default()),
        }
    }

    /// Tries to write what is staged. False: there is nothing, or it is the
    /// thread's.
    pub(super) fn step(&self) -> bool {
        let By::Steps(disk, refused) = &self.by else {
            return false;
        };
        let staged = || Batch::of(lock(&self.shared.state).staged.as_mut()?);
        let mut refused = lock(refused);
        let mut tried = false;
        while let Some(mut batch) = refused.take().or_else(staged) {
            tried = true;
            if !self.shared.write(disk, &mut batch) {
                *refused = Some(batch);
                break;
            }
        }
        tried
    }

    /// Writes what is staged and closes the file. Blocks.
    pub(super) fn end(&self) {
        if let Some(staged) = &mut lock(&self.shared.state).staged {
            staged.closing = true;
        }
        self.shared.staged.notify_all();
        // What the thread itself calls may hold the last handle.
        if let By::Thread(handle, id) = &self.by
            && thread::current().id() != *id
            && let Some(thread) = lock(handle).take()
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
        while !self.write(disk, &mut batch) {
            if self.is_closing_after(RETRY) {
                tracing::error!(
                    writes = batch.writes.len(),
                    "the worker ends and the journal cannot be written: commands of now may be \
                     run again or end as unknown after the next start"
                );
                return false;
            }
        }
        true
    }

    /// Whether the disk takes the batch now.
    fn write(&self, disk: &Disk, batch: &mut Batch) -> bool {
        let ready = if disk.is_open() {
            Ok(())
        } else {
            disk.reopen()
        };
        if let Err(error) = ready.and_then(|()| disk.commit(&batch.writes)) {
            // It is of no use after an error.
            disk.close();
            if self.trouble.borrow().is_none() {
                let trouble = format!("the journal cannot be written: {}", chain(&error));
                tracing::error!("{trouble}; new commands are refused until it can");
                self.trouble.send_replace(Some(trouble));
                if let Some(staged) = &mut lock(&self.state).staged {
                    staged.refuse();
                }
            }
            batch.writes.retain(|write| !write.is_awaited());
            batch.waiters.clear();
            return false;
        }
        kill_point!("journal.committed");
        lock(&self.state).commit(&batch.writes, batch.last);
        if self.trouble.borrow().is_some() {
            tracing::info!("the journal can be written again");
            self.trouble.send_replace(None);
        }
        // Handlers first: that one was accepted and that it begins is then mostly
        // told together, and costs the controller one transaction.
        for then in batch.thens.drain(..) {
            then();
        }
        self.changed.notify_waiters();
        for waiter in batch.waiters.drain(..) {
            // Whoever waits may have given up.
            let _ = waiter.send(());
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
                _ => return Batch::of(staged),
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

impl Batch {
    /// Takes what is staged, if anything is.
    fn of(staged: &mut Staged) -> Option<Self> {
        staged.since.take()?;
        staged.urgent = false;
        Some(Self {
            writes: std::mem::take(&mut staged.writes),
            thens: std::mem::take(&mut staged.thens),
            waiters: std::mem::take(&mut staged.waiters),
            last: staged.count,
        })
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} writes", self.writes.len())
    }
}
