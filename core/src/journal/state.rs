//! What the journal knows, and what of it is still to be written.

use std::{
    collections::{BTreeMap, hash_map},
    sync::{Arc, mpsc},
    time::{Duration, Instant, SystemTime},
};

use super::{
    Acceptance, Attempt, Ending, JournalCounters, JournalLimits,
    acknowledged::{Acknowledged, Remembered},
    disk::{Disk, Write},
    entry::Entry,
};
use crate::{
    command::{Command, CommandId, Outcome},
    id_map::IdMap,
    notes::FleetingNotes,
};

/// Called when what it waits for is written.
pub(super) type Then = Box<dyn FnOnce() + Send>;

/// Told when what it waits for is written, and dropped where it is not.
pub(super) type Waiter = mpsc::Sender<()>;

#[derive(Debug)]
pub(super) struct State {
    pub(super) limits: JournalLimits,
    pub(super) entries: IdMap<Entry>,
    pub(super) changes: Changes,
    /// Entries with an outcome.
    pub(super) outbox: usize,
    pub(super) bytes: usize,
    pub(super) acknowledged: Acknowledged,
    pub(super) counters: JournalCounters,
    /// `None` where the journal is kept in memory alone.
    pub(super) staged: Option<Staged>,
    /// Commands that were delivered before this moment to a journal that is
    /// lost may have run.
    pub(super) lost_before: Option<SystemTime>,
    /// Counts the commands that were taken, over all lives of the worker.
    pub(super) accepted: u64,
    /// A command was not taken, and only its delivery on another session brings
    /// it again.
    pub(super) missed: bool,
    /// Those of a journal without a file.
    pub(super) notes: FleetingNotes,
}

/// What is on its way to the disk.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) writes: Vec<Write>,
    pub(super) thens: Vec<Then>,
    /// Those who wait for notes and checkpoints.
    pub(super) waiters: Vec<Waiter>,
    /// Somebody waits for them.
    pub(super) urgent: bool,
    /// When the oldest of them was staged.
    pub(super) since: Option<Instant>,
    /// Writes that were ever staged. A write is named by the count with it.
    pub(super) count: u64,
    /// The last of them that is on disk.
    pub(super) written: u64,
    /// The disk refuses what is staged.
    pub(super) in_trouble: bool,
    /// No more is written after what is staged.
    pub(super) closing: bool,
    /// Acknowledged, and not on disk yet.
    pub(super) acknowledged: IdMap<Remembered>,
}

/// The order in which readers meet the entries.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The entries by the revision of their oldest change that some reader has
    /// not yet met.
    pub(super) order: BTreeMap<u64, CommandId>,
    /// Of the newest change.
    pub(super) revision: u64,
    /// The newest revision that any reader has met. An entry beyond it need not
    /// move when it changes again: every reader is still to come to it.
    pub(super) met: u64,
}

impl State {
    pub(super) fn new(limits: JournalLimits, staged: Option<Staged>) -> Self {
        Self {
            limits,
            entries: IdMap::default(),
            changes: Changes::default(),
            outbox: 0,
            bytes: 0,
            acknowledged: Acknowledged::new(limits.acknowledged),
            counters: JournalCounters::default(),
            staged,
            lost_before: None,
            accepted: 0,
            missed: false,
            notes: FleetingNotes::default(),
        }
    }

    pub(super) fn accept(
        &mut self,
        command: &Arc<Command>,
        reserved: bool,
        disk: Option<&Disk>,
    ) -> Acceptance {
        let id = command.id;
        let remembered = self.recall(id, disk);
        if let Some(entry) = self.entries.get_mut(&id) {
            let known = match &remembered {
                // The entry is the refusal of a reuse; the id belongs to the
                // command that is remembered.
                Ok(Some(first)) if entry.is_refusal => first.content.is(command),
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
        let in_trouble = match remembered {
            Ok(None) => self.staged.as_ref().is_some_and(|staged| staged.in_trouble),
            Ok(Some(first)) => return self.accept_again(command, &first),
            // Whether it ran cannot be known: one that was sent before is left
            // until it can, and not said to be rejected.
            Err(_) if command.delivery > 1 && !reserved => {
                self.counters.dropped += 1;
                self.missed = true;
                return Acceptance::Dropped;
            }
            Err(_) => true,
        };
        let room = if reserved { RESERVED } else { 0 };
        if self.entries.len() >= self.limits.held.saturating_mul(2).saturating_add(room) {
            self.counters.dropped += 1;
            self.missed = true;
            return Acceptance::Dropped;
        }
        let full = !reserved
            && (self.entries.len() >= self.limits.held
                || self.bytes.saturating_add(command.payload.len()) > self.limits.held_bytes);
        let mut entry = Entry::new(self.changes.revision + 1, command, !full);
        self.accepted += 1;
        entry.sequence = self.accepted;
        if full || in_trouble {
            entry.volatile = true;
        } else {
            entry.accept_write = self.stage(Write::Accept {
                sequence: entry.sequence,
                at: entry.accepted_at,
                command: Arc::clone(command),
            });
        }
        let lost = !entry.volatile && self.may_be_lost(command);
        self.insert(id, entry);
        match (full, in_trouble) {
            (true, _) => Acceptance::Full,
            (false, true) if !reserved => Acceptance::Unwritable,
            _ if lost => Acceptance::Lost,
            _ => Acceptance::New,
        }
    }

    /// Takes a command whose outcome was acknowledged before.
    fn accept_again(&mut self, command: &Command, first: &Remembered) -> Acceptance {
        let revision = self.changes.revision + 1;
        let (entry, acceptance) = if first.content.is(command) {
            self.counters.redelivered += 1;
            (Entry::again(revision, command, first), Acceptance::Known)
        } else {
            self.counters.reused_ids += 1;
            let refusal = Entry::refusal(revision, command.id, command.name.clone());
            (refusal, Acceptance::Reused)
        };
        self.outbox += 1;
        self.insert(command.id, entry);
        acceptance
    }

    fn recall(
        &self,
        id: CommandId,
        disk: Option<&Disk>,
    ) -> Result<Option<Remembered>, super::JournalError> {
        let Some((staged, disk)) = self.staged.as_ref().zip(disk) else {
            return Ok(self.acknowledged.recall(id).cloned());
        };
        // An entry that is no refusal answers for itself.
        if self.entries.get(&id).is_some_and(|entry| !entry.is_refusal) {
            return Ok(None);
        }
        if let Some(remembered) = staged.acknowledged.get(&id) {
            return Ok(Some(remembered.clone()));
        }
        Ok(disk
            .acknowledged(id)?
            .map(|record| Remembered::read(id, record)))
    }

    /// Whether it may have been delivered to a journal that is lost.
    fn may_be_lost(&self, command: &Command) -> bool {
        command.delivery > 1
            && self.lost_before.is_some_and(|lost| {
                command
                    .created_at()
                    .is_some_and(|created| created <= lost + CLOCKS_DIFFER)
            })
    }

    pub(super) fn insert(&mut self, id: CommandId, mut entry: Entry) {
        self.bytes += entry.bytes();
        entry.revision = self.changes.append(id);
        self.entries.insert(id, entry);
    }

    /// Stages the attempt. `None`: it need not be written, and `then` is the
    /// caller's again.
    pub(super) fn attempt(&mut self, id: CommandId, attempt: &Attempt, then: Then) -> Option<Then> {
        let written = match self.entries.get(&id) {
            Some(entry) => entry.volatile || entry.outcome.is_some(),
            None => true,
        };
        let Some(staged) = self.staged.as_mut().filter(|_| !written) else {
            return Some(then);
        };
        if staged.closing {
            // It will never be written, and so never begin.
            return None;
        }
        staged.push(Write::Attempt(id, attempt.clone()));
        staged.thens.push(then);
        staged.urgent = true;
        None
    }

    pub(super) fn finish(&mut self, id: CommandId, ending: Ending) -> Option<Arc<Outcome>> {
        let entry = self.entries.get_mut(&id)?;
        let before = entry.bytes();
        // A moment of its own, even where the entry keeps its place: readers
        // tell by it what was final before them.
        let outcome = entry.finish(id, ending, self.changes.revision + 1)?;
        if !entry.volatile
            && let Some(staged) = &mut self.staged
        {
            entry.outcome_write = staged.push(Write::Outcome(Arc::clone(&outcome)));
            staged.urgent = true;
        }
        self.changes.revision += 1;
        self.bytes = self.bytes - before + entry.bytes();
        self.outbox += 1;
        self.changes.touch(id, entry);
        Some(outcome)
    }

    /// Whether a refused reuse of the id takes the place of what is forgotten.
    pub(super) fn acknowledge(&mut self, id: CommandId) -> bool {
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
        self.remember(id, entry);
        let Some(name) = refuse else { return false };
        self.outbox += 1;
        let refusal = Entry::refusal(self.changes.revision + 1, id, name);
        self.insert(id, refusal);
        true
    }

    fn remember(&mut self, id: CommandId, entry: Entry) {
        if entry.is_refusal {
            return;
        }
        let Some(staged) = &mut self.staged else {
            self.acknowledged.remember(id, entry);
            return;
        };
        let Some(remembered) = (!entry.volatile).then(|| Remembered::of(entry)).flatten() else {
            return;
        };
        if let Some(write) = remembered.write() {
            staged.push(write);
            staged.acknowledged.insert(id, remembered);
        }
    }

    /// Of the write; 0 where nothing is written.
    pub(super) fn stage(&mut self, write: Write) -> u64 {
        self.staged.as_mut().map_or(0, |staged| staged.push(write))
    }

    /// The last write that is on disk; everything where nothing is written.
    pub(super) fn written(&self) -> u64 {
        self.staged
            .as_ref()
            .map_or(u64::MAX, |staged| staged.written)
    }

    /// Whether there is room again for what was not taken. Says so once.
    pub(super) fn takes_what_it_missed(&mut self) -> bool {
        let in_trouble = self.staged.as_ref().is_some_and(|staged| staged.in_trouble);
        let takes = self.missed && !in_trouble && self.entries.len() < self.limits.held;
        self.missed &= !takes;
        takes
    }

    /// Writes that are staged and not on their way.
    pub(super) fn waiting_writes(&self) -> usize {
        self.staged.as_ref().map_or(0, |staged| staged.writes.len())
    }

    /// Takes note that a batch, of which the last write is `last`, is on disk.
    pub(super) fn commit(&mut self, batch: &[Write], last: u64) {
        let Some(staged) = &mut self.staged else {
            return;
        };
        staged.written = last;
        staged.in_trouble = false;
        for write in batch {
            match write {
                Write::Accept { command, .. } => self.touch(command.id),
                Write::Outcome(outcome) => self.touch(outcome.id),
                Write::Acknowledge { outcome, .. } => {
                    if let Some(staged) = &mut self.staged {
                        staged.acknowledged.remove(&outcome.id);
                    }
                }
                // Given back from now on: what is not kept never is.
                Write::Checkpoint(id, data) => {
                    let open = |entry: &&mut Entry| entry.outcome.is_none();
                    if let Some(entry) = self.entries.get_mut(id).filter(open) {
                        entry.checkpoint = Some(data.clone());
                    }
                }
                Write::Attempt(..) | Write::Note(..) => {}
            }
        }
    }

    fn touch(&mut self, id: CommandId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            self.changes.touch(id, entry);
        }
    }
}

impl Staged {
    /// Acknowledged, and not on disk yet.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (CommandId, Arc<Outcome>)> {
        self.acknowledged
            .iter()
            .map(|(id, remembered)| (*id, remembered.outcome(*id, "")))
    }

    pub(super) fn push(&mut self, write: Write) -> u64 {
        self.since.get_or_insert_with(Instant::now);
        self.writes.push(write);
        self.count += 1;
        self.count
    }

    /// Stages a note or a checkpoint, which somebody waits for, unless the disk
    /// refuses what is staged: whoever is told that it is not written must not
    /// find it written later.
    pub(super) fn push_awaited(&mut self, write: Write, waiter: Waiter) {
        if self.in_trouble {
            return;
        }
        self.push(write);
        self.waiters.push(waiter);
        self.urgent = true;
    }

    /// Takes note that the disk refuses what is staged.
    pub(super) fn refuse(&mut self) {
        self.in_trouble = true;
        self.writes.retain(|write| !write.is_awaited());
        self.waiters.clear();
    }
}

impl std::fmt::Debug for Staged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staged")
            .field("count", &self.count)
            .field("written", &self.written)
            .field("in_trouble", &self.in_trouble)
            .finish_non_exhaustive()
    }
}

impl Changes {
    /// Makes every reader meet the entry again.
    pub(super) fn touch(&mut self, id: CommandId, entry: &mut Entry) {
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

/// How far the clocks of node and controller may be apart.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5 * 60);
