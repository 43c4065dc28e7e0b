//! The plugins of a node, linked in and loaded, and the handlers that they
//! serve. One bad plugin stops neither the worker nor the others.

mod found;
mod nearest;
mod resolve;
mod start;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use aegis_plugin_api::HandlerError;
use serde::Serialize;
use serde_json::Value;

pub(crate) use nearest::nearest;

use crate::{
    config::model::{HandlersConfig, PluginsConfig},
    control::{ConfigControl, NodeControl},
    plugin::{
        FaultCounts, Handler, HandlerInfo, Handlers, Lookup, PluginHostProgram, PluginInfo,
        PluginState, Running,
    },
    plugin_metrics::{Collected, PluginMetrics},
};

/// What a catalog is made from.
pub struct CatalogOptions {
    /// `[plugins]`
    pub plugins: PluginsConfig,
    /// `[handlers]`
    pub handlers: HandlersConfig,
    /// Grants that built-in plugins have beside those in the config, by plugin.
    pub default_grants: BTreeMap<String, Vec<String>>,
    /// What plugins learn of the node.
    pub node: NodeDescription,
    /// The worker's. Each plugin has a directory of its own below it.
    pub state_dir: PathBuf,
    /// Behind the grant `node-control`.
    pub node_control: Arc<dyn NodeControl>,
    /// Behind the grant `config`.
    pub config_control: Arc<dyn ConfigControl>,
    /// Plugins that this program believes to be linked in.
    pub expected_built_ins: &'static [&'static str],
    /// What hosts a plugin in a process of its own; `None`: none can be.
    pub plugin_host: Option<PluginHostProgram>,
    /// At how many crashes of the worker in a row a plugin ran.
    pub crashes: BTreeMap<String, u32>,
    /// Told which plugin file is about to be started, and `None` after the
    /// last, so that the next start knows which one took the worker with it.
    pub starting: Box<Starting>,
}

/// Hears which plugin is about to be started, and `None` after the last.
pub type Starting = dyn Fn(Option<&str>) + Send + Sync;

/// What plugins learn of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeDescription {
    /// A UUID.
    pub node_id: String,
    /// As `worker` or `hybrid`.
    pub role: String,
    /// What selections match.
    pub tags: Vec<String>,
    /// Of this program.
    pub worker_version: String,
}

/// Why there is no catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The linker dropped a plugin that nothing refers to.
    #[error(
        "the built-in plugins {} are not linked into this program; name each crate in it (`use {} as _;`)",
        .0.join(", "),
        crate_name(.0)
    )]
    NotLinked(Vec<String>),
    /// Plugins without which the config wants no worker.
    #[error("required plugins cannot be used: {}", listed(.0))]
    Required(Vec<(String, String)>),
}

/// The plugins and handlers of a node.
#[derive(Debug)]
pub struct Catalog {
    by_name: HashMap<String, Named>,
    /// Handlers that gave way to another of the same name.
    passed_over: Vec<HandlerInfo>,
    plugins: Vec<Entry>,
    metrics: Arc<PluginMetrics>,
}

/// What would be served, were the worker to start now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scan {
    /// All that were found, refused ones included. `Active` means that it
    /// would be started.
    pub plugins: Vec<PluginInfo>,
    /// Of those whose manifest is sound.
    pub handlers: Vec<HandlerInfo>,
}

#[derive(Debug)]
enum Named {
    Enabled(Handler),
    Disabled { info: HandlerInfo, reason: String },
}

struct Entry {
    info: PluginInfo,
    hosted: Option<Arc<dyn Running>>,
}

impl Catalog {
    /// Finds the plugins, starts those that are to run, and says of all others
    /// why not. Blocks.
    ///
    /// # Errors
    ///
    /// A required plugin does not run; an expected built-in is not linked in.
    pub fn load(options: CatalogOptions) -> Result<Self, CatalogError> {
        crate::plugin::follow_log_level();
        let mut found = found::gather(&options.plugins);
        found::expect_built_ins(&found, options.expected_built_ins)?;
        let claims = resolve::resolve(
            &mut found,
            &options.plugins,
            &options.handlers,
            &options.default_grants,
        );
        // Before anything runs: what is refused by now stays refused.
        require(&options.plugins, found.iter().map(|found| &found.info))?;
        let catalog = start::start(found, claims, &options);
        if let Err(error) = require(
            &options.plugins,
            catalog.plugins.iter().map(|entry| &entry.info),
        ) {
            catalog.quiesce(Duration::from_secs(5));
            return Err(error);
        }
        Ok(catalog)
    }

    /// Finds the same and starts nothing. No code of a plugin file runs.
    /// `crashes` as in [`CatalogOptions::crashes`].
    pub fn scan(
        plugins: &PluginsConfig,
        handlers: &HandlersConfig,
        default_grants: &BTreeMap<String, Vec<String>>,
        crashes: &BTreeMap<String, u32>,
    ) -> Scan {
        let mut found = found::gather(plugins);
        let mut claims = resolve::resolve(&mut found, plugins, handlers, default_grants);
        for found in found.iter_mut().filter(|found| found.is_active()) {
            let granted = resolve::granted(found, plugins, default_grants);
            if granted.is_ok_and(|granted| !granted.iter().any(|it| it.controls_node()))
                && let Some(reason) = start::quarantine(&found.info, plugins, crashes)
            {
                found.leave_out(PluginState::Quarantined(reason));
            }
        }
        start::disable_claims(&mut claims, &found);
        let handlers = claims.into_iter().map(|claim| claim.info).collect();
        Scan {
            plugins: found.into_iter().map(|found| found.info).collect(),
            handlers,
        }
    }

    /// Where a command's name leads.
    pub fn lookup(&self, name: &str) -> Lookup<'_> {
        match self.by_name.get(name) {
            Some(Named::Enabled(handler)) => Lookup::Found(handler),
            Some(Named::Disabled { reason, .. }) => Lookup::Disabled { reason },
            None => Lookup::Unknown {
                nearest: nearest(name, self.by_name.keys().map(String::as_str)),
            },
        }
    }

    /// All handlers, enabled or not, by name. Of several of one name the one
    /// that is served comes first, so that whoever looks for a name finds it.
    pub fn handlers(&self) -> Vec<HandlerInfo> {
        let named = self.by_name.values().map(|named| match named {
            Named::Enabled(handler) => &handler.info,
            Named::Disabled { info, .. } => info,
        });
        let mut all: Vec<HandlerInfo> = named.chain(&self.passed_over).cloned().collect();
        all.sort_by(|a, b| {
            (&a.name, a.disabled.is_some(), &a.plugin).cmp(&(
                &b.name,
                b.disabled.is_some(),
                &b.plugin,
            ))
        });
        all
    }

    /// All plugins that were found, as they are now.
    pub fn plugins(&self) -> Vec<PluginInfo> {
        let now = |entry: &Entry| {
            let mut info = entry.info.clone();
            if let Some(hosted) = &entry.hosted {
                info.state = hosted.state();
            }
            info
        };
        self.plugins.iter().map(now).collect()
    }

    /// Gives a plugin a new config. On an error the old one stays in force. May
    /// block.
    ///
    /// # Errors
    ///
    /// `unknown-plugin`, or the plugin's own.
    pub fn reconfigure(&self, plugin: &str, config: &Value) -> Result<(), HandlerError> {
        let Some((_, hosted)) = self.hosted().find(|(name, _)| *name == plugin) else {
            let running: Vec<&str> = self.hosted().map(|(name, _)| name).collect();
            return Err(HandlerError::new(
                "unknown-plugin",
                format!("no plugin {plugin:?} runs here"),
            )
            .help(format!("these do: {}", running.join(", "))));
        };
        hosted.reconfigure(config)
    }

    /// Ends the quarantine of a plugin that crashed too often in a process of its
    /// own. False: it is in none.
    pub fn release(&self, plugin: &str) -> bool {
        self.hosted()
            .any(|(name, hosted)| name == plugin && hosted.release())
    }

    /// How often a plugin panicked since the worker began, and why it does not
    /// run if it does not. `None`: there is none of that name.
    pub(crate) fn condition(&self, plugin: &str) -> Option<(u64, PluginState)> {
        let (_, hosted) = self.hosted().find(|(name, _)| *name == plugin)?;
        Some((hosted.panics(), hosted.state()))
    }

    /// Ends all plugins: each refuses new calls, finishes the running ones
    /// within `timeout`, and is destroyed if it does. Blocks, little longer
    /// than `timeout`, whatever the plugins do.
    pub fn quiesce(&self, timeout: Duration) {
        /// For the way to a thread and back.
        const MARGIN: Duration = Duration::from_secs(2);
        let deadline = std::time::Instant::now() + timeout + MARGIN;
        let (report, reports) = std::sync::mpsc::channel();
        let mut waiting: Vec<&str> = Vec::new();
        for (name, hosted) in self.hosted() {
            let (hosted, owned, report) = (Arc::clone(hosted), name.to_owned(), report.clone());
            let thread = std::thread::Builder::new().name(format!("quiesce-{name}"));
            let spawned = thread.spawn(move || {
                let quiet = hosted.quiesce(timeout);
                // Nobody listens any more if this took too long.
                let _ = report.send((owned, quiet));
            });
            match spawned {
                Ok(_) => waiting.push(name),
                Err(error) => {
                    tracing::warn!(plugin = name, %error, "no thread to end the plugin on")
                }
            }
        }
        while !waiting.is_empty() {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            let Ok((name, quiet)) = reports.recv_timeout(left) else {
                break;
            };
            waiting.retain(|waiting| *waiting != name);
            if !quiet {
                tracing::warn!(
                    plugin = name,
                    "the plugin still has calls running and is left alone"
                );
            }
        }
        for plugin in waiting {
            tracing::warn!(plugin, "the plugin does not answer and is left alone");
        }
    }

    /// Completions that were ignored, by plugin.
    pub fn counters(&self) -> BTreeMap<String, FaultCounts> {
        self.hosted()
            .map(|(name, hosted)| (name.to_owned(), hosted.faults()))
            .collect()
    }

    /// What the plugins count themselves.
    pub(crate) fn plugin_metrics(&self) -> Collected {
        self.metrics.collected()
    }

    fn hosted(&self) -> impl Iterator<Item = (&str, &Arc<dyn Running>)> {
        self.plugins
            .iter()
            .filter_map(|entry| Some((entry.info.name.as_str(), entry.hosted.as_ref()?)))
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

impl Handlers for Catalog {
    fn lookup(&self, name: &str, see: &mut dyn FnMut(Lookup<'_>)) {
        see(Self::lookup(self, name));
    }
}

fn require<'a>(
    plugins: &PluginsConfig,
    found: impl Iterator<Item = &'a PluginInfo> + Clone,
) -> Result<(), CatalogError> {
    let mut missing = Vec::new();
    for (name, _) in plugins.by_name.iter().filter(|(_, config)| config.required) {
        let mut named = found.clone().filter(|info| info.name == *name).peekable();
        let reason = if named.peek().is_none() {
            "it is neither linked in nor in any directory of plugins.dirs".to_owned()
        } else {
            let mut reasons = Vec::new();
            for info in named {
                if info.state != PluginState::Active {
                    reasons.push(info.state.parts().1);
                    continue;
                }
                reasons.clear();
                break;
            }
            if reasons.is_empty() {
                continue;
            }
            reasons.join("; ")
        };
        missing.push((name.clone(), reason));
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(CatalogError::Required(missing))
    }
}

fn crate_name(plugins: &[String]) -> String {
    let first = plugins.first().map(String::as_str).unwrap_or_default();
    format!("aegis_plugin_{}", first.replace('-', "_"))
}

fn listed(plugins: &[(String, String)]) -> String {
    let list: Vec<String> = plugins
        .iter()
        .map(|(name, reason)| format!("{name} ({reason})"))
        .collect();
    list.join(", ")
}
