//! What every redb file of the worker has in common: how it is opened, what its
//! errors mean, and where a damaged one goes.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use redb::backends::FileBackend;
use rustix::fs::OFlags;

use crate::clock;

/// What an error of the database means for its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Its content makes no sense.
    Damaged,
    /// Another process has it open.
    InUse,
    /// The disk is full, the file may not be read, or the like.
    Storage,
}

/// What an error means.
pub(crate) fn meaning(error: &redb::Error) -> Meaning {
    match error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Meaning::InUse,
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::RepairAborted
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. } => Meaning::Damaged,
        redb::Error::Io(cause)
            if matches!(
                cause.kind(),
                ErrorKind::InvalidData | ErrorKind::UnexpectedEof
            ) =>
        {
            Meaning::Damaged
        }
        _ => Meaning::Storage,
    }
}

/// The file, made for this user alone if it is not there. Never through a link.
pub(crate) fn file(path: &Path) -> Result<FileBackend, redb::Error> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(redb::Error::Io)?;
    Ok(FileBackend::new(file)?)
}

/// A file that somebody else wrote to can make the database panic. That is one
/// more way of being damaged.
pub(crate) fn guarded<T, E>(
    run: impl FnOnce() -> Result<T, E>,
    damaged: impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> E,
) -> Result<T, E> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(damaged("reading it makes the database panic".into())))
}

/// Moves the file away, under a name that nothing has.
pub(crate) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let now = clock::wall()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    for n in 0_u32.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{now}"));
        if n > 0 {
            name.push(format!("-{n}"));
        }
        let aside = PathBuf::from(name);
        if !aside.exists() {
            fs::rename(path, &aside)?;
            return Ok(aside);
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}
