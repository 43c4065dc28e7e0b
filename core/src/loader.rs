//! Finds plugin files and takes them as far as can be done without running
//! any of their code.
//!
//! Everything is checked on descriptors, not on paths: the file that was
//! checked is the one that was read, and what was read is what gets mapped.

mod digest;
mod directory;
mod inspection;
mod ownership;
mod refusal;
mod sealed;

use std::path::{Path, PathBuf};

use aegis_plugin_api::manifest::Manifest;

pub use digest::Digest;
pub use directory::Directory;
pub use inspection::{CheckResult, Inspection, inspect};
pub use refusal::{Check, Refusal};
pub(crate) use sealed::Sealed;

use crate::{
    manifest,
    trust::{MAX_SIGNATURE_BYTES, SIGNATURE_SUFFIX},
};

/// Bytes of the largest plugin file that is read.
pub const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// What libraries are called here. Other files of a directory are not looked at.
pub const LIBRARY_SUFFIX: &str = if cfg!(target_vendor = "apple") {
    ".dylib"
} else {
    ".so"
};

/// A plugin file whose content is in memory and whose manifest was checked.
#[derive(Debug)]
pub struct PluginFile {
    /// As found.
    pub path: PathBuf,
    /// Of exactly `bytes`.
    pub digest: Digest,
    /// The whole file.
    pub bytes: Vec<u8>,
    /// What it says of itself.
    pub manifest: Manifest,
    /// The manifest's very text, to be compared with the descriptor's.
    pub manifest_text: Vec<u8>,
    /// The signature file beside it, or why that cannot be read.
    pub signature: BesideIt,
}

/// The content of a signature file; `None` if there is none.
pub type BesideIt = Result<Option<Vec<u8>>, Refusal>;

/// A file that was not taken.
#[derive(Debug)]
pub struct RefusedFile {
    /// As found.
    pub path: PathBuf,
    /// If it could be read.
    pub digest: Option<Digest>,
    /// If it could be read.
    pub manifest: Option<Box<Manifest>>,
    /// Why.
    pub refusal: Refusal,
}

/// Reads the library `name` of an opened directory.
///
/// # Errors
///
/// The first check from [`Check::File`] to [`Check::Symbol`] that fails, with
/// what is known of the file.
pub fn examine(directory: &Directory, name: &str) -> Result<PluginFile, Box<RefusedFile>> {
    let path = directory.path().join(name);
    let refused = |digest, manifest, refusal| {
        Box::new(RefusedFile {
            path: path.clone(),
            digest,
            manifest,
            refusal,
        })
    };
    let bytes = directory
        .read(name)
        .map_err(|refusal| refused(None, None, refusal))?;
    let digest = Digest::of(&bytes);
    match manifest::read(&bytes) {
        Ok(read) => Ok(PluginFile {
            path,
            digest,
            bytes,
            manifest: read.manifest,
            manifest_text: read.text,
            signature: read_signature(directory, name),
        }),
        Err(refusal) => {
            let manifest = manifest::Image::parse(&bytes)
                .and_then(|image| manifest::decode(image.manifest_text()?))
                .ok()
                .map(Box::new);
            Err(refused(Some(digest), manifest, refusal))
        }
    }
}

/// The digest of any machine's library, and the manifest that it carries.
///
/// # Errors
///
/// It cannot be read, or its manifest or exported descriptor is unsound.
pub(crate) fn declared(file: &Path) -> Result<(Digest, Manifest), Refusal> {
    let (parent, name) = parts(file)?;
    let (directory, _) = Directory::open_any(parent)?;
    let (bytes, _) = directory.read_any(name)?;
    let image = manifest::Image::parse(&bytes)?;
    let manifest = manifest::decode(image.manifest_text()?)?;
    manifest::check_declarations(&manifest)?;
    image.check_symbol(&manifest)?;
    Ok((Digest::of(&bytes), manifest))
}

/// The directory of a file, and its name in there.
fn parts(file: &Path) -> Result<(&Path, &str), Refusal> {
    let parent = match file.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    match file.file_name().and_then(|name| name.to_str()) {
        Some(name) => Ok((parent, name)),
        None => Err(Refusal::new(
            Check::File,
            "its path does not end in a name",
            "name a file",
        )),
    }
}

/// What stands beside the library `name`, if anything does.
fn read_signature(directory: &Directory, name: &str) -> BesideIt {
    directory.read_small(&format!("{name}{SIGNATURE_SUFFIX}"), MAX_SIGNATURE_BYTES)
}
