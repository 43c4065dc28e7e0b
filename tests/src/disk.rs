//! A disk that can be full.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// The part of the disk under one directory, as one program sees it: full
/// whenever a test says so. It is done by a library that is preloaded into the
/// program; see `tests/shim/disk_full.c`.
pub struct Disk {
    folder: TempDir,
    under: PathBuf,
}

impl Disk {
    /// With room, for the program's files under this directory, which exists.
    pub fn over(under: &Path) -> Self {
        let folder = TempDir::new().expect("a temporary directory");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/disk_full.c");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(folder.path().join("disk_full.so"))
            .arg(source)
            .status()
            .expect("a C compiler is installed as cc");
        assert!(status.success(), "the shim does not compile");
        let under = under.canonicalize().expect("the directory exists");
        Self { folder, under }
    }

    /// What the program has to be started with.
    pub fn environment(&self) -> [(String, String); 3] {
        let library = self.folder.path().join("disk_full.so");
        [
            ("LD_PRELOAD", library),
            ("DISK_FULL_UNDER", self.under.clone()),
            ("DISK_FULL_WHILE", self.flag()),
        ]
        .map(|(name, path)| (name.to_owned(), path.display().to_string()))
    }

    /// From now on nothing can be written there.
    pub fn fill(&self) {
        fs::write(self.flag(), "").expect("the directory is ours");
    }

    /// There is room again.
    pub fn free(&self) {
        fs::remove_file(self.flag()).expect("it was full");
    }

    fn flag(&self) -> PathBuf {
        self.folder.path().join("full")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_nothing_and_gives_all() {
        let files = TempDir::new().expect("a temporary directory");
        let elsewhere = TempDir::new().expect("a temporary directory");
        let disk = Disk::over(files.path());
        let append = |folder: &TempDir| {
            let line = format!("echo line >> {}", folder.path().join("file").display());
            let status = Command::new("sh")
                .args(["-c", &line])
                .envs(disk.environment())
                .stderr(std::process::Stdio::null())
                .status();
            status.expect("sh runs").success()
        };
        assert!(append(&files));
        disk.fill();
        assert!(!append(&files));
        assert!(append(&elsewhere), "another directory has room");
        disk.free();
        assert!(append(&files));
        let kept = fs::read_to_string(files.path().join("file")).expect("it is there");
        assert_eq!(kept, "line\nline\n");
    }
}
