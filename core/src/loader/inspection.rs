//! Everything that can be said of a plugin file without running it.

use std::path::{Path, PathBuf};

use aegis_plugin_api::manifest::Manifest;
use serde::Serialize;

use super::{BesideIt, Check, Digest, Directory, Refusal, parts, read_signature};
use crate::{
    config::model::PluginsConfig,
    manifest::{self, Image},
    placement,
    plugin::Placement,
    trust::{self, Admission, Subject, TrustedBy},
};

/// What `aegis-worker plugins inspect FILE` shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// As given.
    pub file: PathBuf,
    /// If it could be read.
    pub bytes: Option<u64>,
    /// If it could be read.
    pub sha256: Option<Digest>,
    /// If it could be read, sound or not.
    pub manifest: Option<Manifest>,
    /// What lets it in, if all that concerns trust is in order.
    pub trust: Option<Admission>,
    /// Where it would run, if its manifest could be read.
    pub placement: Option<Placement>,
    /// Every check of [`Check::STATIC`], in order.
    pub checks: Vec<CheckResult>,
}

/// What came of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// Which.
    pub check: Check,
    /// Whether it was made and passed.
    pub passed: bool,
    /// Why it failed; `None` if it passed, or if an earlier failure left
    /// nothing to check.
    pub refusal: Option<Refusal>,
}

impl Inspection {
    /// The first failure.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.checks.iter().find_map(|check| check.refusal.as_ref())
    }

    fn note<T>(&mut self, check: Check, result: Result<T, Refusal>) -> Option<T> {
        let entry = self.checks.iter_mut().find(|entry| entry.check == check)?;
        match result {
            Ok(value) => {
                entry.passed = entry.refusal.is_none();
                Some(value)
            }
            // A check may find that a later one fails; that is where it is noted.
            Err(refusal) if refusal.check != check => self.note(refusal.check, Err(refusal)),
            Err(refusal) => {
                entry.passed = false;
                entry.refusal = Some(refusal);
                None
            }
        }
    }
}

/// Makes every check of `file` that needs no running code, and does not stop
/// at the first that fails.
pub fn inspect(file: &Path, plugins: &PluginsConfig) -> Inspection {
    let mut inspection = Inspection {
        file: file.to_owned(),
        bytes: None,
        sha256: None,
        manifest: None,
        trust: None,
        placement: None,
        checks: Check::STATIC
            .map(|check| CheckResult {
                check,
                passed: false,
                refusal: None,
            })
            .to_vec(),
    };
    if let Some((bytes, signature)) = read(file, &mut inspection) {
        inspect_bytes(&bytes, &signature, plugins, &mut inspection);
    }
    inspection
}

fn read(file: &Path, inspection: &mut Inspection) -> Option<(Vec<u8>, BesideIt)> {
    let (parent, name) = inspection.note(Check::File, parts(file))?;
    let opened = match Directory::open_any(parent) {
        Ok((directory, ownership)) => {
            inspection.note(Check::Directory, ownership);
            Ok(directory)
        }
        Err(refusal) => Err(refusal),
    };
    let directory = inspection.note(Check::Directory, opened)?;
    let (bytes, checked) = match directory.read_any(name) {
        Ok(read) => read,
        Err(refusal) => return inspection.note(Check::File, Err(refusal)),
    };
    inspection.note(Check::File, checked);
    Some((bytes, read_signature(&directory, name)))
}

fn inspect_bytes(
    bytes: &[u8],
    signature: &BesideIt,
    plugins: &PluginsConfig,
    inspection: &mut Inspection,
) {
    let digest = Digest::of(bytes);
    inspection.bytes = Some(bytes.len() as u64);
    inspection.sha256 = Some(digest);
    let Some(image) = inspection.note(Check::Format, Image::parse(bytes)) else {
        return;
    };
    inspection.note(Check::Format, image.check_host());
    let decoded = image.manifest_text().and_then(manifest::decode);
    let Some(manifest) = inspection.note(Check::Manifest, decoded) else {
        return;
    };
    for (check, result) in manifest::check_each(&manifest) {
        inspection.note(check, result);
    }
    inspection.note(Check::Symbol, image.check_symbol(&manifest));
    let subject = Subject {
        id: &manifest.id,
        version: &manifest.version,
        digest: &digest,
    };
    inspection.trust = inspection.note(Check::Trust, trust::admit(plugins, &subject, signature));
    // Of a file that is not let in, where it would run as any other.
    let by = inspection
        .trust
        .as_ref()
        .map_or(TrustedBy::Owner, |admission| admission.by);
    let placed = placement::decide(plugins, &manifest.id, by);
    inspection.note(
        Check::Panic,
        manifest::check_panic(&manifest, placed.placement),
    );
    inspection.placement = Some(placed.placement);
    inspection.manifest = Some(manifest);
}
