//! The disk under the worker's journal. What was not synced when the worker
//! crashes is kept, lost or torn, each write by itself.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use redb::StorageBackend;

use super::chance::Chance;

#[derive(Debug, Clone, Default)]
pub struct Medium(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    /// Since the last sync, with what was there before.
    unsynced: Vec<Change>,
    /// After so many operations nothing reaches it any more.
    dies_after: Option<(usize, Chance)>,
    /// What a crash leaves, once it died.
    left: Option<Vec<u8>>,
    refuses: bool,
}

#[derive(Debug)]
enum Change {
    Write {
        at: usize,
        before: Vec<u8>,
        after: Vec<u8>,
    },
    Length {
        before: usize,
        cut: Vec<u8>,
        after: usize,
    },
}

/// What a disk writes as a whole.
const SECTOR: usize = 512;

impl Medium {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics here")
    }

    /// From now on it takes so many operations and no more, though it says so
    /// to nobody.
    pub fn die_after(&self, operations: usize, chance: Chance) {
        self.state().dies_after = Some((operations, chance));
    }

    /// As a full disk does.
    pub fn refuse(&self, refuses: bool) {
        self.state().refuses = refuses;
    }

    pub fn refuses(&self) -> bool {
        self.state().refuses
    }

    /// What the next life of the worker finds. This one is of no use any more.
    pub fn crash(&self, mut chance: Chance) -> Self {
        let mut state = self.state();
        let left = match state.left.take() {
            Some(left) => left,
            None => state.survivors(&mut chance),
        };
        *state = State {
            refuses: true,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(State {
            bytes: left,
            ..State::default()
        })))
    }

    /// A copy, all of it synced.
    pub fn copy(&self) -> Self {
        let bytes = self.state().bytes.clone();
        Self(Arc::new(Mutex::new(State {
            bytes,
            ..State::default()
        })))
    }
}

impl State {
    /// What is there if the power fails now.
    fn survivors(&self, chance: &mut Chance) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for change in self.unsynced.iter().rev() {
            match change {
                Change::Write { at, before, .. } => {
                    bytes[*at..*at + before.len()].copy_from_slice(before);
                }
                Change::Length { before, cut, .. } => {
                    bytes.truncate(*before);
                    bytes.extend_from_slice(cut);
                }
            }
        }
        for change in &self.unsynced {
            let kept = chance.below(3);
            match change {
                // A file system that journals its metadata keeps the length.
                Change::Length { after, .. } => bytes.resize(*after, 0),
                Change::Write { .. } if kept == 0 => {}
                Change::Write { at, after, .. } => {
                    for (n, sector) in after.chunks(SECTOR).enumerate() {
                        if kept == 1 || chance.percent(50) {
                            let at = at + n * SECTOR;
                            bytes[at..at + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        bytes
    }

    fn begin(&mut self) -> io::Result<()> {
        if self.refuses {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some((left, chance)) = &mut self.dies_after {
            if *left == 0 && self.left.is_none() {
                let mut chance = chance.clone();
                self.left = Some(self.survivors(&mut chance));
                self.dies_after = None;
            } else {
                *left = left.saturating_sub(1);
            }
        }
        Ok(())
    }
}

impl StorageBackend for Medium {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let from = usize::try_from(offset).expect("small");
        let bytes = state.bytes.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.begin()?;
        let (before, after) = (state.bytes.len(), usize::try_from(len).expect("small"));
        let cut = state.bytes.get(after..).unwrap_or_default().to_vec();
        state.bytes.resize(after, 0);
        state.unsynced.push(Change::Length {
            before: before - cut.len(),
            cut,
            after,
        });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.begin()?;
        state.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.begin()?;
        let at = usize::try_from(offset).expect("small");
        let place = state.bytes.get_mut(at..at + data.len());
        let place = place.ok_or(io::ErrorKind::UnexpectedEof)?;
        let before = place.to_vec();
        place.copy_from_slice(data);
        state.unsynced.push(Change::Write {
            at,
            before,
            after: data.to_vec(),
        });
        Ok(())
    }
}
