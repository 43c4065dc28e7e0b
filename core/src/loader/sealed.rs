//! A private, unchangeable copy of a plugin file, to be mapped.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The copy. Whoever maps it keeps `file` open for the life of the process:
/// the dynamic linker knows libraries by path, and the path names this
/// descriptor.
#[derive(Debug)]
pub(crate) struct Sealed {
    file: File,
    path: PathBuf,
}

impl Sealed {
    /// Copies `bytes` into memory that cannot be changed any more.
    #[cfg(target_os = "linux")]
    pub(crate) fn in_memory(bytes: &[u8]) -> io::Result<Self> {
        use rustix::{
            fs::{MemfdFlags, SealFlags},
            io::Errno,
        };

        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Kernels before 6.3 do not know MFD_EXEC, and there all are executable.
        let fd = match rustix::fs::memfd_create("aegis-plugin", flags | MemfdFlags::EXEC) {
            Err(Errno::INVAL) => rustix::fs::memfd_create("aegis-plugin", flags)?,
            result => result?,
        };
        let mut file = File::from(fd);
        file.write_all(bytes)?;
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        Ok(Self::named(file))
    }

    /// There is no such memory here.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn in_memory(_bytes: &[u8]) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Copies `bytes` into a new file that only this user can reach, for
    /// machines where memory files may not be executed. On Linux no name of it
    /// stays behind.
    pub(crate) fn in_directory(bytes: &[u8], state_dir: &Path) -> io::Result<Self> {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};

        let directory = state_dir.join("plugins").join(".mapped");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)?;
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o700))?;
        let path = directory.join(format!("{}.so", uuid::Uuid::new_v4().simple()));
        let mut options = std::fs::OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .mode(0o500)
            .open(&path)?
            .write_all(bytes)?;
        let file = File::open(&path)?;
        if cfg!(target_os = "linux") {
            std::fs::remove_file(&path)?;
            return Ok(Self::named(file));
        }
        Ok(Self { file, path })
    }

    /// A copy that was made by whoever handed over its descriptor.
    pub(crate) fn named(file: File) -> Self {
        use std::os::fd::AsRawFd;

        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Self { file, path }
    }

    /// What to hand to the dynamic linker.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The copy itself.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Keeps the descriptor open until the process ends.
    pub(crate) fn keep_open(self) {
        std::mem::forget(self.file);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Seek, SeekFrom},
        os::unix::fs::PermissionsExt,
    };

    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_copy_in_memory_cannot_be_changed() {
        let sealed = Sealed::in_memory(b"content").expect("a memfd");
        let mut file = File::options()
            .read(true)
            .write(true)
            .open(sealed.path())
            .expect("reopened");
        file.write_all(b"other")
            .expect_err("sealed against writing");
        file.set_len(1).expect_err("sealed against shrinking");
        file.set_len(100).expect_err("sealed against growing");
        let mut content = String::new();
        file.seek(SeekFrom::Start(0)).expect("rewound");
        file.read_to_string(&mut content).expect("read");
        assert_eq!(content, "content");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_copy_in_a_directory_is_private_and_leaves_no_name() {
        let state = tempfile::tempdir().expect("a directory");
        let sealed = Sealed::in_directory(b"content", state.path()).expect("a copy");
        assert_eq!(
            std::fs::read(sealed.path()).expect("through its descriptor"),
            b"content"
        );
        let directory = state.path().join("plugins/.mapped");
        let mode = directory.metadata().expect("made").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(std::fs::read_dir(&directory).expect("listed").count(), 0);
    }
}
