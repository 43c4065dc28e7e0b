//! The journal's file: one redb database, one writer.
//!
//! A batch of writes is one transaction and one `fsync`. What a crash leaves is
//! the state after some batch, never between two.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use bytes::Bytes;
use prost::Message;
use redb::{
    Builder, Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend,
    TableDefinition,
};
use uuid::Uuid;

use super::{
    Attempt, JournalLimits,
    error::JournalError,
    record::{
        AcceptedRecord, AcknowledgedRecord, AttemptRecord, CrashesRecord, OutcomeRecord, seconds,
    },
};
use crate::{
    clock,
    command::{Command, CommandId, Outcome},
    database,
    unpoisoned::lock,
};

type Id = [u8; 16];

/// `AcceptedRecord` by command id, until the outcome is acknowledged.
const ACCEPTED: TableDefinition<'_, Id, &[u8]> = TableDefinition::new("accepted");
/// `AttemptRecord` by command id, until the outcome is acknowledged.
const ATTEMPTS: TableDefinition<'_, Id, &[u8]> = TableDefinition::new("attempts");
/// What a handler wrote of its own progress, until there is an outcome.
const CHECKPOINTS: TableDefinition<'_, Id, &[u8]> = TableDefinition::new("checkpoints");
/// `OutcomeRecord` by command id, until it is acknowledged.
const OUTCOMES: TableDefinition<'_, Id, &[u8]> = TableDefinition::new("outcomes");
/// `AcknowledgedRecord` by command id.
const ACKNOWLEDGED: TableDefinition<'_, Id, &[u8]> = TableDefinition::new("acknowledged");
/// The ids of those, oldest first.
const PLACES: TableDefinition<'_, u64, Id> = TableDefinition::new("acknowledged_places");
/// Small records of the node, by name.
const NOTES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("notes");

/// Pages that are kept in memory. What is read again is little.
const CACHE_BYTES: usize = 1024 * 1024;

/// Outcomes are remembered whole up to this weight.
const REMEMBERED_BYTES: usize = 1024;

/// One thing to write.
pub(super) enum Write {
    Accept {
        sequence: u64,
        at: SystemTime,
        command: Arc<Command>,
    },
    Attempt(CommandId, Attempt),
    Checkpoint(CommandId, Bytes),
    Outcome(Arc<Outcome>),
    /// Forgets all of the above but for what a redelivery is answered with.
    Acknowledge {
        content: [u8; 16],
        outcome: Arc<Outcome>,
    },
    /// Sets or removes a note.
    Note(String, Option<Vec<u8>>),
}

impl Write {
    /// Whether it is written at once or not at all; see
    /// [`Staged::push_awaited`](super::state::Staged::push_awaited).
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self, Self::Checkpoint(..) | Self::Note(..))
    }
}

/// A command that was not acknowledged when the journal was opened.
pub(super) struct Stored {
    pub(super) sequence: u64,
    pub(super) accepted_at: SystemTime,
    pub(super) command: Arc<Command>,
    pub(super) attempt: Option<Attempt>,
    /// Of the worker, in which that attempt was made.
    pub(super) life: u64,
    pub(super) checkpoint: Option<Bytes>,
    pub(super) outcome: Option<Arc<Outcome>>,
}

/// The file. Closed while it is in trouble.
#[derive(Debug)]
pub(super) struct Disk {
    medium: Medium,
    limits: JournalLimits,
    database: Mutex<Option<Arc<Database>>>,
    /// Which life of the worker writes it; see [`CrashesRecord`].
    life: AtomicU64,
    /// It is as a full disk is.
    #[cfg(test)]
    pub(super) refuses: std::sync::atomic::AtomicBool,
}

/// Where the bytes are.
enum Medium {
    File(PathBuf),
    /// A simulation's.
    Other(Box<Opening>),
}

type Opening = dyn Fn(&mut Builder) -> Result<Database, JournalError> + Send + Sync;

impl Disk {
    /// Opens the file, or makes it.
    pub(super) fn open(path: &Path, limits: JournalLimits) -> Result<Self, JournalError> {
        Self::open_medium(Medium::File(path.to_owned()), limits)
    }

    /// The same of something else than a file.
    pub(super) fn open_on<B: StorageBackend + Clone>(
        backend: B,
        limits: JournalLimits,
    ) -> Result<Self, JournalError> {
        let open = move |builder: &mut Builder| Ok(builder.create_with_backend(backend.clone())?);
        Self::open_medium(Medium::Other(Box::new(open)), limits)
    }

    fn open_medium(medium: Medium, limits: JournalLimits) -> Result<Self, JournalError> {
        let disk = Self {
            medium,
            limits,
            database: Mutex::default(),
            life: AtomicU64::new(0),
            #[cfg(test)]
            refuses: false.into(),
        };
        disk.reopen()?;
        Ok(disk)
    }

    /// From now on attempts are written as those of this life of the worker.
    pub(super) fn set_life(&self, life: u64) {
        self.life.store(life, Ordering::Relaxed);
    }

    /// Everything that was not acknowledged, in the order in which it was taken.
    pub(super) fn stored(&self) -> Result<Vec<Stored>, JournalError> {
        guarded(|| {
            let database = self.database()?;
            let read = database.begin_read()?;
            let accepted = read.open_table(ACCEPTED)?;
            let attempts = read.open_table(ATTEMPTS)?;
            let checkpoints = read.open_table(CHECKPOINTS)?;
            let outcomes = read.open_table(OUTCOMES)?;
            let mut stored = Vec::new();
            for row in accepted.iter()? {
                let (key, value) = row?;
                let key = key.value();
                let id = id(key);
                let record = AcceptedRecord::decode(value.value())?;
                let attempt = match attempts.get(key)? {
                    Some(value) => Some(AttemptRecord::decode(value.value())?),
                    None => None,
                };
                let outcome = match outcomes.get(key)? {
                    Some(value) => Some(OutcomeRecord::decode(value.value())?.outcome(id)),
                    None => None,
                };
                let checkpoint = checkpoints.get(key)?;
                stored.push(Stored {
                    sequence: record.sequence,
                    accepted_at: record.accepted_at(),
                    command: Arc::new(record.command(id)),
                    life: attempt.as_ref().map_or(0, |attempt| attempt.life),
                    attempt: attempt.map(Attempt::from),
                    checkpoint: checkpoint.map(|value| Bytes::copy_from_slice(value.value())),
                    outcome,
                });
            }
            stored.sort_unstable_by_key(|stored| stored.sequence);
            Ok(stored)
        })
    }

    /// What is remembered of a command that was acknowledged.
    pub(super) fn acknowledged(
        &self,
        id: CommandId,
    ) -> Result<Option<AcknowledgedRecord>, JournalError> {
        guarded(|| {
            let read = self.database()?.begin_read()?;
            let value = read.open_table(ACKNOWLEDGED)?.get(key(id))?;
            Ok(match value {
                Some(value) => Some(AcknowledgedRecord::decode(value.value())?),
                None => None,
            })
        })
    }

    /// Every command that was acknowledged and is remembered, oldest first.
    pub(super) fn all_acknowledged(
        &self,
    ) -> Result<Vec<(CommandId, AcknowledgedRecord)>, JournalError> {
        guarded(|| {
            let read = self.database()?.begin_read()?;
            let acknowledged = read.open_table(ACKNOWLEDGED)?;
            let mut all = Vec::new();
            for row in read.open_table(PLACES)?.iter()? {
                let (_, key) = row?;
                if let Some(value) = acknowledged.get(key.value())? {
                    let record = AcknowledgedRecord::decode(value.value())?;
                    all.push((id(key.value()), record));
                }
            }
            Ok(all)
        })
    }

    pub(super) fn note(&self, name: &str) -> Result<Option<Vec<u8>>, JournalError> {
        guarded(|| {
            let read = self.database()?.begin_read()?;
            let value = read.open_table(NOTES)?.get(name)?;
            Ok(value.map(|value| value.value().to_vec()))
        })
    }

    /// How many plugins ran at how many crashes in a row.
    pub(super) fn crashes(&self) -> Result<CrashesRecord, JournalError> {
        match self.note(CRASHES)? {
            Some(bytes) => Ok(CrashesRecord::decode(bytes.as_slice())?),
            None => Ok(CrashesRecord::default()),
        }
    }

    /// Commits all of it or nothing. After an error the file must be
    /// [reopened](Self::reopen).
    pub(super) fn commit(&self, batch: &[Write]) -> Result<(), JournalError> {
        guarded(|| {
            #[cfg(test)]
            if self.refuses.load(Ordering::Relaxed) {
                return Err(redb::Error::Io(std::io::ErrorKind::StorageFull.into()).into());
            }
            let database = self.database()?;
            let transaction = database.begin_write()?;
            {
                let mut tables = Tables::open(&transaction)?;
                for write in batch {
                    tables.write(write, self.life.load(Ordering::Relaxed))?;
                }
                tables.forget(&self.limits)?;
            }
            transaction.commit()?;
            Ok(())
        })
    }

    pub(super) fn is_open(&self) -> bool {
        lock(&self.database).is_some()
    }

    /// Opens the file again.
    pub(super) fn reopen(&self) -> Result<(), JournalError> {
        self.close();
        // Not with the lock held: it takes a while, and whoever reads finds the
        // file closed instead of waiting.
        let database = self.open_database()?;
        *lock(&self.database) = Some(Arc::new(database));
        Ok(())
    }

    /// A damaged file can make the database panic even here.
    pub(super) fn close(&self) {
        let database = lock(&self.database).take();
        let closed = guarded(|| {
            drop(database);
            Ok(())
        });
        if let Err(error) = closed {
            tracing::warn!(%error, "the journal could not be closed");
        }
    }

    fn open_database(&self) -> Result<Database, JournalError> {
        guarded(|| {
            let mut builder = Builder::new();
            builder
                .set_cache_size(CACHE_BYTES)
                .set_check_integrity_on_open(true);
            let database = match &self.medium {
                Medium::File(path) => builder.create_with_backend(database::file(path)?)?,
                Medium::Other(open) => open(&mut builder)?,
            };
            // So that a reader finds every table.
            let transaction = database.begin_write()?;
            Tables::open(&transaction)?;
            transaction.commit()?;
            Ok(database)
        })
    }

    fn database(&self) -> Result<Arc<Database>, JournalError> {
        lock(&self.database).clone().ok_or(JournalError::Closed)
    }
}

impl fmt::Debug for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Other(_) => f.write_str("no file"),
        }
    }
}

/// The note that counts crashes; see [`CrashesRecord`].
pub(super) const CRASHES: &str = "crashes";

struct Tables<'t> {
    accepted: redb::Table<'t, Id, &'static [u8]>,
    attempts: redb::Table<'t, Id, &'static [u8]>,
    checkpoints: redb::Table<'t, Id, &'static [u8]>,
    outcomes: redb::Table<'t, Id, &'static [u8]>,
    acknowledged: redb::Table<'t, Id, &'static [u8]>,
    places: redb::Table<'t, u64, Id>,
    notes: redb::Table<'t, &'static str, &'static [u8]>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t redb::WriteTransaction) -> Result<Self, JournalError> {
        Ok(Self {
            accepted: transaction.open_table(ACCEPTED)?,
            attempts: transaction.open_table(ATTEMPTS)?,
            checkpoints: transaction.open_table(CHECKPOINTS)?,
            outcomes: transaction.open_table(OUTCOMES)?,
            acknowledged: transaction.open_table(ACKNOWLEDGED)?,
            places: transaction.open_table(PLACES)?,
            notes: transaction.open_table(NOTES)?,
        })
    }

    fn write(&mut self, write: &Write, life: u64) -> Result<(), JournalError> {
        match write {
            Write::Accept {
                sequence,
                at,
                command,
            } => {
                let record = AcceptedRecord::new(*sequence, *at, command);
                insert(&mut self.accepted, command.id, &record)?;
            }
            Write::Attempt(id, attempt) => {
                insert(&mut self.attempts, *id, &AttemptRecord::new(attempt, life))?;
            }
            Write::Checkpoint(id, data) => {
                self.checkpoints.insert(key(*id), data.as_ref())?;
            }
            Write::Outcome(outcome) => {
                let record = OutcomeRecord::from(outcome.as_ref());
                insert(&mut self.outcomes, outcome.id, &record)?;
                // It is not begun again.
                self.checkpoints.remove(key(outcome.id))?;
            }
            Write::Acknowledge { content, outcome } => self.acknowledge(*content, outcome)?,
            Write::Note(name, Some(value)) => {
                self.notes.insert(name.as_str(), value.as_slice())?;
            }
            Write::Note(name, None) => {
                self.notes.remove(name.as_str())?;
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self, content: [u8; 16], outcome: &Outcome) -> Result<(), JournalError> {
        let id = key(outcome.id);
        self.accepted.remove(id)?;
        self.attempts.remove(id)?;
        self.checkpoints.remove(id)?;
        self.outcomes.remove(id)?;
        // One that was delivered and acknowledged once more keeps its place.
        if self.acknowledged.get(id)?.is_some() {
            return Ok(());
        }
        let place = self.places.last()?.map_or(0, |(last, _)| last.value() + 1);
        let mut remembered = OutcomeRecord::from(outcome);
        let shortened = remembered.weight() > REMEMBERED_BYTES;
        if shortened {
            remembered.shorten();
        }
        let record = AcknowledgedRecord {
            place,
            at: seconds(clock::wall()),
            content: Bytes::copy_from_slice(&content),
            outcome: Some(remembered),
            shortened,
        };
        self.places.insert(place, id)?;
        insert(&mut self.acknowledged, outcome.id, &record)
    }

    /// Keeps what is remembered within its bounds.
    fn forget(&mut self, limits: &JournalLimits) -> Result<(), JournalError> {
        let now = seconds(clock::wall());
        let limit = u64::try_from(limits.acknowledged).unwrap_or(u64::MAX);
        // A bounded number, so that no batch waits for a long clean-up.
        for _ in 0..FORGOTTEN_AT_ONCE {
            let Some((place, id)) = self
                .places
                .first()?
                .map(|(place, id)| (place.value(), id.value()))
            else {
                break;
            };
            let old = match self.acknowledged.get(id)? {
                Some(value) => {
                    let at = AcknowledgedRecord::decode(value.value())?.at;
                    at.saturating_add(limits.remembered.as_secs()) < now
                }
                None => true,
            };
            if !old && self.places.len()? <= limit {
                break;
            }
            self.places.remove(place)?;
            self.acknowledged.remove(id)?;
        }
        Ok(())
    }
}

/// More than one batch can add, so that the bounds hold in the end.
const FORGOTTEN_AT_ONCE: usize = 2048;

fn insert(
    table: &mut redb::Table<'_, Id, &'static [u8]>,
    id: CommandId,
    record: &impl Message,
) -> Result<(), JournalError> {
    table.insert(key(id), record.encode_to_vec().as_slice())?;
    Ok(())
}

fn key(id: CommandId) -> Id {
    *id.as_uuid().as_bytes()
}

fn id(key: Id) -> CommandId {
    CommandId::from_uuid(Uuid::from_bytes(key))
}

fn guarded<T>(run: impl FnOnce() -> Result<T, JournalError>) -> Result<T, JournalError> {
    database::guarded(run, JournalError::Damaged)
}
