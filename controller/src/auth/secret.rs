//! Random secrets, shown once and kept as hashes.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// 256 random bits as text behind a prefix that tells what it is for.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Makes a new one.
    ///
    /// # Errors
    /// Where the operating system has no randomness to give.
    pub fn new(prefix: &str) -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(format!(
            "{prefix}{}",
            BASE64_URL_SAFE_NO_PAD.encode(bytes)
        )))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> [u8; 32] {
        hash(&self.0)
    }
}

/// The SHA-256 of a secret, after taking off white space around it.
pub fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.trim().as_bytes()).into()
}
