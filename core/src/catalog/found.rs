//! Every plugin that there is: linked in, or a file in a directory.

use std::path::Path;

use aegis_plugin_api::{BuiltIn, manifest::Manifest};

use super::CatalogError;
use crate::{
    config::model::PluginsConfig,
    loader::{self, Directory, PluginFile, Refusal},
    manifest,
    placement::{self, PlacementRule},
    plugin::{Descriptor, Placement, PluginInfo, PluginState},
    trust::{self, Subject},
};

/// A plugin, as far as it is known.
#[derive(Debug)]
pub(super) struct Found {
    /// `Active` as long as nothing speaks against it.
    pub(super) info: PluginInfo,
    /// `None` if it is unsound or cannot be read.
    pub(super) manifest: Option<Manifest>,
    /// `None` if it will not be started.
    pub(super) source: Option<Source>,
}

/// What it is started from.
#[derive(Debug)]
pub(super) enum Source {
    Linked(Descriptor),
    File(Box<PluginFile>),
}

impl Found {
    pub(super) fn is_active(&self) -> bool {
        self.info.state == PluginState::Active
    }

    /// Leaves it out, and lets go of its file.
    pub(super) fn leave_out(&mut self, state: PluginState) {
        self.info.state = state;
        self.source = None;
    }

    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        self.leave_out(PluginState::Refused(refusal.to_string()));
    }
}

/// All plugins, built-in ones first, then files in the order of the
/// directories and of their names.
pub(super) fn gather(plugins: &PluginsConfig) -> Vec<Found> {
    let mut found: Vec<Found> = inventory::iter::<BuiltIn>.into_iter().map(linked).collect();
    found.sort_by(|a, b| a.info.name.cmp(&b.info.name));
    for (index, directory) in plugins.dirs.iter().enumerate() {
        if !plugins.dirs[..index].contains(directory) {
            gather_files(directory, plugins, &mut found);
        }
    }
    found
}

/// Whether all of `expected` are linked in.
pub(super) fn expect_built_ins(found: &[Found], expected: &[&str]) -> Result<(), CatalogError> {
    let linked = |name: &str| {
        found
            .iter()
            .any(|found| found.info.placement == Placement::BuiltIn && found.info.name == name)
    };
    let missing: Vec<String> = expected
        .iter()
        .filter(|name| !linked(name))
        .map(|name| (*name).to_owned())
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(CatalogError::NotLinked(missing))
    }
}

fn linked(built_in: &BuiltIn) -> Found {
    let mut info = PluginInfo {
        name: "(linked in)".to_owned(),
        version: String::new(),
        placement: Placement::BuiltIn,
        placed_by: PlacementRule::LinkedIn.to_string(),
        sha256: None,
        file: None,
        state: PluginState::Active,
        trust: "built-in".to_owned(),
        trust_reason: "it is part of the worker's program".to_owned(),
    };
    let read = || -> Result<(Descriptor, Manifest), Refusal> {
        let descriptor = Descriptor::linked(built_in.descriptor())?;
        let manifest = manifest::decode(descriptor.manifest())?;
        Ok((descriptor, manifest))
    };
    let (descriptor, manifest) = match read() {
        Ok(read) => read,
        Err(refusal) => {
            info.state = PluginState::Refused(refusal.to_string());
            return Found {
                info,
                manifest: None,
                source: None,
            };
        }
    };
    info.name.clone_from(&manifest.id);
    info.version.clone_from(&manifest.version);
    let checked = manifest::check(&manifest)
        .and_then(|()| manifest::check_panic(&manifest, Placement::BuiltIn))
        .and_then(|()| descriptor.agrees_with(&manifest, descriptor.manifest()));
    if let Err(refusal) = checked {
        info.state = PluginState::Refused(refusal.to_string());
        return Found {
            info,
            manifest: None,
            source: None,
        };
    }
    Found {
        info,
        manifest: Some(manifest),
        source: Some(Source::Linked(descriptor)),
    }
}

fn gather_files(path: &Path, plugins: &PluginsConfig, found: &mut Vec<Found>) {
    let listed = Directory::open(path).and_then(|directory| {
        let names = directory.libraries()?;
        Ok((directory, names))
    });
    match listed {
        Ok((directory, names)) => {
            found.extend(names.iter().map(|name| file(&directory, name, plugins)));
        }
        Err(refusal) => {
            let mut info = file_info(path);
            info.state = PluginState::Refused(refusal.to_string());
            found.push(Found {
                info,
                manifest: None,
                source: None,
            });
        }
    }
}

fn file(directory: &Directory, name: &str, plugins: &PluginsConfig) -> Found {
    let mut info = file_info(&directory.path().join(name));
    let file = match loader::examine(directory, name) {
        Ok(file) => file,
        Err(refused) => {
            info.sha256 = refused.digest.map(|digest| *digest.as_bytes());
            let named = |manifest: &Manifest| manifest::is_name(&manifest.id);
            if let Some(manifest) = refused.manifest.filter(|manifest| named(manifest)) {
                info.name = manifest.id;
                info.version = manifest.version;
            }
            info.state = PluginState::Refused(refused.refusal.to_string());
            return Found {
                info,
                manifest: None,
                source: None,
            };
        }
    };
    let manifest = file.manifest.clone();
    info.name.clone_from(&manifest.id);
    info.version.clone_from(&manifest.version);
    info.sha256 = Some(*file.digest.as_bytes());
    let subject = Subject {
        id: &manifest.id,
        version: &manifest.version,
        digest: &file.digest,
    };
    let admitted = trust::admit(plugins, &subject, &file.signature);
    let checked = admitted.and_then(|admission| {
        admission.by.as_str().clone_into(&mut info.trust);
        info.trust_reason = admission.reason;
        let placed = placement::decide(plugins, &manifest.id, admission.by);
        info.placement = placed.placement;
        info.placed_by = placed.rule.to_string();
        manifest::check_panic(&manifest, placed.placement)
    });
    match checked {
        Ok(()) => {
            let source = Some(Source::File(Box::new(file)));
            Found {
                info,
                manifest: Some(manifest),
                source,
            }
        }
        Err(refusal) => {
            info.state = PluginState::Refused(refusal.to_string());
            Found {
                info,
                manifest: Some(manifest),
                source: None,
            }
        }
    }
}

fn file_info(path: &Path) -> PluginInfo {
    let name = path
        .file_stem()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned();
    PluginInfo {
        name,
        version: String::new(),
        placement: Placement::InProcess,
        placed_by: String::new(),
        sha256: None,
        file: Some(path.to_owned()),
        state: PluginState::Active,
        trust: String::new(),
        trust_reason: String::new(),
    }
}
