//! Where a life of the worker begins: what the last one left in the file.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use prost::Message;

use super::{
    Attempt, Journal, JournalError, JournalLimits, Shared,
    crashes::{self, LastEnd},
    disk::{CRASHES, Disk, Stored, Write},
    entry::Entry,
    record::{CrashesRecord, seconds},
    state::{Staged, State},
    writer::Writer,
};
use crate::{clock, command::Command, database::set_aside, lifecycle::chain, unpoisoned::lock};

/// How the journal's file is opened.
#[derive(Debug, Clone, Copy)]
pub struct JournalOptions {
    /// Where it stops growing.
    pub limits: JournalLimits,
    /// The node had a journal before: if there is none, it is lost.
    pub expected: bool,
}

/// What the last life of the worker left to be done.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Commands that have no outcome, in the order in which they were taken.
    pub commands: Vec<Recovered>,
    /// Of each plugin, at how many crashes in a row it ran or was being started.
    pub crashes: BTreeMap<String, u32>,
    /// Where a damaged file was moved to.
    pub set_aside: Option<PathBuf>,
}

/// A command that has no outcome.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// As it was taken.
    pub command: Arc<Command>,
    /// `None`: its handler never began.
    pub attempt: Option<Attempt>,
}

impl Journal {
    /// Opens the journal in this file, or makes it, and starts the thread that
    /// writes it. A damaged one is set aside, loudly.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written, or another process has it.
    pub fn open(path: &Path, options: JournalOptions) -> Result<(Self, Recovery), JournalError> {
        let (disk, stored, set_aside) = match read(path, options.limits) {
            Ok((disk, stored)) => (disk, stored, None),
            Err(error @ JournalError::Damaged(_)) => {
                let aside = set_aside(path).map_err(JournalError::SetAside)?;
                tracing::error!(
                    journal = %path.display(), set_aside = %aside.display(),
                    error = chain(&error),
                    "the journal was damaged and is set aside: whatever it held of commands and \
                     outcomes is lost, and commands that were delivered before end as unknown"
                );
                let (disk, stored) = read(path, options.limits)?;
                (disk, stored, Some(aside))
            }
            Err(error) => return Err(error),
        };
        // A file in which no life of a worker ever began took the place of a
        // lost one: whatever made it, or looked for it, ended before it said so.
        let missing = set_aside.is_none() && options.expected && disk.note(CRASHES)?.is_none();
        if missing {
            tracing::error!(
                journal = %path.display(),
                "the journal is missing although this node was admitted before: commands that \
                 were delivered before end as unknown"
            );
        }
        let lost = missing || set_aside.is_some();
        let (shared, disk, mut recovery) = begin(disk, stored, lost, options.limits)?;
        recovery.set_aside = set_aside;
        let writer = Writer::start(Arc::clone(&shared), disk).map_err(JournalError::Thread)?;
        let journal = Self {
            shared,
            writer: Some(Arc::new(writer)),
        };
        Ok((journal, recovery))
    }

    /// Opens a simulation's journal. No thread writes it, but whoever calls
    /// [`write_staged`](Self::write_staged). `lost`: the node had another
    /// before.
    #[doc(hidden)]
    pub fn open_on<B: redb::StorageBackend + Clone>(
        backend: B,
        limits: JournalLimits,
        lost: bool,
    ) -> Result<(Self, Recovery), JournalError> {
        let disk = Disk::open_on(backend, limits)?;
        let stored = disk.stored()?;
        let (shared, disk, recovery) = begin(disk, stored, lost, limits)?;
        let writer = Writer::stepped(Arc::clone(&shared), disk);
        let journal = Self {
            shared,
            writer: Some(Arc::new(writer)),
        };
        Ok((journal, recovery))
    }

    /// Closes a simulation's journal for good: its process is gone.
    #[doc(hidden)]
    pub fn close_medium(&self) {
        if let Some(disk) = &self.shared.disk {
            disk.close();
        }
    }

    /// Tries to write what is staged, where no thread does. False: there is
    /// nothing to write.
    #[doc(hidden)]
    pub fn write_staged(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.step())
    }

    /// Says that a plugin is being started, or, with `None`, that none is: a
    /// crash meanwhile counts for it. Blocks until that is on disk.
    ///
    /// # Errors
    ///
    /// It cannot be written now.
    pub fn starting(&self, plugin: Option<&str>) -> Result<(), JournalError> {
        self.set_note(crashes::STARTING, plugin.map(str::as_bytes))
    }

    /// At how many crashes in a row each plugin ran, as of the worker's start.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn crashes(&self) -> Result<BTreeMap<String, u32>, JournalError> {
        let record = self.shared.disk.as_ref().map(|disk| disk.crashes());
        Ok(record.transpose()?.unwrap_or_default().plugins)
    }

    /// The same as a start would find it in the file of a worker that does not
    /// run.
    ///
    /// # Errors
    ///
    /// The file is damaged, cannot be read, or a worker has it open.
    pub fn crashes_in(path: &Path) -> Result<BTreeMap<String, u32>, JournalError> {
        let disk = Disk::open(path, JournalLimits::default())?;
        let (record, ..) = counted(&disk, &disk.stored()?, &crashes::boot())?;
        Ok(record.plugins)
    }

    /// When a journal of this node was found to be lost, if one was.
    pub fn lost_at(&self) -> Option<SystemTime> {
        lock(&self.shared.state).lost_before
    }

    /// Forgets the crashes at which this plugin ran. False if there were none.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written.
    pub fn forgive(&self, plugin: &str) -> Result<bool, JournalError> {
        let Some(disk) = &self.shared.disk else {
            return Ok(false);
        };
        match without(disk, plugin)? {
            Some(record) => self.set_note(CRASHES, Some(&record)).map(|()| true),
            None => Ok(false),
        }
    }

    /// The same in the file of a worker that does not run.
    ///
    /// # Errors
    ///
    /// The file is damaged, cannot be read or written, or a worker has it open.
    pub fn forgive_in(path: &Path, plugin: &str) -> Result<bool, JournalError> {
        let disk = Disk::open(path, JournalLimits::default())?;
        match without(&disk, plugin)? {
            Some(record) => disk
                .commit(&[Write::Note(CRASHES.to_owned(), Some(record))])
                .map(|()| true),
            None => Ok(false),
        }
    }
}

/// The record of crashes without those of a plugin; `None` if there are none.
fn without(disk: &Disk, plugin: &str) -> Result<Option<Vec<u8>>, JournalError> {
    let mut record = disk.crashes()?;
    let counted = record.plugins.remove(plugin).is_some();
    Ok(counted.then(|| record.encode_to_vec()))
}

impl State {
    /// Takes in what the file holds. Answers with what has no outcome.
    fn restore(&mut self, stored: Vec<Stored>) -> Vec<Recovered> {
        let mut commands = Vec::new();
        for stored in stored {
            self.accepted = self.accepted.max(stored.sequence);
            let id = stored.command.id;
            if stored.outcome.is_some() {
                self.outbox += 1;
            } else {
                commands.push(Recovered {
                    command: Arc::clone(&stored.command),
                    attempt: stored.attempt.clone(),
                });
            }
            let entry = Entry::stored(self.changes.revision + 1, stored);
            self.insert(id, entry);
        }
        commands
    }
}

type Begun = (Arc<Shared>, Arc<Disk>, Recovery);

/// Begins a life of the worker.
fn begin(
    disk: Disk,
    stored: Vec<Stored>,
    lost: bool,
    limits: JournalLimits,
) -> Result<Begun, JournalError> {
    let (writes, crashes) = beginning(&disk, &stored, lost)?;
    disk.commit(&writes)?;
    let lost_before = lost_before(&disk)?;
    let disk = Arc::new(disk);
    let mut state = State::new(limits, Some(Staged::default()));
    state.lost_before = lost_before;
    let commands = state.restore(stored);
    let shared = Arc::new(Shared::new(state, Some(Arc::clone(&disk))));
    let recovery = Recovery {
        commands,
        crashes,
        set_aside: None,
    };
    Ok((shared, disk, recovery))
}

fn read(path: &Path, limits: JournalLimits) -> Result<(Disk, Vec<Stored>), JournalError> {
    let disk = Disk::open(path, limits)?;
    let stored = disk.stored().and_then(|stored| {
        disk.crashes()?;
        Ok(stored)
    });
    match stored {
        Ok(stored) => Ok((disk, stored)),
        Err(error) => {
            disk.close();
            Err(error)
        }
    }
}

/// The first writes of this life, and the crashes that are counted so far.
fn beginning(
    disk: &Disk,
    stored: &[Stored],
    lost: bool,
) -> Result<(Vec<Write>, BTreeMap<String, u32>), JournalError> {
    let boot = crashes::boot();
    let (mut record, end, running) = counted(disk, stored, &boot)?;
    if end != LastEnd::Orderly {
        tracing::warn!(
            with_the_machine = end == LastEnd::WithTheMachine,
            running = running
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", "),
            "the worker did not end in an orderly way"
        );
    }
    record.lives += 1;
    disk.set_life(record.lives);
    let mut writes = vec![
        Write::Note(CRASHES.to_owned(), Some(record.encode_to_vec())),
        Write::Note(crashes::LIFE.to_owned(), Some(boot)),
        Write::Note(crashes::STARTING.to_owned(), None),
    ];
    if lost {
        let now = seconds(clock::wall()) + 1;
        writes.push(Write::Note(LOST.to_owned(), Some(now.to_be_bytes().into())));
    }
    Ok((writes, record.plugins))
}

/// The crashes with that of the last life, how it ended, and what ran then.
fn counted(
    disk: &Disk,
    stored: &[Stored],
    boot: &[u8],
) -> Result<(CrashesRecord, LastEnd, BTreeSet<String>), JournalError> {
    let end = crashes::last_end(disk.note(crashes::LIFE)?.as_deref(), boot);
    let mut record = disk.crashes()?;
    // Those that the last life began, and not those that it only found.
    let mut running: BTreeSet<String> = stored
        .iter()
        .filter(|stored| stored.outcome.is_none() && stored.life == record.lives)
        .filter_map(|stored| stored.attempt.as_ref())
        .filter(|attempt| !attempt.own_process)
        .map(|attempt| attempt.plugin.to_string())
        .collect();
    let starting = disk.note(crashes::STARTING)?;
    running.extend(starting.and_then(|name| String::from_utf8(name).ok()));
    crashes::count(&mut record, end, &running);
    Ok((record, end, running))
}

/// The note that a journal was lost, and when: seconds since the epoch.
const LOST: &str = "lost";

fn lost_before(disk: &Disk) -> Result<Option<SystemTime>, JournalError> {
    let note = disk.note(LOST)?;
    let seconds = note
        .and_then(|bytes| <[u8; 8]>::try_from(bytes.as_slice()).ok())
        .map(u64::from_be_bytes);
    Ok(seconds.and_then(|seconds| {
        SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds))
    }))
}
