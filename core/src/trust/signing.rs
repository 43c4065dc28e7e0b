//! What a plugin's author or releaser does: make a key, sign a file.

use std::{
    io,
    path::{Path, PathBuf},
};

use ed25519_dalek::{
    SigningKey,
    pkcs8::{EncodePublicKey, spki::der::pem::LineEnding},
};

use super::{PublicKey, SIGNATURE_SUFFIX, Subject, signature};
use crate::{
    key_pem::{self, MakeKeyError, ReadKeyError},
    loader::{self, Digest, Refusal},
    whole_file,
};

/// What follows a private key's name in that of the public one.
const PUBLIC_SUFFIX: &str = ".pub";

/// A key that was made, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeyFile {
    /// PKCS#8 in PEM, 0600.
    pub private: PathBuf,
    /// SPKI in PEM, for nodes and for openssl.
    pub public: PathBuf,
    /// The key itself.
    pub key: PublicKey,
}

/// A file that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The plugin's name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// Of the library.
    pub digest: Digest,
    /// Who signed it.
    pub key: PublicKey,
    /// Where the signature is.
    pub signature: PathBuf,
}

/// Why there is no key or no signature.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// There is a file of that name.
    #[error("{} exists already, and a key is never overwritten: name another file with --out", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No key can be made.
    #[error("cannot make a key")]
    Make(#[source] MakeKeyError),
    /// The private key cannot be read.
    #[error("cannot read the key {}", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others can read the private key.
    #[error(
        "the key file {} is open to others (mode {mode:o}): run `chmod 600` on it; if somebody \
         else may have read it, make another key and take this one out of every plugins.keys",
        path.display()
    )]
    OpenKey {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds no key of this kind.
    #[error(
        "{} holds no Ed25519 private key in PKCS#8 PEM without a passphrase: name the file that \
         `aegis-worker plugins keygen` or `openssl genpkey -algorithm ed25519` wrote",
        path.display()
    )]
    NoKey {
        /// Which.
        path: PathBuf,
        /// What the decoder says.
        #[source]
        source: ed25519_dalek::pkcs8::Error,
    },
    /// What is to be signed is no sound plugin.
    #[error("{} is not signed", path.display())]
    Plugin {
        /// Which.
        path: PathBuf,
        /// The check that failed.
        #[source]
        source: Refusal,
    },
}

/// Makes a key, its file at `private` and that of its public half beside it.
///
/// # Errors
///
/// Either file exists or cannot be written.
pub fn create_key(private: &Path) -> Result<SigningKeyFile, SigningError> {
    let public = with_suffix(private, PUBLIC_SUFFIX);
    if public.symlink_metadata().is_ok() {
        return Err(SigningError::Exists(public));
    }
    let (key, pem) = key_pem::make().map_err(SigningError::Make)?;
    let public_pem = key
        .verifying_key()
        .to_public_key_pem(LineEnding::LF)
        .map_err(|source| SigningError::Make(MakeKeyError::Encode(source.into())))?;
    let failed = |path: &Path, source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => SigningError::Exists(path.to_owned()),
        _ => SigningError::Write {
            path: path.to_owned(),
            source,
        },
    };
    whole_file::create(private, 0o600, pem.as_bytes()).map_err(|source| failed(private, source))?;
    whole_file::create(&public, 0o644, public_pem.as_bytes())
        .map_err(|source| failed(&public, source))?;
    Ok(SigningKeyFile {
        private: private.to_owned(),
        public,
        key: PublicKey::of(key.verifying_key()),
    })
}

/// Signs the library `plugin` with the key in the file `key`. The signature
/// goes to `out`, or beside the library, in the place of an older one.
///
/// The library may be for another machine than this one.
///
/// # Errors
///
/// The key cannot be used, the library is no sound plugin, or the signature
/// cannot be written.
pub fn sign(key: &Path, plugin: &Path, out: Option<&Path>) -> Result<Signed, SigningError> {
    let private = read_key(key)?;
    let (digest, manifest) = loader::declared(plugin).map_err(|source| SigningError::Plugin {
        path: plugin.to_owned(),
        source,
    })?;
    let text = signature::sign(
        &private,
        &Subject {
            id: &manifest.id,
            version: &manifest.version,
            digest: &digest,
        },
    );
    let signature = out.map_or_else(|| with_suffix(plugin, SIGNATURE_SUFFIX), Path::to_owned);
    whole_file::replace(&signature, 0o644, text.as_bytes()).map_err(|source| {
        SigningError::Write {
            path: signature.clone(),
            source,
        }
    })?;
    Ok(Signed {
        plugin: manifest.id,
        version: manifest.version,
        digest,
        key: PublicKey::of(private.verifying_key()),
        signature,
    })
}

fn read_key(path: &Path) -> Result<SigningKey, SigningError> {
    let path = path.to_owned();
    key_pem::read(&path).map_err(|error| match error {
        ReadKeyError::Io(source) => SigningError::Key { path, source },
        ReadKeyError::Open(mode) => SigningError::OpenKey { path, mode },
        ReadKeyError::Damaged(source) => SigningError::NoKey { path, source },
    })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_read_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let private = directory.path().join("release.key");
        let made = create_key(&private).expect("a key");
        let mode = private.metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let configured = PublicKey::configured(made.public.to_str().expect("UTF-8"));
        assert_eq!(configured.expect("a key"), made.key);
        assert_eq!(
            PublicKey::of(read_key(&private).expect("read").verifying_key()),
            made.key
        );

        let before = fs::read(&private).expect("there");
        let again = create_key(&private).expect_err("there is one");
        assert!(matches!(again, SigningError::Exists(_)), "{again}");
        fs::remove_file(&made.public).expect("removed");
        let again = create_key(&private).expect_err("there is one");
        assert!(matches!(again, SigningError::Exists(_)), "{again}");
        assert_eq!(fs::read(&private).expect("there"), before);
    }

    #[test]
    fn a_key_that_others_can_read_signs_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let private = directory.path().join("release.key");
        let made = create_key(&private).expect("a key");
        fs::set_permissions(&private, fs::Permissions::from_mode(0o640)).expect("changed");
        let error = read_key(&private).expect_err("open");
        assert!(
            matches!(error, SigningError::OpenKey { mode: 0o640, .. }),
            "{error}"
        );
        let error = read_key(&made.public).expect_err("a public key, 0644");
        assert!(matches!(error, SigningError::OpenKey { .. }), "{error}");
    }

    #[test]
    fn what_is_no_plugin_is_not_signed() {
        let directory = tempfile::tempdir().expect("a directory");
        let private = directory.path().join("release.key");
        create_key(&private).expect("a key");
        let library = directory.path().join("bad.so");
        fs::write(&library, "hello").expect("a file");
        let error = sign(&private, &library, None).expect_err("no library");
        assert!(matches!(error, SigningError::Plugin { .. }), "{error}");
        assert!(!directory.path().join("bad.so.sig").exists());
    }
}
