//! Who this node is: its id, its key, and the directory that holds them.
//!
//! Nothing here talks to a controller.

mod enrolment;
mod error;
mod key_file;
mod node_id_file;
mod state_dir;

use std::path::Path;

use aegis_proto::NodeId;
use ed25519_dalek::{Signer, SigningKey};

pub use enrolment::EnrolmentRecord;
pub use error::IdentityError;
pub use state_dir::StateDir;

/// A node's id and key. It owns the state directory for as long as it lives.
pub struct Identity {
    node_id: NodeId,
    key: SigningKey,
    state: StateDir,
}

/// What can be told of an identity without owning it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityCard {
    /// The node's id.
    pub node_id: NodeId,
    /// Its raw Ed25519 public key.
    pub public_key: [u8; 32],
    /// Whether a controller has admitted it.
    pub enrolled: bool,
}

impl Identity {
    /// Takes the state directory and reads the identity in it, or makes one.
    ///
    /// `configured` is the id that the config names; it has to be the stored
    /// one where there is one.
    ///
    /// # Errors
    ///
    /// The directory is in use or cannot be used, a file in it is damaged or
    /// open to others, or the configured id is not the stored one.
    pub fn open(state_dir: &Path, configured: Option<NodeId>) -> Result<Self, IdentityError> {
        let state = StateDir::open(state_dir)?;
        let enrolled = EnrolmentRecord::of(&state).exists();
        let node_id = match (node_id_file::read(state.path())?, configured) {
            (Some(stored), Some(wanted)) if stored != wanted => {
                return Err(IdentityError::OtherNode {
                    path: state.path().join(node_id_file::NAME),
                    stored,
                    configured: wanted,
                });
            }
            (Some(stored), _) => stored,
            (None, _) if enrolled => {
                return Err(IdentityError::Lost {
                    path: state.path().join(node_id_file::NAME),
                });
            }
            (None, configured) => node_id_file::create(state.path(), configured)?,
        };
        let key = match key_file::read(state.path())? {
            Some(key) => key,
            None if enrolled => {
                return Err(IdentityError::Lost {
                    path: state.path().join(key_file::NAME),
                });
            }
            None => key_file::create(state.path())?,
        };
        Ok(Self {
            node_id,
            key,
            state,
        })
    }

    /// The node's id.
    pub const fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// The raw Ed25519 public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// The Ed25519 signature over exactly these bytes.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// Where the node keeps what has to last.
    pub const fn state(&self) -> &StateDir {
        &self.state
    }

    /// Whether a controller has admitted this identity, and the way to note it.
    pub fn enrolment(&self) -> EnrolmentRecord {
        EnrolmentRecord::of(&self.state)
    }
}

impl IdentityCard {
    /// Reads an identity that another process may own. `None`: none was made
    /// there yet.
    ///
    /// # Errors
    ///
    /// A file is damaged, unreadable or open to others.
    pub fn read(state_dir: &Path) -> Result<Option<Self>, IdentityError> {
        let (Some(node_id), Some(key)) =
            (node_id_file::read(state_dir)?, key_file::read(state_dir)?)
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            node_id,
            public_key: key.verifying_key().to_bytes(),
            enrolled: EnrolmentRecord::at(state_dir).exists(),
        }))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("node_id", &self.node_id)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
