//! The pushed config on the disk: `active.json`, `candidate.json` beside it,
//! and `rejected.json`, each there in whole or not at all.

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

    /// The last good config, or why it can't be used.
    pub(super) fn read_active(&self) -> (Option<Stored>, Option<String>) {
        match self.read::<Stored>(ACTIVE) {
            Ok(Some(stored)) if stored.is_whole() => (Some(stored), None),
            Ok(Some(_)) => (None, Some(self.set_aside(ACTIVE, "its digest is another"))),
            Ok(None) => (None, None),
            Err(why) => (None, Some(self.set_aside(ACTIVE, &why))),
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

    /// The candidate becomes the last good config.
    pub(super) fn promote_candidate(&self) -> Result<(), HandlerError> {
        fs::rename(self.dir.join(CANDIDATE), self.dir.join(ACTIVE))
            .and_then(|()| self.sync())
            .map_err(|error| self.not_written(ACTIVE, &error))
    }

    pub(super) fn remove_candidate(&self) {
        if let Err(error) = fs::remove_file(self.dir.join(CANDIDATE)) {
            tracing::warn!(%error, "the rejected config is still on the disk; it is not used");
        }
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
