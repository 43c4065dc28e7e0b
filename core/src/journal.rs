//! The journal: every command that this node answered for and every outcome
//! that the controller has not yet acknowledged.
//!
//! Every state is written here *before* the act that it describes: a command is
//! accepted before the controller hears of it, its attempt is noted before its
//! handler begins, and its outcome is on disk before anyone is told. What the
//! process holds in memory is the whole of it; the file is what the next life
//! of the worker begins with. A journal without a file serves tests, and
//! whoever embeds dispatch alone.
//!
//! Nothing grows without bound. Output is cut at a limit, progress keeps the
//! newest only, readers hold a cursor and no queue, and what was acknowledged
//! is remembered by digest for a bounded number of ids and a bounded time. What
//! is not acknowledged is never dropped: beyond [`JournalLimits::held`] new
//! commands are refused instead.

mod acknowledged;
mod content;
mod crashes;
mod disk;
mod entry;
mod error;
mod list;
mod notes;
mod opening;
mod reader;
mod record;
mod state;
mod writer;

use std::{
    sync::{Arc, Condvar, Mutex},
    time::{Duration, SystemTime},
};

use aegis_plugin_api::Effect;
use aegis_proto::{error_code, limits};
use bytes::Bytes;
use tokio::sync::{Notify, watch};

use self::{disk::Disk, entry::Entry, state::State, writer::Writer};
use crate::{
    command::{Command, CommandId, FinalState, HandlerError, Outcome},
    kill_point::kill_point,
    unpoisoned::lock,
};

pub use error::JournalError;
pub use list::{JournalFilter, JournalLine, LineState, Listing, MAX_LINES, Outbox};
pub use opening::{JournalOptions, Recovered, Recovery};
pub use reader::{JournalReader, JournalUpdate};

/// The journal's file in the state directory.
pub const FILE: &str = "journal.redb";

/// Where the journal stops growing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalLimits {
    /// Bytes of output that are kept of each command.
    pub output: usize,
    /// Commands that are held at once. Beyond it new ones are refused, and
    /// beyond twice as many they are not even answered.
    pub held: usize,
    /// Bytes of payload, output and response that are held at once. Beyond it
    /// new commands are refused.
    pub held_bytes: usize,
    /// Acknowledged ids that are remembered, so that a redelivery is answered;
    /// about 120 bytes of memory each, or on disk up to 1.5 KiB.
    pub acknowledged: usize,
    /// How long they are, on disk.
    pub remembered: Duration,
}

impl Default for JournalLimits {
    fn default() -> Self {
        Self {
            output: limits::DEFAULT_OUTPUT_BYTES,
            held: 10_000,
            held_bytes: 64 * 1024 * 1024,
            acknowledged: 20_000,
            remembered: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// The journal of one worker. Clones share it.
#[derive(Debug, Clone)]
pub struct Journal {
    shared: Arc<Shared>,
    writer: Option<Arc<Writer>>,
}

/// What became of a delivered command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// It is new and now held: it must be given an outcome.
    New,
    /// It was delivered before; readers tell again what is known of it.
    Known,
    /// Its id belongs to another command. The other one goes on undisturbed;
    /// see [`Journal::accept`].
    Reused,
    /// It is new and now held, without its payload, only to be rejected.
    Full,
    /// It is new and cannot be written: to be rejected.
    Unwritable,
    /// It was delivered to a journal that is lost: nobody knows whether it ran.
    Lost,
    /// It was not taken at all, and the controller hears nothing of it. As soon
    /// as there is room again the session is ended, so that the next one brings
    /// it again; see [`JournalCounters::dropped`].
    Dropped,
}

/// How a command ended, without what the journal knows already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// What came of it.
    pub state: FinalState,
    /// The handler's response; empty unless it succeeded.
    pub response: Bytes,
    /// Set unless it succeeded.
    pub error: Option<HandlerError>,
    /// When.
    pub at: SystemTime,
}

/// Things that should not happen and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalCounters {
    /// Acknowledgements of ids that were not held, not final or never sent.
    pub stray_acknowledgements: u64,
    /// Commands delivered again.
    pub redelivered: u64,
    /// Commands under the id of another one.
    pub reused_ids: u64,
    /// Commands that were not taken because the journal was full, or could not
    /// be read.
    pub dropped: u64,
}

/// How full the journal is, and what should not have happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct JournalFigures {
    /// Commands, with an outcome or without.
    pub(crate) held: usize,
    /// Bytes of payload, output and response.
    pub(crate) held_bytes: usize,
    /// Outcomes that have not been acknowledged.
    pub(crate) outbox: usize,
    pub(crate) counters: JournalCounters,
}

/// One beginning of a command's handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// When.
    pub at: SystemTime,
    /// What a crash in the middle of it means.
    pub effect: Effect,
    /// Whose handler.
    pub plugin: Arc<str>,
    /// It runs in a process of its own: a crash of the worker is not its fault.
    pub own_process: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something that a reader may want to tell.
    changed: Notify,
    /// The outbox is empty.
    emptied: Notify,
    disk: Option<Arc<Disk>>,
    /// Something is to be written.
    staged: Condvar,
    trouble: watch::Sender<Option<String>>,
}

impl Journal {
    /// A journal that keeps `output_limit` bytes of each command's output.
    pub fn new(output_limit: usize) -> Self {
        Self::with_limits(JournalLimits {
            output: output_limit,
            ..JournalLimits::default()
        })
    }

    /// A journal within these limits, in memory alone.
    pub fn with_limits(limits: JournalLimits) -> Self {
        Self {
            shared: Arc::new(Shared::new(State::new(limits, None), None)),
            writer: None,
        }
    }

    /// Takes a command into the journal.
    ///
    /// A redelivered id is answered from what is known of it, whether its
    /// outcome was acknowledged or not. An id that comes back with another
    /// content is never run and never touches the command that had it first:
    /// once that one's outcome is acknowledged, an outcome of its own follows
    /// under the same id, rejected as `id-reused`. So both deliveries are
    /// answered, one after the other, and no acknowledgement of one can be
    /// taken for that of the other.
    ///
    /// `reserved` commands find room where others don't. The command need not
    /// be written at once: see [`commit_soon`](Self::commit_soon).
    pub fn accept(&self, command: &Arc<Command>, reserved: bool) -> Acceptance {
        let shared = &self.shared;
        let (acceptance, written_first) = {
            let mut state = lock(&shared.state);
            let acceptance = state.accept(command, reserved, shared.disk.as_deref());
            let entry = state.entries.get(&command.id);
            (
                acceptance,
                entry.is_some_and(|it| it.accept_write > state.written()),
            )
        };
        // Readers tell nothing of it before it is written, and are woken then.
        if !written_first {
            shared.changed.notify_waiters();
        }
        kill_point!("command.staged");
        acceptance
    }

    /// Has written what was accepted, now that nothing is to come with it.
    pub fn commit_soon(&self) {
        if self.writer.is_none() {
            return;
        }
        if let Some(staged) = &mut lock(&self.shared.state).staged
            && !staged.writes.is_empty()
        {
            staged.urgent = true;
        }
        self.shared.staged.notify_all();
    }

    /// Notes that the handler is about to begin. True: it may, at once.
    /// Otherwise `then` is called as soon as the note is on disk, from a thread
    /// that must not be held up.
    #[must_use]
    pub fn attempt(
        &self,
        id: CommandId,
        attempt: &Attempt,
        then: impl FnOnce() + Send + 'static,
    ) -> bool {
        if self.writer.is_none() {
            return true;
        }
        let at_once = lock(&self.shared.state)
            .attempt(id, attempt, Box::new(then))
            .is_some();
        if !at_once {
            kill_point!("attempt.staged");
            self.shared.staged.notify_all();
        }
        at_once
    }

    /// Tells that the handler begins. What an earlier attempt told is forgotten.
    pub fn running(&self, id: CommandId, started_at: SystemTime, attempt: u32) {
        self.change(id, |entry, _| entry.begin(started_at, attempt));
    }

    /// Keeps the newest progress.
    pub fn progress(&self, id: CommandId, permille: u32, note: &str) {
        self.change(id, |entry, _| entry.set_progress(permille, note));
    }

    /// Appends output up to the limit; the rest is counted.
    pub fn output(&self, id: CommandId, data: &[u8]) {
        self.change(id, |entry, limits| entry.append(data, limits.output));
    }

    /// Writes the outcome. A command that has one already, or is not held,
    /// stays as it is, and the answer is `None`.
    pub fn finish(&self, id: CommandId, ending: Ending) -> Option<Arc<Outcome>> {
        let (outcome, written_first) = {
            let mut state = lock(&self.shared.state);
            let outcome = state.finish(id, ending)?;
            let entry = state.entries.get(&id);
            (
                outcome,
                entry.is_some_and(|it| it.outcome_write > state.written()),
            )
        };
        kill_point!("outcome.staged");
        if written_first {
            self.shared.staged.notify_all();
        } else {
            self.shared.changed.notify_waiters();
        }
        Some(outcome)
    }

    /// Why nothing can be written now, if so.
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.shared.trouble.subscribe()
    }

    /// Writes everything that is staged and that this life of the worker ended
    /// as it was told to, and closes the file: nothing is written any more.
    /// Blocks.
    ///
    /// # Errors
    ///
    /// It cannot be written now, or was closed before.
    pub fn close(&self) -> Result<(), JournalError> {
        let written = self.set_note(crashes::LIFE, None);
        if let Some(writer) = &self.writer {
            writer.end();
        }
        written
    }

    /// A cursor from the beginning: it tells of everything that is held.
    pub fn reader(&self) -> JournalReader {
        self.reader_of(|_| true)
    }

    /// The same, of the commands whose ids are `wanted`; the others are left to
    /// other readers.
    pub fn reader_of(&self, wanted: fn(CommandId) -> bool) -> JournalReader {
        JournalReader::new(Arc::clone(&self.shared), wanted)
    }

    /// What has not been acknowledged, running or final, oldest first.
    pub fn held(&self) -> Vec<CommandId> {
        let state = lock(&self.shared.state);
        let mut held: Vec<_> = state
            .entries
            .iter()
            .map(|(id, entry)| (entry.accepted, *id))
            .collect();
        held.sort_unstable();
        held.into_iter().map(|(_, id)| id).collect()
    }

    /// Outcomes that have not been acknowledged.
    pub fn outbox_len(&self) -> usize {
        lock(&self.shared.state).outbox
    }

    /// Forgets the outcomes of these, but for their ids. Ids that are not held,
    /// not final or were never told by a reader are ignored and counted.
    pub fn acknowledge(&self, ids: &[CommandId]) {
        let (tells, emptied, wakes) = {
            let mut state = lock(&self.shared.state);
            let mut refusal_follows = false;
            let waiting = state.waiting_writes();
            for id in ids {
                refusal_follows |= state.acknowledge(*id);
            }
            // The writer sleeps until the first is late, or they are many.
            let wakes = waiting == 0 || state.waiting_writes() >= writer::LAZY_WRITES;
            (refusal_follows || state.missed, state.outbox == 0, wakes)
        };
        kill_point!("acknowledgement.staged");
        if wakes {
            self.shared.staged.notify_all();
        }
        if tells {
            self.shared.changed.notify_waiters();
        }
        if emptied {
            self.shared.emptied.notify_waiters();
        }
    }

    /// Waits until a command was not taken and could be taken now: the
    /// controller must be made to send it again.
    pub(crate) async fn missed(&self) {
        loop {
            let changed = self.shared.changed.notified();
            if lock(&self.shared.state).takes_what_it_missed() {
                return;
            }
            changed.await;
        }
    }

    /// Waits until no outcome waits to be acknowledged.
    pub async fn outbox_empty(&self) {
        loop {
            let emptied = self.shared.emptied.notified();
            if self.outbox_len() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// What should not have happened.
    pub fn counters(&self) -> JournalCounters {
        lock(&self.shared.state).counters
    }

    /// How full it is.
    pub(crate) fn figures(&self) -> JournalFigures {
        let state = lock(&self.shared.state);
        JournalFigures {
            held: state.entries.len(),
            held_bytes: state.bytes,
            outbox: state.outbox,
            counters: state.counters,
        }
    }

    /// Changes an entry that has no outcome yet.
    fn change(&self, id: CommandId, change: impl FnOnce(&mut Entry, &JournalLimits)) {
        {
            let mut state = lock(&self.shared.state);
            let state = &mut *state;
            let Some(entry) = state.entries.get_mut(&id) else {
                return;
            };
            if entry.outcome.is_some() {
                return;
            }
            let before = entry.bytes();
            change(entry, &state.limits);
            state.bytes = state.bytes - before + entry.bytes();
            state.changes.touch(id, entry);
        }
        self.shared.changed.notify_waiters();
    }
}

impl Shared {
    fn new(state: State, disk: Option<Arc<Disk>>) -> Self {
        Self {
            state: Mutex::new(state),
            changed: Notify::new(),
            emptied: Notify::new(),
            disk,
            staged: Condvar::new(),
            trouble: watch::Sender::new(None),
        }
    }
}

fn id_reused() -> HandlerError {
    HandlerError::new(
        error_code::ID_REUSED,
        "another command came under this id before, and this one was not run",
    )
    .help("submit it again under an id of its own")
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod durable_tests;
