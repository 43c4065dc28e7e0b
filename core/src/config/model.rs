//! The configuration once it is known to be right.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use crate::{plugin::Placement, trust::PublicKey};

/// Everything a worker is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[node]`
    pub node: NodeConfig,
    /// `[controller]`
    pub controller: ControllerConfig,
    /// `[lifecycle]`
    pub lifecycle: LifecycleConfig,
    /// `[plugins]`
    pub plugins: PluginsConfig,
    /// `[handlers]`
    pub handlers: HandlersConfig,
    /// `[telemetry]`
    pub telemetry: TelemetryConfig,
}

/// `[node]`
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// `None`: made once and kept in `state_dir`.
    pub id: Option<aegis_proto::NodeId>,
    /// What it is in the cluster.
    pub role: aegis_proto::cluster::v1::NodeRole,
    /// What selections match.
    pub tags: Vec<String>,
    /// What it can run, as `wasm` or `container`.
    pub runtimes: Vec<String>,
    /// Identity, journal, pushed config, plugin state.
    pub state_dir: PathBuf,
    /// `host:port` that others reach it at; may be empty.
    pub advertise_address: String,
}

/// `[controller]`
#[derive(Debug, Clone)]
pub struct ControllerConfig {
    /// `http://` or `https://` with host and port.
    pub endpoint: String,
    /// Spent at the first attestation.
    pub enrolment_token: Option<EnrolmentTokenSource>,
    /// PEM; `None`: the system's roots are not used, and https needs it.
    pub ca_cert: Option<PathBuf>,
    /// PEM, for mutual TLS.
    pub client_cert: Option<PathBuf>,
    /// PEM, for mutual TLS.
    pub client_key: Option<PathBuf>,
    /// Plaintext to an address that is not loopback is wanted.
    pub insecure: bool,
}

/// Where the enrolment token is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnrolmentTokenSource {
    /// The token itself, from the command line or the environment.
    Inline(String),
    /// A file that holds it.
    File(PathBuf),
    /// An environment variable that holds it.
    Env(String),
}

/// `[lifecycle]`
#[derive(Debug, Clone)]
pub struct LifecycleConfig {
    /// Where the controller does not say.
    pub heartbeat_interval: Duration,
    /// The controller's word is bounded by these.
    pub min_heartbeat_interval: Duration,
    /// See above.
    pub max_heartbeat_interval: Duration,
    /// The longest wait between two attempts to reach the controller.
    pub max_backoff: Duration,
    /// How long before a token's expiry a new one is asked for.
    pub token_refresh_margin: Duration,
    /// How long a shutdown waits for running commands.
    pub drain_timeout: Duration,
    /// How long a node has to be well under a pushed config before that one is
    /// known to be good.
    pub config_probation: Duration,
}

/// `[plugins]`
#[derive(Debug, Clone)]
pub struct PluginsConfig {
    /// Directories that are loaded, in this order.
    pub dirs: Vec<PathBuf>,
    /// What lets a file in.
    pub trust: Trust,
    /// Whose signatures do.
    pub keys: Vec<PublicKey>,
    /// SHA-256 of files that nothing lets in.
    pub revoked: Vec<[u8; 32]>,
    /// Where files run of which `[plugins.NAME]` does not say it; `None`: those
    /// that somebody vouched for in the worker's process, all others in one of
    /// their own.
    pub default_placement: Option<Placement>,
    /// A plugin of which a handler ran, or that was being started, at so many
    /// crashes of the worker in a row is not started any more; 0: it always is.
    pub quarantine_after: u32,
    /// Plugins that, where they are linked in, run only if the config enables
    /// them. The program says so, not the file.
    pub off_by_default: Vec<&'static str>,
    /// `[plugins.NAME]`
    pub by_name: BTreeMap<String, PluginConfig>,
}

/// What lets a plugin file in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Trust {
    /// Its owner and mode.
    #[default]
    Owner,
    /// Those, and its digest in the config.
    Pinned,
    /// Those, and a signature by a key of the config or its digest there.
    Signed,
}

/// `[plugins.NAME]`
#[derive(Debug, Clone)]
pub struct PluginConfig {
    /// `None`: on, unless it is linked in and off by default.
    pub enabled: Option<bool>,
    /// The worker does not start without it.
    pub required: bool,
    /// `None`: built-in where linked in, otherwise as the default.
    pub placement: Option<Placement>,
    /// The digests that it may have.
    pub sha256: Vec<[u8; 32]>,
    /// Host interfaces by grant name: `node-control`, `config`, `kv`, `metrics`.
    pub grants: Vec<String>,
    /// What holds for it in a process of its own.
    pub process: ProcessConfig,
    /// `[plugins.NAME.config]`
    pub config: serde_json::Map<String, serde_json::Value>,
}

/// What of `[plugins.NAME]` holds for a plugin in a process of its own, and for
/// no other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessConfig {
    /// `[plugins.NAME.limits]`
    pub limits: LimitsConfig,
    /// Whom it runs as; `None`: the worker's own user.
    pub user: Option<String>,
    /// What it may read besides the system's own files.
    pub read: Vec<PathBuf>,
    /// What it may write besides its own directory.
    pub write: Vec<PathBuf>,
}

/// `[plugins.NAME.limits]`, each for every one of its processes; `None`: as
/// the worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Address space in bytes.
    pub memory: Option<u64>,
    /// Processor time, in whole seconds.
    pub cpu_time: Option<Duration>,
    /// Processes and threads of the user that it runs as. Not for root.
    pub processes: Option<u32>,
    /// Open file descriptors.
    pub open_files: Option<u32>,
    /// The size of a file that it writes, in bytes.
    pub file_size: Option<u64>,
}

/// `[handlers]`
#[derive(Debug, Clone)]
pub struct HandlersConfig {
    /// Whether handlers are enabled that nothing names.
    pub default_enabled: bool,
    /// `[handlers.NAME]`, with `--enable` and `--disable` worked in.
    pub by_name: BTreeMap<String, HandlerConfig>,
}

/// `[handlers.NAME]`
#[derive(Debug, Clone, Default)]
pub struct HandlerConfig {
    /// `None`: as `default`.
    pub enabled: Option<bool>,
    /// Which plugin's, where several claim it.
    pub plugin: Option<String>,
    /// Overrules the handler's own default; bounds the command's.
    pub timeout: Option<Duration>,
    /// Overrules the handler's own.
    pub concurrency: Option<u32>,
    /// Who may give it; `None`: anyone.
    pub issuers: Option<Vec<String>>,
}

/// `[telemetry]`
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// Of the log on standard error.
    pub log_format: LogFormat,
    /// As in `info` or `info,aegis_core=debug`.
    pub log_level: String,
    /// Where metrics and health are served, in plaintext and to anyone who can
    /// reach it; port 0: any that is free; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for PluginsConfig {
    fn default() -> Self {
        Self {
            dirs: Vec::new(),
            trust: Trust::default(),
            keys: Vec::new(),
            revoked: Vec::new(),
            default_placement: None,
            // Once is an accident, and twice can be one.
            quarantine_after: 3,
            off_by_default: Vec::new(),
            by_name: BTreeMap::new(),
        }
    }
}

impl Default for PluginConfig {
    fn default() -> Self {
        Self {
            enabled: None,
            required: false,
            placement: None,
            sha256: Vec::new(),
            grants: Vec::new(),
            process: ProcessConfig::default(),
            config: serde_json::Map::new(),
        }
    }
}

impl Default for HandlersConfig {
    fn default() -> Self {
        Self {
            default_enabled: true,
            by_name: BTreeMap::new(),
        }
    }
}
