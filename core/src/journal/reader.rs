//! A cursor over the journal: what a session still has to tell its controller.

use std::{collections::VecDeque, ops::Bound, sync::Arc, time::SystemTime};

use aegis_proto::limits::MAX_CHUNK_BYTES;
use bytes::Bytes;

use super::{Shared, State, entry::Entry};
use crate::{
    command::{CommandId, Outcome},
    id_map::IdMap,
    unpoisoned::lock,
};

/// Something to tell the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalUpdate {
    /// The worker has it and will answer for its outcome.
    Accepted {
        /// Which.
        id: CommandId,
    },
    /// Its handler begins.
    Running {
        /// Which.
        id: CommandId,
        /// When.
        started_at: SystemTime,
        /// 1 for the first.
        attempt: u32,
    },
    /// The newest progress; older ones that were not told yet are skipped.
    Progress {
        /// Of which.
        id: CommandId,
        /// 0 to 1000, or 1001 where the handler cannot tell.
        permille: u32,
        /// For a person.
        note: String,
    },
    /// More output.
    Output {
        /// Of which.
        id: CommandId,
        /// Bytes before this chunk.
        offset: u64,
        /// 64 KiB at the most.
        data: Bytes,
    },
    /// The outcome. All of the command's output was told before, unless the
    /// outcome was there before the reader was.
    Finished(Arc<Outcome>),
}

/// A cursor over the journal. It queues nothing: what it has not told stays in
/// the journal alone, and a reader that was dropped costs nothing.
///
/// Commands take turns, one update each, so that the output of one does not
/// hold up the outcome of another. States that were overtaken before they could
/// be told are skipped.
#[derive(Debug)]
pub struct JournalReader {
    shared: Arc<Shared>,
    wanted: fn(CommandId) -> bool,
    /// The newest revision when it was made. Of what was final then only the
    /// outcome is told.
    born: u64,
    /// The newest revision that it has met.
    met: u64,
    /// Commands with more to tell.
    turns: VecDeque<CommandId>,
    /// What was told of commands that are held.
    told: IdMap<Told>,
}

#[derive(Debug, Default)]
struct Told {
    waits_for_turn: bool,
    /// Of which entry under the id, and at which of its deliveries.
    entry: u64,
    deliveries: u32,
    accepted: bool,
    /// Which attempt; 0 for none.
    running: u32,
    progressed: u64,
    /// Bytes of the output of this attempt; 0 where none was told of.
    output: u64,
    output_of: u32,
    finished: bool,
}

impl JournalReader {
    pub(super) fn new(shared: Arc<Shared>, wanted: fn(CommandId) -> bool) -> Self {
        let born = lock(&shared.state).changes.revision;
        Self {
            shared,
            wanted,
            born,
            met: 0,
            turns: VecDeque::new(),
            told: IdMap::default(),
        }
    }

    /// The next update; waits for one. Cancel-safe.
    pub async fn next(&mut self) -> JournalUpdate {
        let shared = Arc::clone(&self.shared);
        loop {
            let changed = shared.changed.notified();
            if let Some(update) = self.ready() {
                return update;
            }
            changed.await;
        }
    }

    /// The next update, if there is one now.
    pub fn ready(&mut self) -> Option<JournalUpdate> {
        let shared = Arc::clone(&self.shared);
        let mut state = lock(&shared.state);
        let written = state.written();
        loop {
            self.meet_next(&mut state);
            let id = self.turns.pop_front()?;
            let told = self.told.entry(id).or_default();
            told.waits_for_turn = false;
            let Some(entry) = state.entries.get_mut(&id) else {
                self.told.remove(&id);
                continue;
            };
            match told.next(id, entry, self.born, written) {
                Some(update @ JournalUpdate::Finished(_)) => return Some(update),
                Some(update) => {
                    told.waits_for_turn = true;
                    self.turns.push_back(id);
                    return Some(update);
                }
                None => {}
            }
        }
    }

    /// Gives the entry with the next change a turn.
    fn meet_next(&mut self, state: &mut State) {
        let (revision, id) = loop {
            let beyond = (Bound::Excluded(self.met), Bound::Unbounded);
            let Some((&revision, &id)) = state.changes.order.range(beyond).next() else {
                return;
            };
            self.met = revision;
            if (self.wanted)(id) {
                break (revision, id);
            }
        };
        state.changes.met = state.changes.met.max(revision);
        if self.told.len() > 2 * state.entries.len() + 64 {
            self.told.retain(|id, _| state.entries.contains_key(id));
        }
        let told = self.told.entry(id).or_default();
        if !told.waits_for_turn {
            told.waits_for_turn = true;
            self.turns.push_back(id);
        }
    }
}

impl Told {
    /// Tells nothing of what is not on disk yet: the writes beyond `written`.
    fn next(
        &mut self,
        id: CommandId,
        entry: &mut Entry,
        born: u64,
        written: u64,
    ) -> Option<JournalUpdate> {
        if entry.accept_write > written {
            return None;
        }
        if (self.entry, self.deliveries) != (entry.accepted, entry.deliveries) {
            // Told anew, but for the output of the same entry: the controller
            // has those bytes.
            let same = self.entry == entry.accepted;
            *self = Self {
                entry: entry.accepted,
                deliveries: entry.deliveries,
                output: if same { self.output } else { 0 },
                output_of: if same { self.output_of } else { 0 },
                ..Self::default()
            };
        }
        if let Some(outcome) = &entry.outcome
            && entry.outcome_write <= written
        {
            if self.finished {
                return None;
            }
            let outcome = Arc::clone(outcome);
            if entry.ended > born {
                // Or its output would be taken for that of the attempt before.
                let last = entry.running.filter(|_| self.output_of > 0);
                if let Some(running) = last.and_then(|last| self.next_attempt(id, last)) {
                    return Some(running);
                }
                if let Some(output) = self.next_output(id, entry) {
                    return Some(output);
                }
            }
            self.finished = true;
            entry.told = true;
            return Some(JournalUpdate::Finished(outcome));
        }
        if !self.accepted {
            self.accepted = true;
            return Some(JournalUpdate::Accepted { id });
        }
        if let Some(running) = entry.running.and_then(|last| self.next_attempt(id, last)) {
            return Some(running);
        }
        if let Some((permille, note)) = entry
            .progress
            .as_ref()
            .filter(|_| self.progressed != entry.progressed)
        {
            self.progressed = entry.progressed;
            return Some(JournalUpdate::Progress {
                id,
                permille: *permille,
                note: note.to_string(),
            });
        }
        self.next_output(id, entry)
    }

    /// Each attempt begins its output anew.
    fn next_attempt(
        &mut self,
        id: CommandId,
        (started_at, attempt): (SystemTime, u32),
    ) -> Option<JournalUpdate> {
        if self.running == attempt {
            return None;
        }
        self.running = attempt;
        if self.output_of != attempt {
            self.output_of = attempt;
            self.output = 0;
        }
        Some(JournalUpdate::Running {
            id,
            started_at,
            attempt,
        })
    }

    fn next_output(&mut self, id: CommandId, entry: &Entry) -> Option<JournalUpdate> {
        let data = entry.output_from(self.output, MAX_CHUNK_BYTES);
        if data.is_empty() {
            return None;
        }
        let offset = self.output;
        self.output += data.len() as u64;
        Some(JournalUpdate::Output { id, offset, data })
    }
}
