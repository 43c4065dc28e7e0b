//! Small named records of a node.

use std::{collections::BTreeMap, fmt::Debug, io, sync::Mutex};

use crate::unpoisoned::lock;

/// Where small named records are kept. They are written seldom and read once,
/// when the worker starts.
pub trait Notes: Debug + Send + Sync + 'static {
    /// The record of that name, if there is one.
    fn note(&self, name: &str) -> Option<Vec<u8>>;

    /// Writes a record, or removes it. Blocks until that outlasts whatever the
    /// store outlasts.
    ///
    /// # Errors
    ///
    /// It could not be written: the record is what it was.
    fn set_note(&self, name: &str, value: Option<&[u8]>) -> io::Result<()>;
}

/// Notes that outlast nothing.
#[derive(Debug, Default)]
pub struct FleetingNotes(Mutex<BTreeMap<String, Vec<u8>>>);

impl Notes for FleetingNotes {
    fn note(&self, name: &str) -> Option<Vec<u8>> {
        lock(&self.0).get(name).cloned()
    }

    fn set_note(&self, name: &str, value: Option<&[u8]>) -> io::Result<()> {
        let mut notes = lock(&self.0);
        match value {
            Some(value) => notes.insert(name.to_owned(), value.to_owned()),
            None => notes.remove(name),
        };
        Ok(())
    }
}
