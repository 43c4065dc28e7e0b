//! Decides which plugins are started and which handlers they serve. Nothing
//! here looks at a file or runs a plugin.

mod commands;
mod ids;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aegis_plugin_api::manifest::{Manifest, ManifestHandler};

use super::found::Found;
use crate::{
    config::model::{HandlerConfig, HandlersConfig, PluginsConfig},
    loader::{Check, Refusal},
    manifest::HostInterface,
    placement,
    plugin::{HandlerInfo, Placement, PluginState},
};

/// One handler of one plugin.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    /// Which of the found plugins.
    pub(super) plugin: usize,
    /// The handler's index in its manifest.
    pub(super) index: u32,
    /// `disabled` says whether it is served.
    pub(super) info: HandlerInfo,
}

/// Marks the plugins that are not to run, and lists the handlers of all whose
/// manifest is sound.
pub(super) fn resolve(
    found: &mut [Found],
    plugins: &PluginsConfig,
    handlers: &HandlersConfig,
    default_grants: &BTreeMap<String, Vec<String>>,
) -> Vec<Claim> {
    ids::settle(found, plugins);
    for found in found.iter_mut().filter(|found| found.is_active()) {
        if let Some(reason) = off(found, plugins) {
            found.leave_out(PluginState::Disabled(reason));
            continue;
        }
        let checked = placement::check(plugins, &found.info.name, found.info.placement)
            .and_then(|()| check_grants(found, plugins, default_grants));
        if let Err(refusal) = checked {
            found.refuse(&refusal);
        }
    }
    let mut claims = list_claims(found, handlers);
    commands::settle(found, handlers, &mut claims);
    leave_out_idle(found, &claims);
    claims
}

/// Why a plugin is not to run, if it is not.
fn off(found: &Found, plugins: &PluginsConfig) -> Option<String> {
    let name = found.info.name.as_str();
    match plugins.by_name.get(name).and_then(|config| config.enabled) {
        Some(true) => None,
        Some(false) => Some(format!("[plugins.{name}] enabled = false")),
        None if found.info.placement == Placement::BuiltIn
            && plugins.off_by_default.contains(&name) =>
        {
            Some(format!(
                "it is off by default; set enabled = true under [plugins.{name}]"
            ))
        }
        None => None,
    }
}

/// The host interfaces that a plugin was granted.
///
/// # Errors
///
/// [`Check::Grants`] if the config grants what there is not.
pub(super) fn granted(
    found: &Found,
    plugins: &PluginsConfig,
    default_grants: &BTreeMap<String, Vec<String>>,
) -> Result<BTreeSet<HostInterface>, Refusal> {
    let name = &found.info.name;
    let configured = plugins
        .by_name
        .get(name)
        .map(|config| config.grants.as_slice());
    let shipped = (found.info.placement == Placement::BuiltIn).then(|| default_grants.get(name));
    let all = configured
        .unwrap_or_default()
        .iter()
        .chain(shipped.flatten().into_iter().flatten());
    all.map(|grant| {
        HostInterface::by_grant(grant).ok_or_else(|| {
            Refusal::new(
                Check::Grants,
                format!("[plugins.{name}] grants {grant:?}, which is no grant"),
                format!(
                    "use some of {}",
                    HostInterface::ALL.map(HostInterface::grant).join(", ")
                ),
            )
        })
    })
    .collect()
}

fn check_grants(
    found: &Found,
    plugins: &PluginsConfig,
    default_grants: &BTreeMap<String, Vec<String>>,
) -> Result<(), Refusal> {
    let Some(manifest) = &found.manifest else {
        return Ok(());
    };
    let granted = granted(found, plugins, default_grants)?;
    let required: BTreeSet<HostInterface> = manifest
        .requires
        .iter()
        .filter_map(|id| HostInterface::by_id(id))
        .collect();
    let missing: Vec<&str> = required
        .difference(&granted)
        .map(|interface| interface.id())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let all: Vec<&str> = granted
        .union(&required)
        .map(|interface| interface.grant())
        .collect();
    Err(Refusal::new(
        Check::Grants,
        format!(
            "it needs {}, which it is not granted",
            missing.join(" and ")
        ),
        format!(
            "if it may have that, set grants = {all:?} under [plugins.{}]",
            manifest.id
        ),
    ))
}

fn list_claims(found: &[Found], handlers: &HandlersConfig) -> Vec<Claim> {
    let mut claims = Vec::new();
    for (plugin, found) in found.iter().enumerate() {
        let Some(manifest) = &found.manifest else {
            continue;
        };
        let absent = (!found.is_active()).then(|| {
            let (_, reason) = found.info.state.parts();
            format!("its plugin {} is not running: {reason}", manifest.id)
        });
        for (index, handler) in (0_u32..).zip(&manifest.handlers) {
            let config = handlers.by_name.get(&handler.name);
            let disabled = absent
                .clone()
                .or_else(|| turned_off(&handler.name, config, handlers));
            let info = describe(manifest, handler, config, disabled);
            claims.push(Claim {
                plugin,
                index,
                info,
            });
        }
    }
    claims
}

fn describe(
    manifest: &Manifest,
    handler: &ManifestHandler,
    config: Option<&HandlerConfig>,
    disabled: Option<String>,
) -> HandlerInfo {
    HandlerInfo {
        name: handler.name.clone(),
        plugin: manifest.id.clone(),
        summary: handler.summary.clone(),
        effect: handler.effect,
        timeout: config
            .and_then(|config| config.timeout)
            .unwrap_or(Duration::from_millis(handler.timeout_ms)),
        concurrency: config
            .and_then(|config| config.concurrency)
            .unwrap_or(handler.concurrency),
        inline: handler.inline,
        runs_while_draining: handler.runs_while_draining,
        request_schema: handler.request_schema.clone(),
        response_schema: handler.response_schema.clone(),
        disabled,
    }
}

fn turned_off(
    name: &str,
    config: Option<&HandlerConfig>,
    handlers: &HandlersConfig,
) -> Option<String> {
    match config.and_then(|config| config.enabled) {
        Some(true) => None,
        Some(false) => Some(format!("[handlers.{name}] enabled = false")),
        None if handlers.default_enabled => None,
        None => Some(format!(
            "[handlers] default = \"disabled\"; set enabled = true under [handlers.{name}]"
        )),
    }
}

/// A plugin that serves nothing is not started.
fn leave_out_idle(found: &mut [Found], claims: &[Claim]) {
    for (index, found) in found
        .iter_mut()
        .enumerate()
        .filter(|(_, found)| found.is_active())
    {
        let mut own = claims.iter().filter(|claim| claim.plugin == index);
        if own.clone().any(|claim| claim.info.disabled.is_none()) {
            continue;
        }
        let reason = own
            .next()
            .and_then(|claim| claim.info.disabled.clone())
            .unwrap_or_default();
        found.leave_out(PluginState::Disabled(format!(
            "none of its handlers is served: {reason}"
        )));
    }
}
