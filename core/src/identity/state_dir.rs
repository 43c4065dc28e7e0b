//! The state directory and its one owner.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;

use super::IdentityError;

const LOCK: &str = "lock";

/// A directory that this process owns until the value is dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// The kernel frees the lock when this is closed, crash or not.
    _lock: File,
}

impl StateDir {
    /// Makes the directory with mode 0700 where there is none, and locks it.
    ///
    /// # Errors
    ///
    /// It cannot be made, others can write to it, or another process owns it.
    pub fn open(path: &Path) -> Result<Self, IdentityError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(IdentityError::io("make the state directory", path))?;
        let metadata = path
            .metadata()
            .map_err(IdentityError::io("read the state directory", path))?;
        if !metadata.is_dir() {
            return Err(IdentityError::NotADirectory {
                path: path.to_owned(),
            });
        }
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(IdentityError::OpenDirectory {
                path: path.to_owned(),
                mode,
            });
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock(path)?,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The lock is the flock, not the file: what a dead owner left does not count.
fn lock(dir: &Path) -> Result<File, IdentityError> {
    let path = dir.join(LOCK);
    let failed = || IdentityError::io("lock the state directory with", &path);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed())?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut owner = String::new();
            let read = file.read_to_string(&mut owner);
            let owner = read.ok().and_then(|_| owner.trim().parse().ok());
            return Err(IdentityError::InUse {
                path: dir.to_owned(),
                owner,
            });
        }
        Err(errno) => return Err(failed()(errno.into())),
    }
    file.set_len(0).map_err(failed())?;
    file.rewind().map_err(failed())?;
    writeln!(file, "{}", std::process::id()).map_err(failed())?;
    Ok(file)
}
