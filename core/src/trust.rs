//! Which plugin files are let in, and who says so.
//!
//! Every policy asks that directory and file belong to root or to the worker's
//! user and that nobody else can write them; the loader checks that on the
//! opened file. This module adds what the config says of digests and keys, and
//! what a signature file beside the library says.

mod public_key;
mod signature;
mod signing;

use serde::Serialize;

pub use crate::key_pem::MakeKeyError;
pub use public_key::{PublicKey, PublicKeyError};
pub(crate) use signature::MAX_SIGNATURE_BYTES;
pub use signature::SIGNATURE_SUFFIX;
pub use signing::{Signed, SigningError, SigningKeyFile, create_key, sign};

use crate::{
    config::model::{PluginsConfig, Trust},
    loader::{BesideIt, Check, Digest, Refusal},
};
use signature::{SignatureFault, SignatureFile};

/// What is known of a file when it is decided whether to let it in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) id: &'a str,
    pub(crate) version: &'a str,
    pub(crate) digest: &'a Digest,
}

/// A file that was let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Admission {
    /// By what.
    pub by: TrustedBy,
    /// Said of the file, as in "its SHA-256 is listed in `[plugins.hello]`".
    pub reason: String,
}

/// What let a file in, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustedBy {
    /// Owner and mode alone.
    Owner,
    /// A signature by a key of the config.
    Signed,
    /// Its digest in the config.
    Pinned,
}

impl TrustedBy {
    /// Its name in tables and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Signed => "signed",
            Self::Pinned => "pinned",
        }
    }
}

/// Lets a file in, or not. A revoked digest, a bad signature and digests in
/// `[plugins.NAME]` bind under every policy.
///
/// # Errors
///
/// [`Check::Trust`].
pub(crate) fn admit(
    plugins: &PluginsConfig,
    file: &Subject<'_>,
    signature: &BesideIt,
) -> Result<Admission, Refusal> {
    let Subject { id, digest, .. } = file;
    if plugins.revoked.contains(digest.as_bytes()) {
        return Err(Refusal::new(
            Check::Trust,
            format!("its SHA-256 is {digest}, which plugins.revoked lists"),
            "remove the file, or put another version of the plugin in its place",
        ));
    }
    let signer = signer(plugins, file, signature)?;
    let pins = plugins
        .by_name
        .get(*id)
        .map(|config| config.sha256.as_slice())
        .unwrap_or_default();
    if pins.contains(digest.as_bytes()) {
        return Ok(Admission {
            by: TrustedBy::Pinned,
            reason: format!("its SHA-256 is listed in [plugins.{id}]"),
        });
    }
    if !pins.is_empty() {
        return Err(Refusal::new(
            Check::Trust,
            format!("its SHA-256 is {digest}, and [plugins.{id}] lists another under sha256"),
            "put the listed file back, or review this one and list its digest",
        ));
    }
    match (plugins.trust, signer) {
        (Trust::Owner | Trust::Signed, Signer::Listed(key)) => Ok(Admission {
            by: TrustedBy::Signed,
            reason: format!("it is signed by the key {key} of plugins.keys"),
        }),
        (Trust::Owner, Signer::Nobody) => Ok(Admission {
            by: TrustedBy::Owner,
            reason: "nobody but root and the worker's user can write it".to_owned(),
        }),
        (Trust::Owner, Signer::Unknown(key)) => Ok(Admission {
            by: TrustedBy::Owner,
            reason: format!(
                "nobody but root and the worker's user can write it; the key {key}, which its \
                 signature names, is not in plugins.keys"
            ),
        }),
        (Trust::Signed, Signer::Nobody) => Err(Refusal::new(
            Check::Trust,
            "plugins.trust is \"signed\", and there is no signature file beside it",
            format!(
                "put the file with its name and {SIGNATURE_SUFFIX} beside it, as `aegis-worker \
                 plugins sign` writes it, or review the file and add sha256 = \"{digest}\" to \
                 [plugins.{id}]"
            ),
        )),
        (Trust::Signed, Signer::Unknown(key)) => Err(Refusal::new(
            Check::Trust,
            format!("it is signed by the key {key}, which is not in plugins.keys"),
            "add that key if it is one of yours; have the file signed with a listed key otherwise",
        )),
        (Trust::Pinned, _) => Err(Refusal::new(
            Check::Trust,
            format!("plugins.trust is \"pinned\", and [plugins.{id}] lists no sha256"),
            format!("review the file and add sha256 = \"{digest}\" to [plugins.{id}]"),
        )),
    }
}

/// Whose signature stands beside a file.
enum Signer {
    Nobody,
    /// A key of the config, and it did sign this file.
    Listed(Digest),
    /// No key of the config: nothing can be said of the signature but whom it
    /// names.
    Unknown(String),
}

fn signer(
    plugins: &PluginsConfig,
    file: &Subject<'_>,
    signature: &BesideIt,
) -> Result<Signer, Refusal> {
    const REMEDY: &str = "put the signature file that belongs to this file beside it, or remove \
                          both and find out who changed them";
    let bytes = match signature {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Signer::Nobody),
        Err(refusal) => {
            return Err(Refusal::new(
                Check::Trust,
                format!("of its signature file: {}", refusal.reason),
                "make it a small file that only root or the worker's user can write, or remove it",
            ));
        }
    };
    let bad = |fault: SignatureFault| {
        Refusal::new(Check::Trust, format!("its signature file {fault}"), REMEDY)
    };
    let signature = SignatureFile::parse(bytes).map_err(bad)?;
    signature.is_about(file).map_err(bad)?;
    let key = plugins
        .keys
        .iter()
        .find(|key| key.fingerprint().to_string() == signature.key());
    match key {
        Some(key) => {
            signature.holds(key).map_err(bad)?;
            Ok(Signer::Listed(*key.fingerprint()))
        }
        None => Ok(Signer::Unknown(signature.key().to_owned())),
    }
}

#[cfg(test)]
mod tests;
