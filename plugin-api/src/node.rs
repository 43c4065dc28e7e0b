//! The node a plugin runs on.

use serde::{Deserialize, Serialize};

/// What a plugin knows of its node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// A UUID, the same across restarts.
    pub node_id: String,
    /// `worker`, `hybrid`, `edge`, `controller` or `relay-coordinator`.
    pub role: String,
    /// As in the config's `[node]`.
    pub tags: Vec<String>,
    /// Of the worker that runs the plugin.
    pub worker_version: String,
}
