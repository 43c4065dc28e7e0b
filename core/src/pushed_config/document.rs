//! A version and its document, as it is stored.

use aegis_proto::limits::MAX_PAYLOAD_BYTES;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::WorkerSettings;
use crate::{command::HandlerError, control::CandidateConfig};

/// Versions are opaque, but not endless.
const VERSION_BYTES: usize = 256;

/// The SHA-256 of a document as compact JSON, keys in order, in hexadecimal
/// digits.
pub(super) type Digest = String;

/// A config with what tells whether it is whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) version: String,
    /// Of the document.
    pub(super) sha256: Digest,
    pub(super) document: Map<String, Value>,
}

impl From<&CandidateConfig> for Stored {
    fn from(candidate: &CandidateConfig) -> Self {
        Self {
            version: candidate.version.clone(),
            sha256: digest(&candidate.document),
            document: candidate.document.clone(),
        }
    }
}

impl Stored {
    /// Whether the digest is the document's.
    pub(super) fn is_whole(&self) -> bool {
        self.sha256 == digest(&self.document)
    }

    /// Whether it is the same config by name and by content.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.version == other.version && self.sha256 == other.sha256
    }

    pub(super) fn check_bounds(&self) -> Result<(), HandlerError> {
        let invalid = |message: String| Err(HandlerError::new("invalid-config", message));
        if self.version.is_empty() || self.version.len() > VERSION_BYTES {
            return invalid(format!("a config's version has 1 to {VERSION_BYTES} bytes"));
        }
        if self.version.chars().any(char::is_control) {
            return invalid("a config's version has no control characters".to_owned());
        }
        let size = text(&self.document).len();
        if size > MAX_PAYLOAD_BYTES {
            return invalid(format!(
                "the config has {size} bytes, and {MAX_PAYLOAD_BYTES} is the limit"
            ));
        }
        Ok(())
    }
}

/// The key `worker` of a document.
pub(super) fn settings(document: &Map<String, Value>) -> Result<WorkerSettings, HandlerError> {
    WorkerSettings::read(document.get("worker"))
}

/// The digest of the document in a payload; `None` if there is none in it.
pub(super) fn digest_of(payload: &[u8]) -> Option<Digest> {
    serde_json::from_slice(payload)
        .ok()
        .map(|document| digest(&document))
}

fn digest(document: &Map<String, Value>) -> Digest {
    Sha256::digest(text(document))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn text(document: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(document).expect("a JSON object in memory can be written as text")
}
