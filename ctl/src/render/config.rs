//! Config layers and pushes.

use chrono::{DateTime, Utc};

use super::{
    ago,
    command::error,
    dash, prefix, pretty, shorten,
    table::{indent, table},
};
use crate::document::{Config, ConfigPush, Layer};

/// `config show`.
pub fn config(config: &Config, now: DateTime<Utc>) -> String {
    let mut parts: Vec<String> = config.layers.iter().map(|it| layer(it, now)).collect();
    if let Some(merged) = &config.merged {
        let version = dash(config.merged_version.as_deref());
        let status = config.status.as_ref();
        let note = match status.and_then(|it| it.active_version.as_deref()) {
            Some(active) if Some(active) == config.merged_version.as_deref() => "in force".into(),
            Some(active) => format!("the node still has {active}"),
            None => "the node has none yet".into(),
        };
        parts.push(format!(
            "Merged, version {version}, {note}\n{}",
            indent(&pretty(merged), "  ")
        ));
        if let Some((step, status)) = status.and_then(|it| Some((it.failed_step.as_deref()?, it))) {
            let mut text = format!(
                "Version {} failed at {step}: {}",
                dash(status.attempted_version.as_deref()),
                dash(status.reason.as_deref())
            );
            if let Some(restored) = &status.rolled_back_to {
                text.push_str(&format!("\nRolled back to {}", super::clean_line(restored)));
            }
            if !status.log_tail.is_empty() {
                let tail = super::clean(&status.log_tail.join("\n"));
                text.push_str(&format!(
                    "\nThe worker's log before that\n{}",
                    indent(&tail, "  ")
                ));
            }
            parts.push(text);
        }
    }
    if parts.is_empty() {
        return "No config is set. `aegisctl config set` sets a layer.".into();
    }
    parts.join("\n\n")
}

fn layer(layer: &Layer, now: DateTime<Utc>) -> String {
    let name = layer
        .name
        .as_deref()
        .map_or_else(String::new, |name| format!(" {}", super::clean_line(name)));
    let rollout = layer.rollout_id.as_deref().map_or_else(String::new, |id| {
        format!(", not on all nodes yet: rollout {}", super::clean_line(id))
    });
    let document = layer
        .document
        .as_ref()
        .map_or_else(|| "(empty)".into(), pretty);
    format!(
        "Layer {}{name}, set by {} {}{rollout}\n{}",
        layer.scope,
        dash(layer.set_by.as_deref()),
        ago(now, layer.set_at),
        indent(&document, "  ")
    )
}

/// `push-config`.
pub fn pushed(push: &ConfigPush) -> String {
    if push.nodes.is_empty() {
        return "The layer is set. It changes the merged config of no registered node, so nothing was sent.".into();
    }
    let length = shorten(push.nodes.iter().map(|node| node.node_id.as_str()));
    table(
        ["NODE", "APPLIED", "VERSION IN FORCE", "WHY NOT"],
        push.nodes.iter().map(|node| {
            let why = match (node.applied, &node.config.failed_step) {
                (true, _) => String::new(),
                (false, _) if node.command.error.is_some() => {
                    error(&node.command).replace('\n', "; ")
                }
                (false, Some(step)) => format!("{step}: {}", dash(node.config.reason.as_deref())),
                (false, None) => format!("the command is {}", node.command.state),
            };
            [
                prefix(&node.node_id, length),
                if node.applied { "yes" } else { "no" }.into(),
                dash(node.config.active_version.as_deref()),
                why,
            ]
        }),
    )
}
