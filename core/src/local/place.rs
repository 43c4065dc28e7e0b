//! Where the socket is, and how to reach it under a path of any length.

use std::{
    io,
    path::{Path, PathBuf},
};

pub(super) const NAME: &str = "worker.sock";

/// The address of a Unix socket holds so many bytes at the least, everywhere.
const ADDRESS_BYTES: usize = 100;

/// Calls `reach` with a path that leads to `dir/name` and fits into the address
/// of a socket. The path may be good for as long as the call lasts.
pub(super) fn reach<T>(
    dir: &Path,
    name: &str,
    reach: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    let path = dir.join(name);
    if path.as_os_str().len() <= ADDRESS_BYTES {
        return reach(&path);
    }
    let (_open, short) = shorten(dir)?;
    reach(&short.join(name))
}

/// The directory by its descriptor: the kernel follows it wherever it is.
#[cfg(target_os = "linux")]
fn shorten(dir: &Path) -> io::Result<(rustix::fd::OwnedFd, PathBuf)> {
    use rustix::{
        fd::AsRawFd,
        fs::{Mode, OFlags},
    };

    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = rustix::fs::open(dir, flags, Mode::empty())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
    Ok((open, short))
}

#[cfg(not(target_os = "linux"))]
fn shorten(dir: &Path) -> io::Result<((), PathBuf)> {
    Err(io::Error::new(
        io::ErrorKind::InvalidFilename,
        format!(
            "{} is longer than the {ADDRESS_BYTES} bytes that a socket's address has on this \
             system: choose a shorter state directory",
            dir.display()
        ),
    ))
}
