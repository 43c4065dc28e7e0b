//! The plugins of the fleet, and which of their files may be sent commands.

use aegis_proto::operator::v1;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{hex, some, time};

/// `plugins`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FleetPlugins {
    pub plugins: Vec<FleetPlugin>,
    /// There are more than are listed.
    pub more: bool,
    /// A plugin of which no digest is allowed is refused too.
    pub require_allowed: bool,
}

/// What several nodes say of a plugin alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FleetPlugin {
    pub name: String,
    pub version: String,
    pub sha256: Option<String>,
    pub placement: String,
    pub state: String,
    /// What let the file in.
    pub trust: Option<String>,
    /// Why it is not active, in the words of the first node.
    pub reason: Option<String>,
    /// "allowed", "refused", "open" or "exempt".
    pub allowance: String,
    pub nodes: u32,
    /// The first of them; 10 at the most.
    pub node_ids: Vec<String>,
}

/// One line of `plugin list`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AllowedPlugin {
    pub plugin: String,
    pub sha256: String,
    pub note: Option<String>,
    pub operator: String,
    pub allowed_at: Option<DateTime<Utc>>,
    pub nodes: u32,
}

impl From<&v1::ListPluginsResponse> for FleetPlugins {
    fn from(response: &v1::ListPluginsResponse) -> Self {
        let plugins = response.plugins.iter().cloned();
        Self {
            plugins: plugins.map(FleetPlugin::from).collect(),
            more: response.more,
            require_allowed: response.require_allowed,
        }
    }
}

impl From<v1::FleetPlugin> for FleetPlugin {
    fn from(plugin: v1::FleetPlugin) -> Self {
        Self {
            sha256: some(hex(&plugin.sha256)),
            name: plugin.name,
            version: plugin.version,
            placement: plugin.placement,
            state: plugin.state,
            trust: some(plugin.trust),
            reason: some(plugin.reason),
            allowance: plugin.allowance,
            nodes: plugin.nodes,
            node_ids: plugin.node_ids,
        }
    }
}

impl From<v1::AllowedPlugin> for AllowedPlugin {
    fn from(allowed: v1::AllowedPlugin) -> Self {
        Self {
            sha256: hex(&allowed.sha256),
            allowed_at: time(allowed.allowed_at.as_ref()),
            plugin: allowed.plugin,
            note: some(allowed.note),
            operator: allowed.operator,
            nodes: allowed.nodes,
        }
    }
}
