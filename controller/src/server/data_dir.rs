//! The data directory: one process at a time, for its owner alone.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::StartError;

/// A locked data directory. The lock goes with the process.
pub(super) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory where it is missing, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, StartError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StartError::DataDir { path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed(path))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.into(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(StartError::InUse { path: path.into() }),
            Err(TryLockError::Error(source)) => Err(StartError::DataDir {
                path: lock_path,
                source,
            }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes where the controller can be reached into `endpoint`, whole or not at all.
    pub(super) fn announce(&self, endpoint: &str) -> Result<(), StartError> {
        let path = self.path.join("endpoint");
        let new = self.path.join("endpoint.new");
        fs::write(&new, format!("{endpoint}\n"))
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|source| StartError::DataDir { path, source })
    }

    /// Takes the announcement back: nobody listens there any more.
    pub(super) fn withdraw(&self) {
        if let Err(error) = fs::remove_file(self.path.join("endpoint")) {
            tracing::debug!(%error, "the endpoint file was gone already");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_has_one_owner() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("data");
        let first = DataDir::open(&path).expect("free");
        assert!(matches!(
            DataDir::open(&path),
            Err(StartError::InUse { .. })
        ));
        drop(first);
        DataDir::open(&path).expect("free again");
    }

    #[test]
    fn the_endpoint_is_announced_and_withdrawn() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = DataDir::open(dir.path()).expect("free");
        data.announce("http://127.0.0.1:1").expect("written");
        let file = dir.path().join("endpoint");
        assert_eq!(
            fs::read_to_string(&file).expect("there"),
            "http://127.0.0.1:1\n"
        );
        data.withdraw();
        assert!(!file.exists());
    }
}
