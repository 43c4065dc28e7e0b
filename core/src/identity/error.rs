//! Why there is no identity to work with.

use std::{io, path::PathBuf};

use aegis_proto::NodeId;

/// Why a state directory or a file in it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The directory or a file cannot be made, read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// What is there is no directory.
    #[error("the state directory {} is not a directory: name another with --state-dir", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// Others can replace files in the directory.
    #[error(
        "the state directory {} can be written by others (mode {mode:o}): \
         run `chmod 700` on it, or name a directory of the worker's own with --state-dir",
        path.display()
    )]
    OpenDirectory {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another process owns the directory.
    #[error(
        "the state directory {} is in use by {}: stop that one first, \
         or give this worker a directory of its own with --state-dir",
        path.display(),
        owner.map_or_else(|| "another process".to_owned(), |pid| format!("the process {pid}"))
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Its owner, where the lock file tells.
        owner: Option<u32>,
    },
    /// The key can be read by others.
    #[error(
        "the key file {} is open to others (mode {mode:o}): run `chmod 600` on it; \
         if somebody else may have read it, evict the node, remove the state directory and enrol again",
        path.display()
    )]
    OpenKey {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file holds no key.
    #[error(
        "the key file {} holds no Ed25519 key in PKCS#8 PEM: restore it from a backup, \
         or evict the node, remove the state directory and enrol again",
        path.display()
    )]
    DamagedKey {
        /// The key file.
        path: PathBuf,
        /// What the decoder says.
        #[source]
        source: ed25519_dalek::pkcs8::Error,
    },
    /// The node id file holds no node id.
    #[error("{} holds no node id: restore it from a backup, or write the node's UUID into it", path.display())]
    DamagedNodeId {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: aegis_proto::MalformedId,
    },
    /// The config names another node than the state directory.
    #[error(
        "the config names the node {configured}, but {} says {stored}: \
         remove `node.id` from the config, or name another state directory",
        path.display()
    )]
    OtherNode {
        /// The node id file.
        path: PathBuf,
        /// What it holds.
        stored: NodeId,
        /// What the config says.
        configured: NodeId,
    },
    /// The node was enrolled, and now a file of its identity is missing.
    #[error(
        "{} is missing, though this node was enrolled with it: restore it from a backup, \
         or evict the node, remove the state directory and enrol again",
        path.display()
    )]
    Lost {
        /// What is missing.
        path: PathBuf,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes to make a key from")]
    Random {
        /// Why not.
        #[source]
        source: getrandom::Error,
    },
}

impl IdentityError {
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
