//! Starts what was found and decided.

mod process;

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use aegis_plugin_api::manifest::Manifest;
use serde_json::Value;

use super::{
    Catalog, CatalogOptions, Entry, Named,
    found::{Found, Source},
    resolve::{self, Claim},
};
use crate::{
    config::model::PluginsConfig,
    key_values::KeyValues,
    loader::{Check, Refusal},
    manifest::HostInterface,
    plugin::{
        self, Descriptor, Granted, Handler, Hosted, Hosting, Placement, PluginInfo, PluginInstance,
        PluginState, Running,
    },
    plugin_metrics::PluginMetrics,
};

/// A plugin that takes longer to give its schemas is given up. Its thread stays
/// behind.
const SCHEMAS_LIMIT: Duration = Duration::from_secs(10);

/// Starts every plugin that is active and puts the handlers under their names.
pub(super) fn start(
    mut found: Vec<Found>,
    mut claims: Vec<Claim>,
    options: &CatalogOptions,
) -> Catalog {
    let mut running: HashMap<usize, Arc<dyn Running>> = HashMap::new();
    let kept = Kept {
        key_values: KeyValues::below(&options.state_dir),
        metrics: Arc::default(),
    };
    let mut noted = false;
    for (index, found) in found.iter_mut().enumerate() {
        if found.is_active() {
            // In a process of its own it takes nobody with it.
            if found.info.placement == Placement::InProcess {
                (options.starting)(Some(&found.info.name));
                noted = true;
            }
            match start_one(found, index, &mut claims, options, &kept) {
                Ok(hosted) => {
                    running.insert(index, hosted);
                }
                Err(state) => found.leave_out(state),
            }
        }
        report(found);
    }
    if noted {
        (options.starting)(None);
    }
    disable_claims(&mut claims, &found);
    for name in options.plugins.by_name.keys() {
        if !found.iter().any(|found| found.info.name == *name) {
            tracing::warn!(
                plugin = name,
                "the config has a section for a plugin that was not found"
            );
        }
    }
    let mut catalog = Catalog {
        by_name: HashMap::new(),
        passed_over: Vec::new(),
        plugins: Vec::new(),
        metrics: kept.metrics,
    };
    name_handlers(&mut catalog, claims, &running);
    catalog.plugins = found
        .into_iter()
        .enumerate()
        .map(|(index, found)| Entry {
            info: found.info,
            hosted: running.remove(&index),
        })
        .collect();
    catalog
}

/// What is kept for the plugins, each of which sees its own alone.
struct Kept {
    key_values: Arc<KeyValues>,
    metrics: Arc<PluginMetrics>,
}

/// Disables the handlers of plugins that do not run.
pub(super) fn disable_claims(claims: &mut [Claim], found: &[Found]) {
    for claim in claims
        .iter_mut()
        .filter(|claim| claim.info.disabled.is_none())
    {
        if let PluginState::Failed(reason)
        | PluginState::Refused(reason)
        | PluginState::Quarantined(reason) = &found[claim.plugin].info.state
        {
            claim.info.disabled = Some(format!(
                "its plugin {} is not running: {reason}",
                claim.info.plugin
            ));
        }
    }
}

/// Why the plugin is not to run after what became of the worker with it.
pub(super) fn quarantine(
    info: &PluginInfo,
    plugins: &PluginsConfig,
    crashes: &BTreeMap<String, u32>,
) -> Option<String> {
    // Those crashes were of another placement: in its own it takes nobody along.
    if info.placement == Placement::Process {
        return None;
    }
    let plugin = info.name.as_str();
    let limit = plugins.quarantine_after;
    let crashes = *crashes.get(plugin)?;
    (limit > 0 && crashes >= limit).then(|| {
        format!(
            "the worker crashed {crashes} times in a row while a handler of it ran or it was being started: mend it, or \
             release it as it is with `aegis-worker plugins release {plugin}`, and restart the \
             worker"
        )
    })
}

/// Enabled handlers first, so that each name leads to the one that is served.
fn name_handlers(
    catalog: &mut Catalog,
    mut claims: Vec<Claim>,
    running: &HashMap<usize, Arc<dyn Running>>,
) {
    claims.sort_by_key(|claim| claim.info.disabled.is_some());
    for claim in claims {
        if catalog.by_name.contains_key(&claim.info.name) {
            catalog.passed_over.push(claim.info);
            continue;
        }
        let name = claim.info.name.clone();
        let named = match (&claim.info.disabled, running.get(&claim.plugin)) {
            (None, Some(hosted)) => Named::Enabled(Handler {
                info: claim.info,
                index: claim.index,
                instance: Arc::clone(hosted) as Arc<dyn PluginInstance>,
            }),
            (reason, _) => {
                let reason = reason.clone().unwrap_or_default();
                Named::Disabled {
                    info: claim.info,
                    reason,
                }
            }
        };
        catalog.by_name.insert(name, named);
    }
}

fn start_one(
    found: &mut Found,
    index: usize,
    claims: &mut [Claim],
    options: &CatalogOptions,
    kept: &Kept,
) -> Result<Arc<dyn Running>, PluginState> {
    let id = found.info.name.clone();
    let failed = |refusal: Refusal| PluginState::Failed(refusal.to_string());
    let granted =
        resolve::granted(found, &options.plugins, &options.default_grants).map_err(failed)?;
    // Without those that control the node it would be out of reach.
    if !granted.iter().any(|it| it.controls_node())
        && let Some(reason) = quarantine(&found.info, &options.plugins, &options.crashes)
    {
        return Err(PluginState::Quarantined(reason));
    }
    let state_dir = state_dir(&options.state_dir, &id).map_err(|error| {
        failed(Refusal::new(
            Check::Create,
            format!("its state directory cannot be made: {error}"),
            "see that node.state_dir can be written and is not full",
        ))
    })?;
    let config = options.plugins.by_name.get(&id);
    let config = config
        .map(|config| config.config.clone())
        .unwrap_or_default();
    let node = serde_json::to_string(&options.node).unwrap_or_else(|_| "{}".to_owned());
    // Those that control the node stay within reach in any placement.
    let limit = if granted.iter().any(|it| it.controls_node()) {
        0
    } else {
        options.plugins.quarantine_after
    };
    let interfaces = Arc::new(Granted {
        node_control: granted
            .contains(&HostInterface::NodeControl)
            .then(|| Arc::clone(&options.node_control)),
        config: granted
            .contains(&HostInterface::Config)
            .then(|| Arc::clone(&options.config_control)),
        kv: granted
            .contains(&HostInterface::KeyValue)
            .then(|| kept.key_values.of(&id)),
        metrics: granted
            .contains(&HostInterface::Metrics)
            .then(|| kept.metrics.of(&id)),
    });
    let claims = claims.iter_mut().filter(|claim| claim.plugin == index);
    if found.info.placement == Placement::Process {
        let start = process::Start {
            config,
            node,
            state_dir,
            interfaces,
            quarantine_after: limit,
        };
        return process::start(found, claims.collect(), options, start);
    }
    let (descriptor, request_schemas) = open(found, &options.state_dir)?;
    complete_schemas(&id, claims.collect(), descriptor).map_err(failed)?;
    Hosted::start(Hosting {
        descriptor,
        config,
        node,
        state_dir,
        interfaces,
        request_schemas,
        id,
    })
    .map(|hosted| hosted as Arc<dyn Running>)
    .map_err(|error| {
        let remedy = error
            .help
            .clone()
            .unwrap_or_else(|| "see the plugin's documentation".to_owned());
        failed(Refusal::new(Check::Create, error.to_string(), remedy))
    })
}

type Opened = (Descriptor, Vec<Option<Value>>);

/// Maps a file, and lets its bytes go.
fn open(found: &mut Found, state_dir: &Path) -> Result<Opened, PluginState> {
    let (Some(source), Some(manifest)) = (found.source.take(), &found.manifest) else {
        return Err(PluginState::Refused(
            "there is nothing to start it from".to_owned(),
        ));
    };
    let descriptor = match source {
        Source::Linked(descriptor) => descriptor,
        Source::File(file) => plugin::map(&file, state_dir).map_err(|refusal| {
            let text = refusal.to_string();
            // Up to the dynamic linker's yes, nothing of it was loaded.
            if refusal.check == Check::Load {
                PluginState::Refused(text)
            } else {
                PluginState::Failed(text)
            }
        })?,
    };
    Ok((descriptor, request_schemas(manifest)))
}

/// By handler, as far as the manifest has them.
fn request_schemas(manifest: &Manifest) -> Vec<Option<Value>> {
    let handlers = manifest.handlers.iter();
    handlers
        .map(|handler| handler.request_schema.clone())
        .collect()
}

/// Asks the plugin for the schemas that its manifest leaves out. On a thread of
/// its own: this runs the plugin, and it may never answer.
fn complete_schemas(
    id: &str,
    mut claims: Vec<&mut Claim>,
    descriptor: Descriptor,
) -> Result<(), Refusal> {
    let fail = |reason: String| Refusal::new(Check::Create, reason, "report it to its author");
    claims.retain(|claim| {
        claim.info.request_schema.is_none() || claim.info.response_schema.is_none()
    });
    if claims.is_empty() {
        return Ok(());
    }
    let handlers: Vec<u32> = claims.iter().map(|claim| claim.index).collect();
    let (answer, answered) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name(format!("schemas-{id}"))
        .spawn(move || {
            let schemas = handlers.into_iter().map(|index| descriptor.schemas(index));
            // Nobody listens any more if this took too long.
            let _ = answer.send(schemas.collect::<Vec<_>>());
        })
        .map_err(|error| fail(format!("no thread to ask it for its schemas on: {error}")))?;
    let schemas = answered
        .recv_timeout(SCHEMAS_LIMIT)
        .map_err(|_| fail(format!("it did not give its schemas in {SCHEMAS_LIMIT:?}")))?;
    for (claim, schemas) in claims.into_iter().zip(schemas) {
        if let Some((request, response)) = schemas {
            complete(claim, request, response);
        }
    }
    Ok(())
}

fn complete(claim: &mut Claim, request: Option<Value>, response: Option<Value>) {
    let info = &mut claim.info;
    info.request_schema = info.request_schema.take().or(request);
    info.response_schema = info.response_schema.take().or(response);
}

/// `plugins/ID` below the worker's own, for this user alone.
fn state_dir(worker: &Path, id: &str) -> io::Result<PathBuf> {
    let directory = worker.join("plugins").join(id);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)?;
    let metadata = fs::symlink_metadata(&directory)?;
    if !metadata.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            directory.display().to_string(),
        ));
    }
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
    Ok(directory)
}

fn report(found: &Found) {
    let info = &found.info;
    let file = info.file.as_ref().map(|file| file.display().to_string());
    let (plugin, version, placement) = (&info.name, &info.version, info.placement.as_str());
    match &info.state {
        PluginState::Active => {
            tracing::info!(
                plugin,
                version,
                placement,
                trust = info.trust,
                trust_reason = info.trust_reason,
                file,
                "plugin started"
            );
        }
        PluginState::Disabled(reason) => tracing::info!(plugin, file, reason, "plugin not started"),
        PluginState::Refused(reason)
        | PluginState::Failed(reason)
        | PluginState::Quarantined(reason) => {
            tracing::warn!(plugin, file, reason, "plugin not started");
        }
    }
}
