//! Config layers.

use aegis_proto::operator::v1::{ConfigLayer, ShowConfigResponse};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::{Command, ConfigState, json, some, time};

/// `config show`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    pub layers: Vec<Layer>,
    /// The node's merged config; `null` unless a node was asked for.
    pub merged: Option<Value>,
    pub merged_version: Option<String>,
    /// What the node reports; `null` unless a node was asked for.
    pub status: Option<ConfigState>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layer {
    /// "global", "tag" or "node".
    pub scope: String,
    /// The tag or the node id.
    pub name: Option<String>,
    pub document: Option<Value>,
    pub set_by: Option<String>,
    pub set_at: Option<DateTime<Utc>>,
    /// The rollout that brings it to the nodes; nothing where it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout_id: Option<String>,
}

/// `push-config`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConfigPush {
    pub group_id: Option<String>,
    /// Nodes whose merged config changed. Empty: it was the same before.
    pub nodes: Vec<AppliedConfig>,
}

/// What became of a pushed config on one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AppliedConfig {
    pub node_id: String,
    /// Whether the version in force is the one that was wanted, and the node said so.
    pub applied: bool,
    #[serde(flatten)]
    pub config: ConfigState,
    /// The push-config command that brought it.
    pub command: Command,
}

impl From<ShowConfigResponse> for Config {
    fn from(response: ShowConfigResponse) -> Self {
        let version = response.merged_version;
        Self {
            layers: response.layers.into_iter().map(Layer::from).collect(),
            merged: json(&response.merged),
            status: response
                .status
                .map(|status| ConfigState::new(Some(status), version.clone())),
            merged_version: some(version),
        }
    }
}

impl From<ConfigLayer> for Layer {
    fn from(layer: ConfigLayer) -> Self {
        Self {
            set_at: time(layer.set_at.as_ref()),
            document: json(&layer.document),
            scope: layer.scope,
            name: some(layer.name),
            set_by: some(layer.set_by),
            rollout_id: some(layer.rollout_id),
        }
    }
}
