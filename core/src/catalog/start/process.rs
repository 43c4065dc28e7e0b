//! Starts a plugin in a process of its own.

use std::{path::PathBuf, sync::Arc};

use serde_json::{Map, Value};

use super::{Source, complete, request_schemas};
use crate::{
    catalog::{CatalogOptions, found::Found, resolve::Claim},
    landlock::PathRules,
    loader::{Check, Refusal},
    plugin::{ChildPlugin, ChildSetup, HostInterfaces, PluginState, Running, executable_copy},
};

/// What a plugin is given in any placement.
pub(super) struct Start {
    /// `[plugins.NAME.config]`
    pub(super) config: Map<String, Value>,
    /// The node, a JSON object.
    pub(super) node: String,
    /// The plugin's own; it exists.
    pub(super) state_dir: PathBuf,
    /// What it was granted.
    pub(super) interfaces: Arc<dyn HostInterfaces>,
    /// After so many crashes in a row it is left alone; 0: never.
    pub(super) quarantine_after: u32,
}

/// Starts it and puts the schemas into its claims that its manifest leaves out.
pub(super) fn start(
    found: &mut Found,
    mut claims: Vec<&mut Claim>,
    options: &CatalogOptions,
    start: Start,
) -> Result<Arc<dyn Running>, PluginState> {
    let id = found.info.name.clone();
    let refused = |refusal: Refusal| PluginState::Refused(refusal.to_string());
    let program = options.plugin_host.clone().ok_or_else(|| {
        refused(Refusal::new(
            Check::Placement,
            "this program cannot start a process for it",
            format!("set placement = \"in-process\" under [plugins.{id}]"),
        ))
    })?;
    let (Some(Source::File(file)), Some(manifest)) = (found.source.take(), &found.manifest) else {
        return Err(PluginState::Refused(
            "there is no file to start it from".to_owned(),
        ));
    };
    let config = options
        .plugins
        .by_name
        .get(&id)
        .map(|config| &config.process);
    let config = config.cloned().unwrap_or_default();
    let library = executable_copy(&file.bytes, &options.state_dir).map_err(refused)?;
    let setup = ChildSetup {
        program,
        library,
        symbol: manifest.symbol.clone(),
        manifest: file.manifest_text,
        config: start.config,
        node: start.node,
        confinement: config.confinement(&id).map_err(refused)?,
        paths: PathRules {
            read: config.read,
            write: config.write,
            ..PathRules::new(&options.state_dir, &start.state_dir)
        },
        state_dir: start.state_dir,
        interfaces: start.interfaces,
        request_schemas: request_schemas(manifest),
        missing_schemas: claims
            .iter()
            .filter(|claim| {
                claim.info.request_schema.is_none() || claim.info.response_schema.is_none()
            })
            .map(|claim| claim.index)
            .collect(),
        quarantine_after: start.quarantine_after,
        id,
    };
    let (plugin, schemas) = ChildPlugin::start(setup).map_err(|error| {
        let text = format!("{}; {}", error.reason, error.remedy);
        if error.unmapped {
            PluginState::Refused(text)
        } else {
            PluginState::Failed(text)
        }
    })?;
    for (handler, request, response) in schemas {
        let claim = claims.iter_mut().find(|claim| claim.index == handler);
        if let Some(claim) = claim {
            complete(claim, request, response);
        }
    }
    Ok(Arc::new(plugin))
}
