//! A directory of plugins, held by its descriptor.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

use super::{Check, LIBRARY_SUFFIX, MAX_FILE_BYTES, Refusal, ownership};

/// An opened directory whose owner and mode were checked.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    fd: OwnedFd,
}

impl Directory {
    /// Opens and checks it. The path itself may lead through links: what it
    /// leads to is what counts.
    ///
    /// # Errors
    ///
    /// [`Check::Directory`].
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let (directory, ownership) = Self::open_any(path)?;
        ownership.map(|()| directory)
    }

    /// Opens it whoever owns it, and says apart whether that is in order.
    pub(super) fn open_any(path: &Path) -> Result<(Self, Result<(), Refusal>), Refusal> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
            let remedy = match error {
                Errno::NOENT => "create it, or correct plugins.dirs",
                Errno::NOTDIR => "name the directory that holds the file in plugins.dirs",
                Errno::ACCESS => "let the worker's user read it",
                _ => "see that it can be read",
            };
            Refusal::new(
                Check::Directory,
                format!("{} cannot be opened: {error}", path.display()),
                remedy,
            )
        })?;
        let stat = rustix::fs::fstat(&fd).map_err(|error| cannot_read(Check::Directory, error))?;
        let ownership = ownership::check(Check::Directory, &stat);
        Ok((
            Self {
                path: path.to_owned(),
                fd,
            },
            ownership,
        ))
    }

    /// As it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names that look like libraries, sorted.
    ///
    /// # Errors
    ///
    /// [`Check::Directory`] if it cannot be listed.
    pub fn libraries(&self) -> Result<Vec<String>, Refusal> {
        let list = || -> Result<Vec<String>, Errno> {
            let mut names = Vec::new();
            for entry in rustix::fs::Dir::read_from(&self.fd)? {
                let entry = entry?;
                // A name that is no UTF-8 could not be shown to anyone.
                let Ok(name) = entry.file_name().to_str() else {
                    continue;
                };
                if name.len() > LIBRARY_SUFFIX.len() && name.ends_with(LIBRARY_SUFFIX) {
                    names.push(name.to_owned());
                }
            }
            names.sort_unstable();
            Ok(names)
        };
        list().map_err(|error| cannot_read(Check::Directory, error))
    }

    /// The whole content of the file `name`, once its kind, owner, mode and
    /// size were checked on the very descriptor that is read.
    ///
    /// # Errors
    ///
    /// [`Check::File`].
    pub fn read(&self, name: &str) -> Result<Vec<u8>, Refusal> {
        let (file, ownership) = self.open_file(name, MAX_FILE_BYTES)?;
        ownership?;
        read_all(file, MAX_FILE_BYTES)
    }

    /// The same of a file of `limit` bytes at the most; `None` if there is no
    /// such name.
    ///
    /// # Errors
    ///
    /// [`Check::File`].
    pub(crate) fn read_small(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Refusal> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        // There is no such name where there can be none.
        if let Err(Errno::NOENT | Errno::NAMETOOLONG) = rustix::fs::statat(&self.fd, name, flags) {
            return Ok(None);
        }
        let (file, ownership) = self.open_file(name, limit)?;
        ownership?;
        read_all(file, limit).map(Some)
    }

    /// Reads it whoever owns it, and says apart whether that is in order.
    pub(super) fn read_any(&self, name: &str) -> Result<(Vec<u8>, Result<(), Refusal>), Refusal> {
        let (file, ownership) = self.open_file(name, MAX_FILE_BYTES)?;
        Ok((read_all(file, MAX_FILE_BYTES)?, ownership))
    }

    fn open_file(&self, name: &str, limit: u64) -> Result<(File, Result<(), Refusal>), Refusal> {
        let handle = self.open_beneath(name)?;
        let stat = rustix::fs::fstat(&handle).map_err(|error| cannot_read(Check::File, error))?;
        if let Some(kind) = ownership::irregular(&stat) {
            return Err(Refusal::new(
                Check::File,
                format!("it is {kind}, not a file"),
                "keep only shared libraries in a plugin directory",
            ));
        }
        let ownership = ownership::check(Check::File, &stat);
        if u64::try_from(stat.st_size).is_ok_and(|size| size > limit) {
            return Err(too_large(limit));
        }
        let file = reopen(handle).map_err(|error| {
            Refusal::new(
                Check::File,
                format!("it cannot be opened: {error}"),
                "let the worker's user read it",
            )
        })?;
        Ok((file, ownership))
    }

    /// A descriptor of `name`, through links only as long as they stay within
    /// this directory.
    fn open_beneath(&self, name: &str) -> Result<OwnedFd, Refusal> {
        let direct = rustix::fs::openat(
            self.fd.as_fd(),
            name,
            HANDLE | OFlags::NOFOLLOW,
            Mode::empty(),
        );
        let handle = match direct {
            Ok(handle) => handle,
            // Without O_PATH a link is told by the refusal to follow it.
            Err(Errno::LOOP) => return self.follow(name),
            Err(error) => return Err(cannot_read(Check::File, error)),
        };
        let stat = rustix::fs::fstat(&handle).map_err(|error| cannot_read(Check::File, error))?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink() {
            return self.follow(name);
        }
        Ok(handle)
    }

    fn follow(&self, name: &str) -> Result<OwnedFd, Refusal> {
        resolve_beneath(self.fd.as_fd(), name).map_err(|error| match error {
            Errno::XDEV => Refusal::new(
                Check::File,
                "it is a symbolic link that leads out of its directory",
                "put the file itself there, or name its directory in plugins.dirs",
            ),
            Errno::NOENT => Refusal::new(
                Check::File,
                "it is a symbolic link to nothing",
                "remove the link, or put its target back",
            ),
            Errno::LOOP => Refusal::new(
                Check::File,
                "it is a symbolic link that leads back to itself",
                "remove the link",
            ),
            error => cannot_read(Check::File, error),
        })
    }
}

#[cfg(target_os = "linux")]
const HANDLE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const HANDLE: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

#[cfg(target_os = "linux")]
fn resolve_beneath(directory: rustix::fd::BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;

    let flags = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(directory, name, HANDLE, Mode::empty(), flags) {
        // An old kernel, or a sandbox that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => resolve_neighbour(directory, name),
        result => result,
    }
}

#[cfg(not(target_os = "linux"))]
fn resolve_beneath(directory: rustix::fd::BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    resolve_neighbour(directory, name)
}

/// Follows a link to another name in the same directory and no other link.
fn resolve_neighbour(directory: rustix::fd::BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
    if target.as_bytes().contains(&b'/') || matches!(target.as_bytes(), b"." | b"..") {
        return Err(Errno::XDEV);
    }
    rustix::fs::openat(directory, target, HANDLE | OFlags::NOFOLLOW, Mode::empty())
}

/// The same file, now for reading.
#[cfg(target_os = "linux")]
fn reopen(handle: OwnedFd) -> std::io::Result<File> {
    use std::os::fd::AsRawFd;

    File::open(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

#[cfg(not(target_os = "linux"))]
fn reopen(handle: OwnedFd) -> std::io::Result<File> {
    Ok(File::from(handle))
}

fn read_all(file: File, limit: u64) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    // The length in the stat is a hint only: the file may grow meanwhile.
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| {
            Refusal::new(
                Check::File,
                format!("it cannot be read: {error}"),
                "see that it can be read",
            )
        })?;
    if bytes.len() as u64 > limit {
        return Err(too_large(limit));
    }
    Ok(bytes)
}

fn too_large(limit: u64) -> Refusal {
    let limit = match limit / (1024 * 1024) {
        0 => format!("{limit} bytes"),
        mebibytes => format!("{mebibytes} MiB"),
    };
    Refusal::new(
        Check::File,
        format!("it is larger than {limit}"),
        "strip debug information from it",
    )
}

fn cannot_read(check: Check, error: Errno) -> Refusal {
    Refusal::new(
        check,
        format!("it cannot be read: {error}"),
        "see that the worker's user can read it",
    )
}
