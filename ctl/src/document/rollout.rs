//! Rollouts, what layers were before, and the config of each node.

use aegis_proto::operator::v1::{self, NodeView, ShowRolloutResponse};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{ConfigState, Layer, milliseconds, some, time};

/// One rollout.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rollout {
    pub rollout_id: String,
    /// Of the layer that it brings: "global", "tag" or "node".
    pub scope: String,
    /// The tag or the node id.
    pub name: Option<String>,
    /// That it brings.
    pub revision: i64,
    /// "running", "stopped", "completed" or "aborted".
    pub state: String,
    /// Why it was stopped or aborted.
    pub reason: Option<String>,
    pub started_by: Option<String>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    /// Nodes that get it at once.
    pub batch_nodes: u32,
    pub max_failures: u32,
    pub node_timeout_ms: Option<u64>,
    /// How long each batch is watched at the least.
    pub pause_ms: Option<u64>,
}

/// `config rollout show`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RolloutDetail {
    #[serde(flatten)]
    pub rollout: Rollout,
    pub counts: RolloutCounts,
    /// In the order in which they get it.
    pub nodes: Vec<RolloutNode>,
}

/// Nodes of a rollout by where they stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RolloutCounts {
    pub total: usize,
    pub waiting: usize,
    pub pending: usize,
    pub active: usize,
    pub failed: usize,
    pub absent: usize,
}

/// A node of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RolloutNode {
    pub node_id: String,
    /// "waiting", "pending", "active", "failed" or "absent".
    pub state: String,
    /// 1 for the first; 0 where it is not released.
    pub batch: u32,
    pub released_at: Option<DateTime<Utc>>,
    pub step: Option<String>,
    pub reason: Option<String>,
    pub command_id: Option<String>,
    pub active_version: Option<String>,
}

/// One line of `config history`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Revision {
    pub revision: i64,
    /// Of the document alone; nothing where the layer was removed.
    pub version: Option<String>,
    /// The rollout that brought it, if one did.
    pub rollout_id: Option<String>,
    #[serde(flatten)]
    pub layer: Layer,
}

/// One line of `config status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeConfig {
    pub node_id: String,
    pub hostname: Option<String>,
    /// "active": it has what it should have. "held": a rollout keeps a newer
    /// one from it. "failed", "pending", "offline": it has not what it should
    /// have. "by-hand": no layer is for it, and it has what someone pushed.
    /// "none": it has none, and should not.
    pub state: &'static str,
    #[serde(flatten)]
    pub config: ConfigState,
    pub held_by_rollout: Option<String>,
}

impl From<v1::Rollout> for Rollout {
    fn from(rollout: v1::Rollout) -> Self {
        Self {
            started_at: time(rollout.started_at.as_ref()),
            finished_at: time(rollout.finished_at.as_ref()),
            node_timeout_ms: milliseconds(rollout.node_timeout.as_ref()),
            pause_ms: milliseconds(rollout.pause.as_ref()),
            rollout_id: rollout.rollout_id,
            scope: rollout.scope,
            name: some(rollout.name),
            revision: rollout.revision,
            state: rollout.state,
            reason: some(rollout.reason),
            started_by: some(rollout.started_by),
            batch_nodes: rollout.batch_nodes,
            max_failures: rollout.max_failures,
        }
    }
}

impl From<ShowRolloutResponse> for RolloutDetail {
    fn from(response: ShowRolloutResponse) -> Self {
        let nodes: Vec<RolloutNode> = response.nodes.into_iter().map(RolloutNode::from).collect();
        Self {
            rollout: response.rollout.unwrap_or_default().into(),
            counts: RolloutCounts::of(&nodes),
            nodes,
        }
    }
}

impl From<v1::RolloutNode> for RolloutNode {
    fn from(node: v1::RolloutNode) -> Self {
        Self {
            released_at: time(node.released_at.as_ref()),
            node_id: node.node_id,
            state: node.state,
            batch: node.batch,
            step: some(node.step),
            reason: some(node.reason),
            command_id: some(node.command_id),
            active_version: some(node.active_version),
        }
    }
}

impl RolloutCounts {
    fn of(nodes: &[RolloutNode]) -> Self {
        let mut counts = Self {
            total: nodes.len(),
            ..Self::default()
        };
        for node in nodes {
            match node.state.as_str() {
                "waiting" => counts.waiting += 1,
                "pending" => counts.pending += 1,
                "active" => counts.active += 1,
                "failed" => counts.failed += 1,
                "absent" => counts.absent += 1,
                _ => {}
            }
        }
        counts
    }
}

impl From<v1::ConfigRevision> for Revision {
    fn from(revision: v1::ConfigRevision) -> Self {
        let mut layer = Layer::from(revision.layer.unwrap_or_default());
        Self {
            revision: revision.revision,
            version: some(revision.version),
            rollout_id: layer.rollout_id.take(),
            layer,
        }
    }
}

impl From<NodeView> for NodeConfig {
    fn from(view: NodeView) -> Self {
        let held = !view.held_by_rollout.is_empty();
        let connected = view.connected;
        let config = ConfigState::new(view.config, view.wanted_config_version);
        let is_attempted = config.attempted_version == config.wanted_version;
        let state = match (&config.wanted_version, &config.active_version) {
            (None, None) => "none",
            (None, Some(_)) => "by-hand",
            (wanted, active) if wanted == active && held => "held",
            (wanted, active) if wanted == active => "active",
            _ if is_attempted && !config.attempt_succeeded => "failed",
            _ if connected => "pending",
            _ => "offline",
        };
        Self {
            node_id: view.info.map(|info| info.node_id).unwrap_or_default(),
            hostname: some(view.hostname),
            state,
            config,
            held_by_rollout: some(view.held_by_rollout),
        }
    }
}
