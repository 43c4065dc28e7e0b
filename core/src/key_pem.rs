//! Ed25519 private keys in files: PKCS#8 version 1 in PEM.
//!
//! Version 1 carries no public key. OpenSSL 3.0 refuses version 2, which the
//! key type's own encoder would write.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use ed25519_dalek::{
    SigningKey,
    pkcs8::{self, DecodePrivateKey, EncodePrivateKey, KeypairBytes, spki::der::pem::LineEnding},
};
use zeroize::{Zeroize, Zeroizing};

/// A PEM with an Ed25519 key has 119 bytes.
const MAX_BYTES: u64 = 4096;

/// Why a key cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeKeyError {
    /// The system gives no random bytes.
    #[error("the system gives no random bytes to make a key from")]
    Random(#[source] getrandom::Error),
    /// It cannot be written down.
    #[error("the key cannot be encoded")]
    Encode(#[source] pkcs8::Error),
}

/// Why a file is no key to use.
#[derive(Debug)]
pub(crate) enum ReadKeyError {
    Io(io::Error),
    /// Others can read it; its permission bits.
    Open(u32),
    Damaged(pkcs8::Error),
}

/// A new key, and what its file holds.
pub(crate) fn make() -> Result<(SigningKey, Zeroizing<String>), MakeKeyError> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(secret.as_mut_slice()).map_err(MakeKeyError::Random)?;
    let mut bytes = KeypairBytes {
        secret_key: *secret,
        public_key: None,
    };
    let pem = bytes.to_pkcs8_pem(LineEnding::LF);
    bytes.secret_key.zeroize();
    Ok((
        SigningKey::from_bytes(&secret),
        pem.map_err(MakeKeyError::Encode)?,
    ))
}

/// Reads a key that only its owner can read. Links are not followed.
pub(crate) fn read(path: &Path) -> Result<SigningKey, ReadKeyError> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(no_follow)
        .open(path)
        .map_err(ReadKeyError::Io)?;
    let metadata = file.metadata().map_err(ReadKeyError::Io)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(ReadKeyError::Open(mode));
    }
    let mut pem = Zeroizing::new(String::new());
    file.take(MAX_BYTES)
        .read_to_string(&mut pem)
        .map_err(ReadKeyError::Io)?;
    SigningKey::from_pkcs8_pem(&pem).map_err(ReadKeyError::Damaged)
}
