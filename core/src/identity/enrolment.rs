//! Whether a controller has admitted this identity.
//!
//! An enrolment token is spent at the first attestation; from then on the key
//! alone speaks for the node. The record outlives the process, so that a
//! restarted worker does not offer a spent token.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{IdentityError, StateDir};
use crate::whole_file;

const NAME: &str = "enrolled";

/// The file that says so.
#[derive(Debug, Clone)]
pub struct EnrolmentRecord {
    dir: PathBuf,
}

impl EnrolmentRecord {
    pub(super) fn of(state: &StateDir) -> Self {
        Self::at(state.path())
    }

    pub(super) fn at(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    /// Whether some controller has admitted this identity.
    pub fn exists(&self) -> bool {
        self.dir.join(NAME).exists()
    }

    /// Notes that the controller at `endpoint` has. Repeating it changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// The record cannot be written.
    pub fn note(&self, endpoint: &str) -> Result<(), IdentityError> {
        let path = self.dir.join(NAME);
        match whole_file::create(&path, 0o600, format!("{endpoint}\n").as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(IdentityError::io("write the enrolment record", path)(error))
            }
            _ => Ok(()),
        }
    }
}
