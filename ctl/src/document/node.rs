//! Nodes.

use aegis_proto::{
    cluster::v1::{NodeRole, NodeStatus},
    operator::v1::{NodeView, ShowNodeResponse},
    worker::v1,
};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Handler, hex, some, time, word};

/// One node, as `nodes` lists it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    pub node_id: String,
    /// One word for all of it: "banned", "deregistered", "offline", "drained",
    /// "draining", "unhealthy" or "active".
    pub state: &'static str,
    /// The status on the wire: "active", "draining", "unhealthy", "unspecified".
    pub status: String,
    pub role: String,
    pub connected: bool,
    /// "session" or "unary".
    pub transport: Option<String>,
    pub hostname: Option<String>,
    pub platform: Option<String>,
    pub worker_version: Option<String>,
    pub address: Option<String>,
    pub tags: Vec<String>,
    pub runtimes: Vec<String>,
    pub cpu_cores: u32,
    pub gpu_count: u32,
    pub vram_gb: u32,
    pub memory_gb: u32,
    pub available_memory_gb: u32,
    pub cpu_percent: f32,
    pub running_commands: u32,
    /// Without an outcome yet, running ones included.
    pub open_commands: u32,
    pub unacknowledged_results: u32,
    pub drain: Option<Drain>,
    /// As the node tells it; nothing where it is well.
    pub unhealthy_reason: Option<String>,
    pub config: ConfigState,
    /// The rollout that keeps a newer config from it.
    pub held_by_rollout: Option<String>,
    pub registered_at: Option<DateTime<Utc>>,
    pub last_heartbeat_at: Option<DateTime<Utc>>,
    pub banned: bool,
    pub deregistered: bool,
    /// SHA-256 of the pinned public key, in hexadecimal.
    pub key_fingerprint: Option<String>,
}

/// A drain that is under way or finished.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drain {
    pub started_at: Option<DateTime<Utc>>,
    pub deadline: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub reason: Option<String>,
    pub in_flight: Vec<InFlight>,
}

/// A command that a drain waits for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InFlight {
    pub command_id: String,
    pub name: String,
    pub plugin: String,
    pub started_at: Option<DateTime<Utc>>,
    /// When its timeout passes; nothing where it has passed.
    pub timeout_at: Option<DateTime<Utc>>,
    /// Since when its handler has been asked to end.
    pub cancelled_at: Option<DateTime<Utc>>,
    /// Its outcome is told, as unknown, and its handler has not returned: only
    /// a restart of the worker ends it.
    pub given_up: bool,
}

/// The config a node has, beside the one it should have.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ConfigState {
    pub active_version: Option<String>,
    pub wanted_version: Option<String>,
    pub attempted_version: Option<String>,
    pub attempt_succeeded: bool,
    pub failed_step: Option<String>,
    pub reason: Option<String>,
    pub attempted_at: Option<DateTime<Utc>>,
    /// The version that was restored where the attempt failed in force.
    pub rolled_back_to: Option<String>,
    /// The last lines of the worker's log before the failure, oldest first.
    pub log_tail: Vec<String>,
}

/// One node in full, as `node show` has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeDetail {
    #[serde(flatten)]
    pub node: Node,
    pub plugins: Vec<Plugin>,
    pub handlers: Vec<Handler>,
}

/// A plugin of a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plugin {
    pub name: String,
    pub version: String,
    pub placement: String,
    pub state: String,
    pub reason: Option<String>,
    pub trust: Option<String>,
    pub trust_reason: Option<String>,
    pub file: Option<String>,
    pub sha256: Option<String>,
}

impl From<NodeView> for Node {
    fn from(view: NodeView) -> Self {
        let info = view.info.unwrap_or_default();
        let status = info.status();
        let role = info.role();
        let capabilities = info.capabilities.unwrap_or_default();
        let drain = view.drain.map(Drain::from);
        let state = match (&drain, status) {
            _ if view.banned => "banned",
            _ if view.deregistered => "deregistered",
            _ if !view.connected => "offline",
            (
                Some(Drain {
                    finished_at: Some(_),
                    ..
                }),
                _,
            ) => "drained",
            (Some(_), _) | (None, NodeStatus::Draining) => "draining",
            (None, NodeStatus::Unhealthy) => "unhealthy",
            (None, NodeStatus::Active | NodeStatus::Unspecified) => "active",
        };
        Self {
            state,
            status: word(status.as_str_name(), "NODE_STATUS_"),
            role: match role {
                NodeRole::Unspecified => "unspecified".into(),
                role => word(role.as_str_name(), "NODE_ROLE_"),
            },
            connected: view.connected,
            transport: some(view.transport),
            hostname: some(view.hostname),
            platform: some(view.platform),
            worker_version: some(view.worker_version),
            address: some(info.grpc_address),
            tags: capabilities.tags,
            runtimes: capabilities.supported_runtimes,
            cpu_cores: capabilities.cpu_cores,
            gpu_count: capabilities.gpu_count,
            vram_gb: capabilities.vram_gb,
            memory_gb: capabilities.available_memory_gb,
            available_memory_gb: view.available_memory_gb,
            cpu_percent: view.cpu_utilization_percent,
            running_commands: view.active_executions,
            open_commands: view.queued_commands,
            unacknowledged_results: view.outbox_length,
            drain,
            unhealthy_reason: some(view.unhealthy_reason),
            config: ConfigState::new(view.config, view.wanted_config_version),
            held_by_rollout: some(view.held_by_rollout),
            registered_at: time(info.registered_at.as_ref()),
            last_heartbeat_at: time(info.last_heartbeat_at.as_ref()),
            banned: view.banned,
            deregistered: view.deregistered,
            key_fingerprint: some(hex(&view.key_fingerprint)),
            node_id: info.node_id,
        }
    }
}

impl From<v1::DrainStatus> for Drain {
    fn from(drain: v1::DrainStatus) -> Self {
        Self {
            started_at: time(drain.started_at.as_ref()),
            deadline: time(drain.deadline.as_ref()),
            finished_at: time(drain.finished_at.as_ref()),
            reason: some(drain.reason),
            in_flight: drain.in_flight.into_iter().map(InFlight::from).collect(),
        }
    }
}

impl From<v1::InFlight> for InFlight {
    fn from(command: v1::InFlight) -> Self {
        Self {
            started_at: time(command.started_at.as_ref()),
            timeout_at: time(command.timeout_at.as_ref()),
            cancelled_at: time(command.cancelled_at.as_ref()),
            given_up: command.given_up,
            command_id: command.command_id,
            name: command.name,
            plugin: command.plugin,
        }
    }
}

impl ConfigState {
    /// From what the node reports and what the controller wants.
    pub fn new(status: Option<v1::ConfigStatus>, wanted: String) -> Self {
        let status = status.unwrap_or_default();
        Self {
            attempted_at: time(status.attempted_at.as_ref()),
            active_version: some(status.active_version),
            wanted_version: some(wanted),
            attempted_version: some(status.attempted_version),
            attempt_succeeded: status.attempt_succeeded,
            failed_step: some(status.failed_step),
            reason: some(status.reason),
            rolled_back_to: some(status.rolled_back_to),
            log_tail: status.log_tail,
        }
    }
}

impl From<ShowNodeResponse> for NodeDetail {
    fn from(response: ShowNodeResponse) -> Self {
        Self {
            node: response.node.unwrap_or_default().into(),
            plugins: response.plugins.into_iter().map(Plugin::from).collect(),
            handlers: response.handlers.into_iter().map(Handler::from).collect(),
        }
    }
}

impl From<v1::Plugin> for Plugin {
    fn from(plugin: v1::Plugin) -> Self {
        Self {
            sha256: some(hex(&plugin.sha256)),
            name: plugin.name,
            version: plugin.version,
            placement: plugin.placement,
            state: plugin.state,
            reason: some(plugin.reason),
            trust: some(plugin.trust),
            trust_reason: some(plugin.trust_reason),
            file: some(plugin.file),
        }
    }
}
