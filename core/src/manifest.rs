//! Reads what a plugin file says of itself, without running any of it.
//!
//! The bytes come from anywhere: every function here takes hostile input and
//! answers with a manifest or with the check that failed.

mod image;
mod rules;
mod section;

use aegis_plugin_api::manifest::{MAX_MANIFEST_BYTES, Manifest};
use serde_json::Value;

pub use image::Image;
pub(crate) use rules::{HostInterface, check_declarations, check_panic, is_name};

use crate::loader::{Check, Refusal};

/// The version of the manifest's layout that this worker reads.
const LAYOUT: u64 = 1;

const REBUILD: &str = "build the plugin again with a current plugin API";

/// A manifest and the very bytes that it was read from.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadManifest {
    /// What it says.
    pub manifest: Manifest,
    /// The JSON document, without its NUL.
    pub text: Vec<u8>,
}

/// Reads and checks the manifest of a whole library file.
///
/// # Errors
///
/// The first check from [`Check::Format`] to [`Check::Symbol`] that fails,
/// but for [`Check::Panic`], which depends on the placement.
pub fn read(bytes: &[u8]) -> Result<ReadManifest, Refusal> {
    let image = Image::parse(bytes)?;
    image.check_host()?;
    let text = image.manifest_text()?;
    let manifest = decode(text)?;
    check(&manifest)?;
    image.check_symbol(&manifest)?;
    Ok(ReadManifest {
        manifest,
        text: text.to_vec(),
    })
}

/// Decodes a manifest. What it declares is not yet checked.
///
/// # Errors
///
/// [`Check::Manifest`]; [`Check::Abi`] where it was built for an ABI whose
/// manifests may look different.
pub fn decode(text: &[u8]) -> Result<Manifest, Refusal> {
    let fail = |reason: String| Refusal::new(Check::Manifest, reason, REBUILD);
    if text.len() > MAX_MANIFEST_BYTES {
        return Err(fail(format!(
            "the manifest has {} bytes, more than the {MAX_MANIFEST_BYTES} that are read",
            text.len()
        )));
    }
    let text = std::str::from_utf8(text).map_err(|error| {
        fail(format!(
            "the manifest is not UTF-8 at byte {}",
            error.valid_up_to()
        ))
    })?;
    let document: Value = serde_json::from_str(text)
        .map_err(|error| fail(format!("the manifest is not JSON: {error}")))?;
    match document.get("manifest").and_then(Value::as_u64) {
        Some(LAYOUT) => {}
        Some(other) => {
            return Err(Refusal::new(
                Check::Manifest,
                format!("the manifest has layout {other}, and this worker reads layout {LAYOUT}"),
                "use a worker and a plugin API of the same release",
            ));
        }
        None => return Err(fail("the manifest has no number under `manifest`".into())),
    }
    if let Some(major) = document.pointer("/abi/major").and_then(Value::as_u64) {
        rules::check_major(major)?;
    }
    // From the text again: a `Value` has already forgotten doubled keys.
    serde_json::from_str(text).map_err(|error| fail(format!("the manifest is malformed: {error}")))
}

/// Checks all that a manifest declares against this host.
///
/// # Errors
///
/// The first check from [`Check::Declarations`] to [`Check::Abi`] that fails.
/// `check_panic` is apart.
pub fn check(manifest: &Manifest) -> Result<(), Refusal> {
    check_each(manifest)
        .into_iter()
        .find_map(|(_, result)| result.err())
        .map_or(Ok(()), Err)
}

/// The same, each check on its own.
pub fn check_each(manifest: &Manifest) -> [(Check, Result<(), Refusal>); 3] {
    [
        (Check::Declarations, check_declarations(manifest)),
        (Check::Target, rules::check_target(&manifest.target)),
        (Check::Abi, rules::check_abi(manifest)),
    ]
}
