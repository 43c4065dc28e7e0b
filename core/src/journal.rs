//! The journal: every command that this node answered for and every outcome
//! that the controller has not yet acknowledged.
//!
//! Every state is written here *before* the act that it describes: a command is
//! accepted before dispatch looks at it, it is running before its handler is
//! called, and its outcome is here before anyone hears of it. The whole is kept
//! in memory; nothing outside this module knows that.
//!
//! Nothing grows without bound. Output is cut at a limit, progress keeps the
//! newest only, readers hold a cursor and no queue, and what was acknowledged
//! is remembered by digest for a bounded number of ids. What is not
//! acknowledged is never dropped: beyond [`JournalLimits::held`] new commands
//! are refused instead.

mod acknowledged;
mod content;
mod entry;
mod list;
mod reader;

use std::{
    collections::{BTreeMap, hash_map},
    sync::{Arc, Mutex},
    time::SystemTime,
};

use aegis_proto::{error_code, limits};
use bytes::Bytes;
use tokio::sync::Notify;

use self::{acknowledged::Acknowledged, entry::Entry};
use crate::{
    command::{Command, CommandId, FinalState, HandlerError, Outcome},
    id_map::IdMap,
    unpoisoned::lock,
};

pub use list::{JournalFilter, JournalLine, LineState, Listing, MAX_LINES, Outbox};
pub use reader::{JournalReader, JournalUpdate};

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
    /// about 120 bytes each.
    pub acknowledged: usize,
}

impl Default for JournalLimits {
    fn default() -> Self {
        Self {
            output: limits::DEFAULT_OUTPUT_BYTES,
            held: 10_000,
            held_bytes: 64 * 1024 * 1024,
            acknowledged: 20_000,
        }
    }
}

/// The journal of one worker. Clones share it.
#[derive(Debug, Clone)]
pub struct Journal {
    shared: Arc<Shared>,
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
    /// It was not taken at all. The controller never hears that it was
    /// accepted, and so delivers it again.
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
    /// Commands that were not taken because the journal was full.
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

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something that a reader may want to tell.
    changed: Notify,
    /// The outbox is empty.
    emptied: Notify,
}

/// The order in which readers meet the entries.
#[derive(Debug, Default)]
struct Changes {
    /// The entries by the revision of their oldest change that some reader has
    /// not yet met.
    order: BTreeMap<u64, CommandId>,
    /// Of the newest change.
    revision: u64,
    /// The newest revision that any reader has met. An entry beyond it need not
    /// move when it changes again: every reader is still to come to it.
    met: u64,
}

#[derive(Debug)]
struct State {
    limits: JournalLimits,
    entries: IdMap<Entry>,
    changes: Changes,
    /// Entries with an outcome.
    outbox: usize,
    bytes: usize,
    acknowledged: Acknowledged,
    counters: JournalCounters,
}

impl Journal {
    /// A journal that keeps `output_limit` bytes of each command's output.
    pub fn new(output_limit: usize) -> Self {
        Self::with_limits(JournalLimits {
            output: output_limit,
            ..JournalLimits::default()
        })
    }

    /// A journal within these limits.
    pub fn with_limits(limits: JournalLimits) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    limits,
                    entries: IdMap::default(),
                    changes: Changes::default(),
                    outbox: 0,
                    bytes: 0,
                    acknowledged: Acknowledged::new(limits.acknowledged),
                    counters: JournalCounters::default(),
                }),
                changed: Notify::new(),
                emptied: Notify::new(),
            }),
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
    /// `reserved` commands find room where others don't.
    pub fn accept(&self, command: &Arc<Command>, reserved: bool) -> Acceptance {
        let acceptance = lock(&self.shared.state).accept(command, reserved);
        if acceptance != Acceptance::Dropped {
            self.shared.changed.notify_waiters();
        }
        acceptance
    }

    /// Writes that the handler is about to begin.
    pub fn running(&self, id: CommandId, started_at: SystemTime, attempt: u32) {
        self.change(id, |entry, _| entry.running = Some((started_at, attempt)));
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
        let outcome = lock(&self.shared.state).finish(id, ending);
        if outcome.is_some() {
            self.shared.changed.notify_waiters();
        }
        outcome
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
        let (refused, emptied) = {
            let mut state = lock(&self.shared.state);
            let mut refused = false;
            for id in ids {
                refused |= state.acknowledge(*id);
            }
            (refused, state.outbox == 0)
        };
        if refused {
            self.shared.changed.notify_waiters();
        }
        if emptied {
            self.shared.emptied.notify_waiters();
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

impl State {
    fn accept(&mut self, command: &Arc<Command>, reserved: bool) -> Acceptance {
        let id = command.id;
        if let Some(entry) = self.entries.get_mut(&id) {
            let known = match self.acknowledged.recall(id) {
                // The entry is the refusal of a reuse; the id belongs to the
                // command that is remembered.
                Some(first) if entry.is_refusal => first.content.is(command),
                _ => entry.content.is(command),
            };
            entry.deliveries += 1;
            if !known {
                self.counters.reused_ids += 1;
                entry.refuse_next = Some(command.name.clone());
                return Acceptance::Reused;
            }
            self.counters.redelivered += 1;
            if entry.outcome.is_some() {
                entry.ended = 0;
            }
            self.changes.touch(id, entry);
            return Acceptance::Known;
        }
        if let Some(first) = self.acknowledged.recall(id) {
            let entry = if first.content.is(command) {
                self.counters.redelivered += 1;
                Entry::again(self.changes.revision + 1, command, first)
            } else {
                self.counters.reused_ids += 1;
                Entry::refusal(self.changes.revision + 1, id, command.name.clone())
            };
            let acceptance = if entry.is_refusal {
                Acceptance::Reused
            } else {
                Acceptance::Known
            };
            self.outbox += 1;
            self.insert(id, entry);
            return acceptance;
        }
        let room = if reserved { RESERVED } else { 0 };
        if self.entries.len() >= self.limits.held.saturating_mul(2).saturating_add(room) {
            self.counters.dropped += 1;
            return Acceptance::Dropped;
        }
        let full = !reserved
            && (self.entries.len() >= self.limits.held
                || self.bytes.saturating_add(command.payload.len()) > self.limits.held_bytes);
        self.insert(id, Entry::new(self.changes.revision + 1, command, !full));
        if full {
            Acceptance::Full
        } else {
            Acceptance::New
        }
    }

    fn insert(&mut self, id: CommandId, mut entry: Entry) {
        self.bytes += entry.bytes();
        entry.revision = self.changes.append(id);
        self.entries.insert(id, entry);
    }

    fn finish(&mut self, id: CommandId, ending: Ending) -> Option<Arc<Outcome>> {
        let entry = self.entries.get_mut(&id)?;
        let before = entry.bytes();
        // A moment of its own, even where the entry keeps its place: readers
        // tell by it what was final before them.
        let outcome = entry.finish(id, ending, self.changes.revision + 1)?;
        self.changes.revision += 1;
        self.bytes = self.bytes - before + entry.bytes();
        self.outbox += 1;
        self.changes.touch(id, entry);
        Some(outcome)
    }

    /// Whether a refused reuse of the id takes the place of what is forgotten.
    fn acknowledge(&mut self, id: CommandId) -> bool {
        let mut entry = match self.entries.entry(id) {
            hash_map::Entry::Occupied(held) if held.get().outcome.is_some() && held.get().told => {
                held.remove()
            }
            _ => {
                self.counters.stray_acknowledgements += 1;
                return false;
            }
        };
        self.changes.order.remove(&entry.revision);
        self.bytes -= entry.bytes();
        self.outbox -= 1;
        let refuse = entry.refuse_next.take();
        if !entry.is_refusal {
            self.acknowledged.remember(id, entry);
        }
        let Some(name) = refuse else { return false };
        self.outbox += 1;
        let refusal = Entry::refusal(self.changes.revision + 1, id, name);
        self.insert(id, refusal);
        true
    }
}

impl Changes {
    /// Makes every reader meet the entry again.
    fn touch(&mut self, id: CommandId, entry: &mut Entry) {
        if entry.revision > self.met {
            return;
        }
        self.order.remove(&entry.revision);
        entry.revision = self.append(id);
    }

    fn append(&mut self, id: CommandId) -> u64 {
        self.revision += 1;
        self.order.insert(self.revision, id);
        self.revision
    }
}

/// Room that is kept for reserved commands beyond the last limit.
const RESERVED: usize = 256;

fn id_reused() -> HandlerError {
    HandlerError::new(
        error_code::ID_REUSED,
        "another command came under this id before, and this one was not run",
    )
    .help("submit it again under an id of its own")
}

#[cfg(test)]
mod tests;
