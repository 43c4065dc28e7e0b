//! `NAME.so.sig`: who says that a plugin file is what it says it is.
//!
//! ```text
//! aegis-plugin-signature-v1
//! plugin: hello
//! version: 0.1.0
//! sha256: <64 hexadecimal digits: of the file>
//! key: <64 hexadecimal digits: SHA-256 of the 32 bytes of the public key>
//! signature: <base64 of 64 bytes>
//! ```
//!
//! The Ed25519 signature is over the bytes of the first five lines, each with
//! its line feed. The first one says what is signed, so that no signature made
//! for another purpose fits here, and none made here fits elsewhere.

use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signer, SigningKey};

use super::{PublicKey, Subject};
use crate::loader::Digest;

/// What follows a library's name in that of its signature.
pub const SIGNATURE_SUFFIX: &str = ".sig";

/// Id and version of a manifest have 64 and 256 bytes at the most.
pub(crate) const MAX_SIGNATURE_BYTES: u64 = 1024;

const PURPOSE: &str = "aegis-plugin-signature-v1";

/// A signature file of the right form. Whether it holds is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignatureFile<'a> {
    plugin: &'a str,
    version: &'a str,
    digest: &'a str,
    key: &'a str,
    statement: &'a [u8],
    signature: [u8; 64],
}

/// What is wrong with a signature file; said of it, as in "it is not text".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureFault {
    #[error("is not text")]
    NotText,
    #[error("has another line {line} than `{expected}`")]
    Line { line: usize, expected: &'static str },
    #[error("ends within line {line}")]
    Cut { line: usize },
    #[error("goes on after line 6")]
    Trailing,
    #[error("is for the plugin {said:?}, and the file is {is:?}")]
    OtherPlugin { said: String, is: String },
    #[error("is for version {said:?}, and the file is version {is:?}")]
    OtherVersion { said: String, is: String },
    #[error("is for a file whose SHA-256 is {said}, and this one's is {is}")]
    OtherBytes { said: String, is: String },
    #[error("does not hold: the key {key} did not sign these lines")]
    Wrong { key: Digest },
}

impl<'a> SignatureFile<'a> {
    /// Takes exactly the form above and nothing that merely looks like it.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, SignatureFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| SignatureFault::NotText)?;
        let mut rest = text;
        let mut number = 0;
        let mut line = |start: &str, expected| -> Result<&'a str, SignatureFault> {
            number += 1;
            let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
            let ended = line.len() < rest.len();
            let value = line
                .strip_prefix(start)
                .filter(|value| !value.chars().any(char::is_control));
            if !ended && (value.is_some() || start.starts_with(line)) {
                return Err(SignatureFault::Cut { line: number });
            }
            rest = after;
            value.ok_or(SignatureFault::Line {
                line: number,
                expected,
            })
        };
        let malformed = |line, expected| SignatureFault::Line { line, expected };
        if !line(PURPOSE, PURPOSE)?.is_empty() {
            return Err(malformed(1, PURPOSE));
        }
        let plugin = line("plugin: ", "plugin: NAME")?;
        let version = line("version: ", "version: VERSION")?;
        let digest = line("sha256: ", DIGEST_LINE)?;
        let key = line("key: ", KEY_LINE)?;
        let encoded = line("signature: ", SIGNATURE_LINE)?;
        if !rest.is_empty() {
            return Err(SignatureFault::Trailing);
        }
        for (number, value, expected) in [(4, digest, DIGEST_LINE), (5, key, KEY_LINE)] {
            if !is_digest(value) {
                return Err(malformed(number, expected));
            }
        }
        let signature = BASE64_STANDARD
            .decode(encoded)
            .ok()
            .and_then(|bytes| <[u8; 64]>::try_from(bytes).ok())
            .ok_or_else(|| malformed(6, SIGNATURE_LINE))?;
        let signed = text.len() - "signature: ".len() - encoded.len() - "\n".len();
        Ok(Self {
            plugin,
            version,
            digest,
            key,
            statement: &bytes[..signed],
            signature,
        })
    }

    /// Whether it is about this file and no other.
    pub(crate) fn is_about(&self, file: &Subject<'_>) -> Result<(), SignatureFault> {
        let other = |said: &str, is: &str| (said != is).then(|| (said.to_owned(), is.to_owned()));
        if let Some((said, is)) = other(self.plugin, file.id) {
            return Err(SignatureFault::OtherPlugin { said, is });
        }
        if let Some((said, is)) = other(self.version, file.version) {
            return Err(SignatureFault::OtherVersion { said, is });
        }
        match other(self.digest, &file.digest.to_string()) {
            Some((said, is)) => Err(SignatureFault::OtherBytes { said, is }),
            None => Ok(()),
        }
    }

    /// The fingerprint of the key that it claims to be by.
    pub(crate) const fn key(&self) -> &'a str {
        self.key
    }

    /// Whether that key made it. `key` is the one it names.
    pub(crate) fn holds(&self, key: &PublicKey) -> Result<(), SignatureFault> {
        if key.verifies(self.statement, &self.signature) {
            Ok(())
        } else {
            Err(SignatureFault::Wrong {
                key: *key.fingerprint(),
            })
        }
    }
}

const DIGEST_LINE: &str = "sha256: 64 digits of 0-9 a-f";
const KEY_LINE: &str = "key: 64 digits of 0-9 a-f";
const SIGNATURE_LINE: &str = "signature: the base64 of 64 bytes";

/// Lower case alone: the lines have one form.
fn is_digest(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The whole signature file.
pub(super) fn sign(key: &SigningKey, file: &Subject<'_>) -> String {
    let fingerprint = Digest::of(key.verifying_key().as_bytes());
    let statement = format!(
        "{PURPOSE}\nplugin: {}\nversion: {}\nsha256: {}\nkey: {fingerprint}\n",
        file.id, file.version, file.digest
    );
    let signature = BASE64_STANDARD.encode(key.sign(statement.as_bytes()).to_bytes());
    format!("{statement}signature: {signature}\n")
}

#[cfg(test)]
mod tests;
