//! The plugins of the fleet, and which of their files may be sent commands.

use chrono::{DateTime, Utc};

use super::{ago, clean_line, dash, prefix, table::table};
use crate::document::{AllowedPlugin, FleetPlugin, FleetPlugins};

/// `plugins`: a line for each, then why some are not active.
pub fn plugins(fleet: &FleetPlugins) -> String {
    if fleet.plugins.is_empty() {
        return "No node has told its plugins yet.".into();
    }
    let mut text = table(
        [
            "PLUGIN",
            "VERSION",
            "SHA-256",
            "PLACEMENT",
            "TRUST",
            "STATE",
            "COMMANDS",
            "NODES",
        ],
        fleet.plugins.iter().map(|plugin| {
            [
                plugin.name.clone(),
                dash(some(&plugin.version)),
                plugin
                    .sha256
                    .as_deref()
                    .map_or_else(|| "-".into(), |it| prefix(it, 12)),
                plugin.placement.clone(),
                dash(plugin.trust.as_deref()),
                plugin.state.clone(),
                plugin.allowance.clone(),
                plugin.nodes.to_string(),
            ]
        }),
    );
    for plugin in &fleet.plugins {
        if let Some(reason) = &plugin.reason {
            text.push_str(&format!(
                "\n\n{} {} is {} on {}: {}",
                clean_line(&plugin.name),
                clean_line(&plugin.version),
                clean_line(&plugin.state),
                nodes(plugin),
                clean_line(reason)
            ));
        }
    }
    if fleet.more {
        text.push_str("\n\nThere are more: select fewer nodes.");
    }
    text
}

/// `plugin list`
pub fn allowed(allowed: &[AllowedPlugin], require_allowed: bool, now: DateTime<Utc>) -> String {
    let rule = if require_allowed {
        "Commands are sent to these files and to built-in plugins alone."
    } else {
        "Plugins that are not listed are open; of those that are, commands are sent to these files \
         alone."
    };
    if allowed.is_empty() {
        return match require_allowed {
            true => format!("No plugin is allowed. {rule}"),
            false => "No plugin is listed: all are open.".into(),
        };
    }
    let lines = table(
        ["PLUGIN", "SHA-256", "NODES", "BY", "ALLOWED", "NOTE"],
        allowed.iter().map(|allowed| {
            [
                allowed.plugin.clone(),
                allowed.sha256.clone(),
                allowed.nodes.to_string(),
                allowed.operator.clone(),
                ago(now, allowed.allowed_at),
                allowed.note.clone().unwrap_or_default(),
            ]
        }),
    );
    format!("{lines}\n\n{rule}")
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn nodes(plugin: &FleetPlugin) -> String {
    let ids: Vec<String> = plugin
        .node_ids
        .iter()
        .take(3)
        .map(|id| super::short(id))
        .collect();
    let shown = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    match plugin.nodes.saturating_sub(shown) {
        0 => ids.join(", "),
        others => format!("{} and {others} more", ids.join(", ")),
    }
}
