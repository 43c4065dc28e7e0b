//! A key whose signatures let plugin files in.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signature, VerifyingKey, pkcs8::DecodePublicKey};

use crate::loader::{Digest, Directory};

/// What a key that is written out in the config begins with.
const INLINE: &str = "ed25519:";

/// A PEM with an Ed25519 public key has 113 bytes.
const MAX_FILE_BYTES: u64 = 4096;

/// An Ed25519 public key that is no weak one.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    fingerprint: Digest,
}

/// Why something is no key to trust.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// Neither of the two forms.
    #[error(
        "{0:?} is no key: write the absolute path of a PEM file, or \"ed25519:\" and the base64 of \
         the 32 bytes of the key"
    )]
    Form(String),
    /// What follows `ed25519:` is not the base64 of 32 bytes.
    #[error(
        "{0:?} is not \"ed25519:\" and the base64 of 32 bytes: copy the line that \
         `aegis-worker plugins keygen` printed, or name the PEM file"
    )]
    Inline(String),
    /// The file or its directory is not there, or others could change it.
    #[error(
        "the key {} cannot be used: {reason}; whoever can write it decides which plugins run, so \
         file and directory have to be there and to be writable by root or the worker's user alone",
        path.display()
    )]
    File {
        /// As configured.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It holds the other half.
    #[error(
        "{} holds a private key: take it off this node, and name the file of the public key, as \
         `openssl pkey -in KEY -pubout` writes it",
        .0.display()
    )]
    Private(PathBuf),
    /// It holds something else.
    #[error(
        "{} holds no Ed25519 public key in PEM: name a file that `aegis-worker plugins keygen` or \
         `openssl pkey -pubout` wrote",
        .0.display()
    )]
    NotPem(PathBuf),
    /// Anyone can make signatures that it verifies.
    #[error(
        "{0:?} is a weak key, under which anyone can sign: make one with `aegis-worker plugins keygen`"
    )]
    Weak(String),
}

impl PublicKey {
    /// As the config has it: the absolute path of a PEM file, or the key itself
    /// after `ed25519:`.
    ///
    /// # Errors
    ///
    /// It is neither, the file cannot be used, or the key is weak.
    pub fn configured(text: &str) -> Result<Self, PublicKeyError> {
        if let Some(encoded) = text.strip_prefix(INLINE) {
            let malformed = || PublicKeyError::Inline(text.to_owned());
            let bytes = BASE64_STANDARD.decode(encoded).map_err(|_| malformed())?;
            let bytes = <[u8; 32]>::try_from(bytes).map_err(|_| malformed())?;
            let key = VerifyingKey::from_bytes(&bytes).map_err(|_| malformed())?;
            return Self::sound(key, text);
        }
        let path = Path::new(text);
        if !path.is_absolute() {
            return Err(PublicKeyError::Form(text.to_owned()));
        }
        let pem = read(path)?;
        if pem.contains("PRIVATE KEY-----") {
            return Err(PublicKeyError::Private(path.to_owned()));
        }
        let key = VerifyingKey::from_public_key_pem(pem.trim_end())
            .map_err(|_| PublicKeyError::NotPem(path.to_owned()))?;
        Self::sound(key, text)
    }

    fn sound(key: VerifyingKey, text: &str) -> Result<Self, PublicKeyError> {
        if key.is_weak() {
            return Err(PublicKeyError::Weak(text.to_owned()));
        }
        Ok(Self::of(key))
    }

    pub(super) fn of(key: VerifyingKey) -> Self {
        Self {
            key,
            fingerprint: Digest::of(key.as_bytes()),
        }
    }

    /// SHA-256 of the 32 bytes of the key: what signature files name it by.
    pub const fn fingerprint(&self) -> &Digest {
        &self.fingerprint
    }

    pub(super) fn verifies(&self, statement: &[u8], signature: &[u8; 64]) -> bool {
        self.key
            .verify_strict(statement, &Signature::from_bytes(signature))
            .is_ok()
    }
}

/// As the config can have it: `ed25519:` and base64.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{INLINE}{}", BASE64_STANDARD.encode(self.key.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn read(path: &Path) -> Result<String, PublicKeyError> {
    let unusable = |reason: String| PublicKeyError::File {
        path: path.to_owned(),
        reason,
    };
    let (Some(parent), Some(name)) = (
        path.parent(),
        path.file_name().and_then(|name| name.to_str()),
    ) else {
        return Err(unusable("its path does not end in a name".to_owned()));
    };
    let directory = Directory::open(parent)
        .map_err(|refusal| unusable(format!("of its directory, {}", refusal.reason)))?;
    let bytes = directory
        .read_small(name, MAX_FILE_BYTES)
        .map_err(|refusal| unusable(refusal.reason))?
        .ok_or_else(|| unusable("there is no such file".to_owned()))?;
    String::from_utf8(bytes).map_err(|_| PublicKeyError::NotPem(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use ed25519_dalek::{SigningKey, pkcs8::EncodePublicKey};

    use super::*;

    fn key() -> VerifyingKey {
        SigningKey::from_bytes(&[7; 32]).verifying_key()
    }

    fn pem() -> String {
        key()
            .to_public_key_pem(ed25519_dalek::pkcs8::spki::der::pem::LineEnding::LF)
            .expect("encoded")
    }

    fn file(content: &str) -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("release.pub");
        fs::write(&path, content).expect("a file");
        let path = path.to_str().expect("UTF-8").to_owned();
        (directory, path)
    }

    #[test]
    fn a_key_is_the_same_inline_and_from_a_file() {
        let (_directory, path) = file(&pem());
        let from_file = PublicKey::configured(&path).expect("a key");
        let inline = PublicKey::configured(&from_file.to_string()).expect("a key");
        assert_eq!(from_file, inline);
        assert_eq!(from_file.fingerprint(), &Digest::of(key().as_bytes()));
    }

    #[test]
    fn what_is_no_key_is_told_by_what_it_is() {
        let encode = |bytes: &[u8]| format!("{INLINE}{}", BASE64_STANDARD.encode(bytes));
        let refused = |text: &str| PublicKey::configured(text).expect_err(text);
        assert!(matches!(refused("release.pub"), PublicKeyError::Form(_)));
        assert!(matches!(refused("ed25519:@@"), PublicKeyError::Inline(_)));
        assert!(matches!(
            refused(&encode(&[7; 31])),
            PublicKeyError::Inline(_)
        ));
        // The identity point, under which a signature of zeroes verifies.
        let mut identity = [0; 32];
        identity[0] = 1;
        assert!(matches!(
            refused(&encode(&identity)),
            PublicKeyError::Weak(_)
        ));
        assert!(matches!(
            refused("/nowhere/at/all.pub"),
            PublicKeyError::File { .. }
        ));
        for (content, private) in [
            ("", false),
            (
                "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
                false,
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                true,
            ),
        ] {
            let (_directory, path) = file(content);
            assert_eq!(
                matches!(refused(&path), PublicKeyError::Private(_)),
                private,
                "{content}"
            );
        }
    }

    #[test]
    fn a_key_file_that_others_can_write_is_no_key() {
        let (directory, path) = file(&pem());
        for (changed, mode) in [(Path::new(&path), 0o666), (directory.path(), 0o777)] {
            let before = fs::metadata(changed).expect("there").permissions();
            fs::set_permissions(changed, fs::Permissions::from_mode(mode)).expect("changed");
            let error = PublicKey::configured(&path).expect_err("writable");
            assert!(error.to_string().contains("writable"), "{error}");
            fs::set_permissions(changed, before).expect("changed back");
        }
        PublicKey::configured(&path).expect("a key again");
    }
}
