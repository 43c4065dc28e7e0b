//! `identity.key`: the node's private key, PKCS#8 version 1 in PEM.
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
    pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes, spki::der::pem::LineEnding},
};
use zeroize::{Zeroize, Zeroizing};

use super::{IdentityError, atomic};

pub(super) const NAME: &str = "identity.key";

/// A PEM with an Ed25519 key has 119 bytes.
const MAX_BYTES: u64 = 4096;

/// `None` where there is no such file.
pub(super) fn read(dir: &Path) -> Result<Option<SigningKey>, IdentityError> {
    let path = dir.join(NAME);
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(no_follow)
        .open(&path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(IdentityError::io("read the key file", &path)(error)),
    };
    let metadata = file
        .metadata()
        .map_err(IdentityError::io("read the key file", &path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::OpenKey { path, mode });
    }
    let mut pem = Zeroizing::new(String::new());
    file.take(MAX_BYTES)
        .read_to_string(&mut pem)
        .map_err(IdentityError::io("read the key file", &path))?;
    match SigningKey::from_pkcs8_pem(&pem) {
        Ok(key) => Ok(Some(key)),
        Err(source) => Err(IdentityError::DamagedKey { path, source }),
    }
}

/// Makes a new key and its file.
pub(super) fn create(dir: &Path) -> Result<SigningKey, IdentityError> {
    let path = dir.join(NAME);
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(secret.as_mut_slice()).map_err(|source| IdentityError::Random { source })?;
    let mut bytes = KeypairBytes {
        secret_key: *secret,
        public_key: None,
    };
    let pem = bytes.to_pkcs8_pem(LineEnding::LF);
    bytes.secret_key.zeroize();
    let pem = match pem {
        Ok(pem) => pem,
        Err(source) => return Err(IdentityError::DamagedKey { path, source }),
    };
    atomic::create(dir, NAME, pem.as_bytes())
        .map_err(IdentityError::io("write the key file", &path))?;
    Ok(SigningKey::from_bytes(&secret))
}
