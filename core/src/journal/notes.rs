//! What is written through to the disk at once: small records of the node, and
//! what handlers keep of their progress.

use std::{io, sync::mpsc};

use bytes::Bytes;

use super::{
    Journal, JournalError,
    disk::Write,
    entry::Entry,
    state::{State, Waiter},
};
use crate::{
    command::CommandId, kill_point::kill_point, lifecycle::chain, notes::Notes, unpoisoned::lock,
};

impl Journal {
    /// Keeps what a handler would be given back after a crash, and returns when
    /// it is on disk. Blocks.
    ///
    /// # Errors
    ///
    /// It cannot be written now.
    pub fn checkpoint(&self, id: CommandId, data: Bytes) -> Result<(), JournalError> {
        self.write_through(|state, waiter| {
            let open = |entry: &&mut Entry| entry.outcome.is_none();
            if let Some(entry) = state.entries.get_mut(&id).filter(open) {
                let volatile = entry.volatile;
                if let Some(staged) = state.staged.as_mut().filter(|_| !volatile) {
                    staged.push_awaited(Write::Checkpoint(id, data), waiter);
                    kill_point!("checkpoint.staged");
                    return;
                }
                entry.checkpoint = Some(data);
            }
            let _ = waiter.send(());
        })
    }

    /// The newest checkpoint of a command that has no outcome. One that could
    /// not be written is none.
    pub fn checkpoint_of(&self, id: CommandId) -> Option<Bytes> {
        lock(&self.shared.state)
            .entries
            .get(&id)?
            .checkpoint
            .clone()
    }

    /// A small record of the node that outlives the process.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, JournalError> {
        match &self.shared.disk {
            Some(disk) => disk.note(name),
            None => Ok(lock(&self.shared.state).notes.note(name)),
        }
    }

    /// Sets or removes such a record, and returns when that is on disk. Blocks.
    ///
    /// # Errors
    ///
    /// It cannot be written now: the record stays what it was.
    pub fn set_note(&self, name: &str, value: Option<&[u8]>) -> Result<(), JournalError> {
        self.write_through(|state, waiter| match &mut state.staged {
            Some(staged) => {
                let write = Write::Note(name.to_owned(), value.map(<[u8]>::to_vec));
                staged.push_awaited(write, waiter);
            }
            None => {
                // Memory refuses nothing, and whoever waits is the caller.
                let _ = state.notes.set_note(name, value);
                let _ = waiter.send(());
            }
        })
    }

    fn write_through(&self, stage: impl FnOnce(&mut State, Waiter)) -> Result<(), JournalError> {
        let (waiter, written) = mpsc::channel();
        stage(&mut lock(&self.shared.state), waiter);
        self.shared.staged.notify_all();
        // Where no thread does.
        self.write_staged();
        written.recv().map_err(|_| JournalError::Closed)
    }
}

impl Notes for Journal {
    fn note(&self, name: &str) -> Option<Vec<u8>> {
        Self::note(self, name).unwrap_or_else(|error| {
            tracing::error!(name, error = chain(&error), "a note cannot be read");
            None
        })
    }

    fn set_note(&self, name: &str, value: Option<&[u8]>) -> io::Result<()> {
        Self::set_note(self, name, value).map_err(io::Error::other)
    }
}
