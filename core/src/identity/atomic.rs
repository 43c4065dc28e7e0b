//! Files that are there in whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Makes `dir/name` with mode 0600 and these bytes. Never overwrites.
///
/// The bytes go to a file of their own first and reach the disk before the
/// name appears, so that a crash leaves either nothing or all of it.
pub(super) fn create(dir: &Path, name: &str, contents: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!(".{name}.{}", uuid::Uuid::new_v4().simple()));
    let written = write(&temporary, contents)
        // Unlike a rename, a link fails where the name exists.
        .and_then(|()| fs::hard_link(&temporary, dir.join(name)));
    let removed = fs::remove_file(&temporary);
    written?;
    removed?;
    File::open(dir)?.sync_all()
}

fn write(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}
