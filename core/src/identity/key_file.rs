//! `identity.key`: the node's private key.

use std::{io, path::Path};

use ed25519_dalek::SigningKey;

use super::IdentityError;
use crate::{
    key_pem::{self, MakeKeyError, ReadKeyError},
    whole_file,
};

pub(super) const NAME: &str = "identity.key";

/// `None` where there is no such file.
pub(super) fn read(dir: &Path) -> Result<Option<SigningKey>, IdentityError> {
    let path = dir.join(NAME);
    match key_pem::read(&path) {
        Ok(key) => Ok(Some(key)),
        Err(ReadKeyError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(ReadKeyError::Io(error)) => Err(IdentityError::io("read the key file", path)(error)),
        Err(ReadKeyError::Open(mode)) => Err(IdentityError::OpenKey { path, mode }),
        Err(ReadKeyError::Damaged(source)) => Err(IdentityError::DamagedKey { path, source }),
    }
}

/// Makes a new key and its file.
pub(super) fn create(dir: &Path) -> Result<SigningKey, IdentityError> {
    let path = dir.join(NAME);
    let (key, pem) = key_pem::make().map_err(|error| match error {
        MakeKeyError::Random(source) => IdentityError::Random { source },
        MakeKeyError::Encode(source) => IdentityError::DamagedKey {
            path: path.clone(),
            source,
        },
    })?;
    whole_file::create(&path, 0o600, pem.as_bytes())
        .map_err(IdentityError::io("write the key file", path))?;
    Ok(key)
}
