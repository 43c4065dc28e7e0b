//! Files that are there in whole or not at all.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Makes `path` with this mode and these bytes. Never overwrites.
///
/// The bytes go to a file of their own first and reach the disk before the
/// name appears, so that a crash leaves either nothing or all of it.
pub(crate) fn create(path: &Path, mode: u32, contents: &[u8]) -> io::Result<()> {
    let temporary = beside(path)?;
    let written = write(&temporary, mode, contents)
        // Unlike a rename, a link fails where the name exists.
        .and_then(|()| fs::hard_link(&temporary, path));
    let removed = fs::remove_file(&temporary);
    written?;
    removed?;
    sync_directory(path)
}

/// The same in the place of whatever is there.
pub(crate) fn replace(path: &Path, mode: u32, contents: &[u8]) -> io::Result<()> {
    let temporary = beside(path)?;
    let written = write(&temporary, mode, contents).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The first error is what is told; the name may never have come to be.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_directory(path)
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", uuid::Uuid::new_v4().simple()));
    Ok(path.with_file_name(temporary))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

fn write(path: &Path, mode: u32, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}
