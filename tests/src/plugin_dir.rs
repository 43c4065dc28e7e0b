//! A plugin directory made for one test.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::binaries;

/// A directory that a worker may load from, until a test spoils it.
pub struct PluginDir {
    folder: TempDir,
}

impl PluginDir {
    /// With nothing in it.
    pub fn empty() -> Self {
        let folder = TempDir::new().expect("a temporary directory");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self { folder }
    }

    /// With the libraries of these plugin crates.
    pub fn with(plugins: &[&str]) -> Self {
        let this = Self::empty();
        for plugin in plugins {
            this.add(plugin);
        }
        this
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Adds the library of a plugin crate.
    pub fn add(&self, plugin: &str) -> PathBuf {
        let library = fs::read(binaries::library(plugin)).expect("the plugin was built");
        self.write(&format!("lib{plugin}.so"), &library)
    }

    /// Adds the library of a plugin crate with bytes of it changed, wherever
    /// they are.
    pub fn patch(&self, name: &str, plugin: &str, from: &str, to: &str) -> PathBuf {
        assert_eq!(from.len(), to.len(), "a library cannot grow");
        let mut library = fs::read(binaries::library(plugin)).expect("the plugin was built");
        let mut found = false;
        for start in 0..library.len() - from.len() {
            if library[start..].starts_with(from.as_bytes()) {
                library[start..start + from.len()].copy_from_slice(to.as_bytes());
                found = true;
            }
        }
        assert!(found, "{from:?} is not in {plugin}");
        self.write(name, &library)
    }

    /// Adds a file with any content that only its owner may change.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).expect("the directory is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        path
    }

    /// Compiles C into a library, with the plugin header at hand.
    pub fn compile(&self, name: &str, source: &str) -> PathBuf {
        let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-api/include");
        let build = TempDir::new().expect("a temporary directory");
        let file = build.path().join("plugin.c");
        fs::write(&file, source).expect("the directory is ours");
        let path = self.path().join(name);
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-pthread", "-o"])
            .arg(&path)
            .arg(&file)
            .arg("-I")
            .arg(include)
            .status()
            .expect("a C compiler is installed as cc");
        assert!(status.success(), "{name} does not compile");
        path
    }
}
