//! The pushed config on the disk, each file there in whole or not at all:
//!
//! | file | what it holds |
//! |---|---|
//! | `active.json` | the last config that is known to be good |
//! | `candidate.json` | one that is not in force |
//! | `trial.json` | one that was put into force, or was about to be: a worker that finds it at its start knows that its predecessor did not survive it |
//! | `pending.json` | one whose probation an orderly end of the worker cut short |
//! | `rejected.json` | those that are not to be tried again |

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use chrono::Utc;
use serde::{Serialize, de::DeserializeOwned};

use super::{PushedConfigError, Rejection, Stored};
use crate::command::HandlerError;

const DIR: &str = "pushed-config";
const ACTIVE: &str = "active.json";
const CANDIDATE: &str = "candidate.json";
const TRIAL: &str = "trial.json";
const PENDING: &str = "pending.json";
const REJECTED: &str = "rejected.json";

#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
}

impl Files {
    /// Makes the directory, and clears what a crash left half done.
    pub(super) fn open(state_dir: &Path) -> Result<Self, PushedConfigError> {
        let dir = state_dir.join(DIR);
        let failed = |source| PushedConfigError {
            path: dir.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(failed)?;
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") || name == CANDIDATE {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(Self { dir })
    }

    /// The config in force, of a worker that runs or has ended in an orderly
    /// way. Changes nothing, and so may be asked beside it.
    pub(super) fn peek(state_dir: &Path) -> Result<Option<Stored>, String> {
        let files = Self {
            dir: state_dir.join(DIR),
        };
        for name in [TRIAL, PENDING, ACTIVE] {
            let stored = files
                .read::<Stored>(name)
                .map_err(|why| format!("{}: {why}", files.dir.join(name).display()))?;
            if let Some(stored) = stored.filter(Stored::is_whole) {
                return Ok(Some(stored));
            }
        }
        Ok(None)
    }

    /// The last good config, or why it can't be used.
    pub(super) fn read_active(&self) -> Result<Option<Stored>, String> {
        self.read_stored(ACTIVE)
    }

    /// What a worker that did not end in an orderly way had on trial.
    pub(super) fn read_trial(&self) -> Result<Option<Stored>, String> {
        self.read_stored(TRIAL)
    }

    /// What is to be on trial again, now marked as such.
    pub(super) fn resume_trial(&self) -> Result<Option<Stored>, String> {
        let Some(stored) = self.read_stored(PENDING)? else {
            return Ok(None);
        };
        self.rename(PENDING, TRIAL).map_err(|error| error.message)?;
        Ok(Some(stored))
    }

    fn read_stored(&self, name: &str) -> Result<Option<Stored>, String> {
        match self.read::<Stored>(name) {
            Ok(Some(stored)) if !stored.is_whole() => {
                Err(self.set_aside(name, "its digest is another"))
            }
            Ok(stored) => Ok(stored),
            Err(why) => Err(self.set_aside(name, &why)),
        }
    }

    pub(super) fn read_rejections(&self) -> Vec<Rejection> {
        match self.read(REJECTED) {
            Ok(rejections) => rejections.unwrap_or_default(),
            Err(why) => {
                let reason = self.set_aside(REJECTED, &why);
                tracing::error!(reason, "rejected configs are tried again");
                Vec::new()
            }
        }
    }

    pub(super) fn write_candidate(&self, stored: &Stored) -> Result<(), HandlerError> {
        self.write(CANDIDATE, stored)
    }

    pub(super) fn write_rejections(&self, rejections: &[Rejection]) -> Result<(), HandlerError> {
        self.write(REJECTED, &rejections)
    }

    /// Marks the candidate as on trial, in the place of whatever was.
    pub(super) fn begin_trial(&self) -> Result<(), HandlerError> {
        self.rename(CANDIDATE, TRIAL)
    }

    /// Marks this one as on trial.
    pub(super) fn write_trial(&self, stored: &Stored) -> Result<(), HandlerError> {
        self.write(TRIAL, stored)
    }

    /// What is on trial becomes the last good config.
    pub(super) fn promote_trial(&self) -> Result<(), HandlerError> {
        self.rename(TRIAL, ACTIVE)
    }

    /// What is on trial is to be on trial again in the next life of the worker.
    pub(super) fn put_off_trial(&self) -> Result<(), HandlerError> {
        self.rename(TRIAL, PENDING)
    }

    pub(super) fn remove_candidate(&self) {
        self.remove(CANDIDATE);
    }

    pub(super) fn remove_trial(&self) {
        self.remove(TRIAL);
    }

    pub(super) fn remove_pending(&self) {
        self.remove(PENDING);
    }

    fn remove(&self, name: &str) {
        match fs::remove_file(self.dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, name, "a file of a pushed config can't be removed");
            }
            _ => {}
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), HandlerError> {
        fs::rename(self.dir.join(from), self.dir.join(to))
            .and_then(|()| self.sync())
            .map_err(|error| self.not_written(to, &error))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, String> {
        match fs::read(self.dir.join(name)) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|e| e.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Keeps a damaged file for whoever wants to know what happened.
    fn set_aside(&self, name: &str, why: &str) -> String {
        let path = self.dir.join(name);
        let aside = self
            .dir
            .join(format!("{name}.damaged-{}", Utc::now().timestamp_millis()));
        match fs::rename(&path, &aside) {
            Ok(()) => {
                format!(
                    "{} is damaged ({why}) and was set aside as {}",
                    path.display(),
                    aside.display()
                )
            }
            Err(error) => {
                format!(
                    "{} is damaged ({why}) and can't be set aside: {error}",
                    path.display()
                )
            }
        }
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), HandlerError> {
        let written = serde_json::to_vec(value)
            .map_err(io::Error::other)
            .and_then(|bytes| self.replace(name, &bytes));
        written.map_err(|error| self.not_written(name, &error))
    }

    /// Puts the bytes in the place of the file; they are on the disk before
    /// they have its name.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = self
            .dir
            .join(format!(".{name}.{}", uuid::Uuid::new_v4().simple()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&temporary, self.dir.join(name)));
        if written.is_err() {
            // It may never have been made.
            let _ = fs::remove_file(&temporary);
        }
        written.and_then(|()| self.sync())
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn not_written(&self, name: &str, error: &io::Error) -> HandlerError {
        HandlerError::new(
            "config-not-written",
            format!("cannot write {}: {error}", self.dir.join(name).display()),
        )
        .help("make room on the disk and check who may write the state directory")
    }
}
