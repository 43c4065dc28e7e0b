//! Puts the parts of a worker together.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc};

use aegis_proto::cluster::v1::NodeRole;
use serde_json::Value;
use tokio::sync::watch;

use super::{BuildError, CloseAtEnd, Health, WorkerLifecycle, chain, steps};
use crate::{
    catalog::{Catalog, CatalogOptions, NodeDescription},
    command::HandlerError,
    config::{
        Config,
        model::{ControllerConfig, EnrolmentTokenSource},
    },
    drain::NodeState,
    identity::Identity,
    journal::{self, Journal, JournalLimits, JournalOptions},
    local::Door,
    log_tail::LogTail,
    metrics::Listener,
    notify::ServiceManager,
    plugin::{PluginHostProgram, PluginInfo, PluginState},
    pushed_config::{Condition, PluginConfigs, PushedConfig, PushedConfigOptions},
    session::Inventory,
};

/// Longer than any controller's tokens are.
const MAX_TOKEN_BYTES: usize = 4096;

/// Makes a [`WorkerLifecycle`].
#[derive(Debug)]
pub struct WorkerLifecycleBuilder {
    config: Config,
    built_in_grants: BTreeMap<String, Vec<String>>,
    expected_built_ins: &'static [&'static str],
    worker_version: String,
    service_manager: ServiceManager,
    log_tail: LogTail,
    plugin_host: Option<PluginHostProgram>,
}

impl WorkerLifecycleBuilder {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            built_in_grants: BTreeMap::new(),
            expected_built_ins: &[],
            worker_version: env!("CARGO_PKG_VERSION").to_owned(),
            service_manager: ServiceManager::default(),
            log_tail: LogTail::default(),
            plugin_host: None,
        }
    }

    /// Grants host interfaces, as `node-control`, to a built-in plugin, beside
    /// those that the config grants.
    #[must_use]
    pub fn built_in_grants<G: Into<String>>(
        mut self,
        plugin: &str,
        grants: impl IntoIterator<Item = G>,
    ) -> Self {
        let granted = self.built_in_grants.entry(plugin.to_owned()).or_default();
        granted.extend(grants.into_iter().map(Into::into));
        self
    }

    /// Refuses to start where one of these plugins is not linked in: a crate
    /// that is only named in `Cargo.toml` is dropped silently.
    #[must_use]
    pub fn expect_built_ins(mut self, plugins: &'static [&'static str]) -> Self {
        self.expected_built_ins = plugins;
        self
    }

    /// What the controller is told; this crate's version unless said.
    #[must_use]
    pub fn worker_version(mut self, version: impl Into<String>) -> Self {
        self.worker_version = version.into();
        self
    }

    /// Keeps the service manager informed. Only for a process whose one
    /// purpose is to be a worker.
    #[must_use]
    pub fn service_manager(mut self, service_manager: ServiceManager) -> Self {
        self.service_manager = service_manager;
        self
    }

    /// Where the program's subscriber keeps the last lines of its log, which the
    /// controller is shown when a pushed config fails. Without it, it is shown
    /// none.
    #[must_use]
    pub fn log_tail(mut self, log_tail: LogTail) -> Self {
        self.log_tail = log_tail;
        self
    }

    /// What hosts a plugin in a process of its own. Without it, `placement =
    /// "process"` is refused.
    #[must_use]
    pub fn plugin_host(mut self, program: PluginHostProgram) -> Self {
        self.plugin_host = Some(program);
        self
    }

    /// Takes the state directory, reads or makes the identity, and starts the
    /// plugins. Blocks for as long as they take.
    ///
    /// # Errors
    ///
    /// What the config names cannot be used, or a required plugin is missing.
    pub fn build(self) -> Result<WorkerLifecycle, BuildError> {
        let config = Arc::new(self.config);
        let identity = Arc::new(Identity::open(&config.node.state_dir, config.node.id)?);
        check_tls(&config.controller)?;
        if !identity.enrolment().exists() {
            check_token(&config.controller)?;
        }
        let metrics = config.telemetry.metrics.map(listen).transpose()?;
        let door = match Door::open(identity.clone()) {
            Ok(door) => Some(door),
            // The worker's work does not depend on it.
            Err(error) => {
                tracing::error!(
                    %error,
                    "cannot listen at worker.sock in the state directory: nothing can be asked of \
                     this worker locally"
                );
                None
            }
        };
        let (journal, recovery) = Journal::open(
            &identity.state().path().join(journal::FILE),
            JournalOptions {
                limits: JournalLimits::default(),
                expected: identity.enrolment().exists(),
            },
        )?;
        let state = NodeState::open(Arc::new(journal.clone()));
        let (pushed, sync_requests) = PushedConfig::open(PushedConfigOptions {
            state_dir: identity.state().path().to_owned(),
            local: config.plugins.clone(),
            probation: config.lifecycle.config_probation,
            log_tail: self.log_tail,
        })?;
        let catalog = Arc::new(Catalog::load(CatalogOptions {
            plugins: config.plugins.clone(),
            handlers: config.handlers.clone(),
            default_grants: self.built_in_grants,
            node: NodeDescription {
                node_id: identity.node_id().to_string(),
                role: role(config.node.role).to_owned(),
                tags: config.node.tags.clone(),
                worker_version: self.worker_version.clone(),
            },
            state_dir: identity.state().path().to_owned(),
            node_control: state.clone(),
            config_control: pushed.clone(),
            expected_built_ins: self.expected_built_ins,
            plugin_host: self.plugin_host,
            crashes: recovery.crashes,
            starting: Box::new(note_start(journal.clone())),
        })?);
        let plugins: Arc<dyn PluginConfigs> = catalog.clone();
        pushed.attach(&plugins);
        let inventory = Inventory {
            plugins: catalog.plugins(),
            handlers: catalog.handlers(),
        };
        Ok(WorkerLifecycle {
            end: CloseAtEnd(journal.clone()),
            journal,
            recovered: recovery.commands,
            config,
            identity,
            worker_version: self.worker_version,
            state,
            catalog,
            inventory: watch::Sender::new(Arc::new(inventory)),
            pushed,
            sync_requests,
            service_manager: self.service_manager,
            health: watch::Sender::new(Health::Starting),
            metrics,
            door,
        })
    }
}

impl PluginConfigs for Catalog {
    fn is_loaded(&self, plugin: &str) -> bool {
        let runs = |info: &PluginInfo| info.name == plugin && info.state == PluginState::Active;
        self.plugins().iter().any(runs)
    }

    fn reconfigure(&self, plugin: &str, config: &Value) -> Result<(), HandlerError> {
        Self::reconfigure(self, plugin, config)
    }

    fn condition(&self, plugin: &str) -> Condition {
        let Some((panics, state)) = Self::condition(self, plugin) else {
            return Condition::default();
        };
        let failure = match state {
            PluginState::Failed(reason) | PluginState::Quarantined(reason) => Some(reason),
            _ => None,
        };
        Condition { panics, failure }
    }
}

/// What the catalog tells of its starts. A disk that refuses does not keep a
/// plugin from starting.
fn note_start(journal: Journal) -> impl Fn(Option<&str>) {
    move |plugin| {
        if let Err(error) = journal.starting(plugin) {
            let error = chain(&error);
            tracing::warn!(
                plugin,
                error,
                "a crash at its start would count for no plugin"
            );
        }
    }
}

const fn role(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Hybrid => "hybrid",
        NodeRole::Edge => "edge",
        NodeRole::Controller => "controller",
        NodeRole::RelayCoordinator => "relay-coordinator",
        NodeRole::Worker | NodeRole::Unspecified => "worker",
    }
}

fn listen(address: SocketAddr) -> Result<Listener, BuildError> {
    let listener =
        Listener::bind(address).map_err(|source| BuildError::Metrics { address, source })?;
    tracing::info!(
        address = %listener.address(),
        "serving /metrics, /healthz and /readyz over HTTP"
    );
    if !address.ip().is_loopback() {
        tracing::warn!(
            address = %listener.address(),
            "metrics and health can be read from other machines, unencrypted and by anyone"
        );
    }
    Ok(listener)
}

/// They are read again with each connection; what is wrong from the start is
/// better said at once.
fn check_tls(config: &ControllerConfig) -> Result<(), BuildError> {
    let files: [(&'static str, &Option<PathBuf>); 3] = [
        ("ca_cert", &config.ca_cert),
        ("client_cert", &config.client_cert),
        ("client_key", &config.client_key),
    ];
    for (key, path) in files {
        if let Some(path) = path
            && let Err(source) = std::fs::File::open(path)
        {
            return Err(BuildError::Tls {
                key,
                path: path.clone(),
                source,
            });
        }
    }
    Ok(())
}

/// Only a node that was never enrolled needs its token.
fn check_token(config: &ControllerConfig) -> Result<(), BuildError> {
    let Some(source) = &config.enrolment_token else {
        return Ok(());
    };
    let from = match source {
        EnrolmentTokenSource::Inline(_) => "the command line or the environment".to_owned(),
        EnrolmentTokenSource::File(path) => path.display().to_string(),
        EnrolmentTokenSource::Env(name) => format!("the variable {name}"),
    };
    let token = match steps::enrolment_token(source) {
        Ok(token) => token,
        Err(source) => return Err(BuildError::EnrolmentToken { from, source }),
    };
    let why = if token.is_empty() {
        "it is empty"
    } else if token.len() > MAX_TOKEN_BYTES {
        "it is too long"
    } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        "it holds blanks or characters that no token has"
    } else {
        return Ok(());
    };
    Err(BuildError::MalformedToken { from, why })
}
