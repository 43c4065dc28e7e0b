//! Nodes.

use chrono::{DateTime, Utc};

use super::{
    ago, clean_line, dash,
    handler::handlers,
    prefix, shorten, span,
    table::{indent, pairs, table},
};
use crate::document::{ConfigState, Drain, InFlight, Node, NodeDetail, Plugin};

/// Commands that a drain waits for which are shown one by one.
const MOST_BLOCKING: usize = 10;

/// The list of nodes.
pub fn nodes(nodes: &[Node], now: DateTime<Utc>) -> String {
    if nodes.is_empty() {
        return "No nodes. `aegisctl enrol` makes the token for one.".into();
    }
    let length = shorten(nodes.iter().map(|node| node.node_id.as_str()));
    table(
        [
            "NODE",
            "STATE",
            "HOST",
            "TAGS",
            "RUNNING",
            "OPEN",
            "CPU",
            "FREE",
            "CONFIG",
            "HEARTBEAT",
        ],
        nodes.iter().map(|node| {
            [
                prefix(&node.node_id, length),
                state(node),
                dash(node.hostname.as_deref()),
                tags(&node.tags),
                node.running_commands.to_string(),
                node.open_commands.to_string(),
                format!("{:.0}%", node.cpu_percent),
                format!("{} GB", node.available_memory_gb),
                config(&node.config),
                ago(now, node.last_heartbeat_at),
            ]
        }),
    )
}

/// One node in full.
pub fn node_detail(detail: &NodeDetail, now: DateTime<Utc>) -> String {
    let node = &detail.node;
    let mut lines = vec![
        ("Node", node.node_id.clone()),
        (
            "State",
            format!(
                "{} ({})",
                state(node),
                node.transport.as_deref().unwrap_or("not connected")
            ),
        ),
        ("Unhealthy", dash(node.unhealthy_reason.as_deref())),
        ("Host", dash(node.hostname.as_deref())),
        ("Platform", dash(node.platform.as_deref())),
        ("Worker", dash(node.worker_version.as_deref())),
        ("Role", node.role.clone()),
        ("Address", dash(node.address.as_deref())),
        ("Tags", tags(&node.tags)),
        ("Runtimes", tags(&node.runtimes)),
        ("Capacity", capacity(node)),
        (
            "Now",
            format!(
                "{:.0}% CPU, {} GB free",
                node.cpu_percent, node.available_memory_gb
            ),
        ),
        (
            "Commands",
            format!(
                "{} running, {} open, {} result{} not acknowledged",
                node.running_commands,
                node.open_commands,
                node.unacknowledged_results,
                if node.unacknowledged_results == 1 {
                    ""
                } else {
                    "s"
                }
            ),
        ),
        ("Config", config_in_full(node, now)),
        ("Heartbeat", ago(now, node.last_heartbeat_at)),
        ("Registered", ago(now, node.registered_at)),
        (
            "Key",
            node.key_fingerprint
                .as_deref()
                .map_or_else(|| "-".into(), |it| format!("sha256:{it}")),
        ),
    ];
    if node.unhealthy_reason.is_none() {
        lines.retain(|(key, _)| *key != "Unhealthy");
    }
    let mut parts = vec![pairs(&lines)];
    if let Some(drain) = &node.drain {
        parts.push(format!(
            "Drain\n{}",
            indent(&drain_in_full(drain, now), "  ")
        ));
    }
    parts.push(format!(
        "Plugins\n{}",
        indent(&plugins(&detail.plugins), "  ")
    ));
    parts.push(format!(
        "Handlers\n{}",
        indent(&handlers(&detail.handlers), "  ")
    ));
    parts.join("\n\n")
}

/// One node on one line, without the figures that change with each heartbeat.
pub fn node_line(node: &Node, now: DateTime<Utc>) -> String {
    let state = match node.state {
        "draining" => drain_line(node, now),
        state => state.to_owned(),
    };
    let host = node
        .hostname
        .as_deref()
        .map_or_else(String::new, |it| format!("  {}", clean_line(it)));
    format!(
        "{}{host}  {state}, {} running, config {}",
        clean_line(&node.node_id),
        node.running_commands,
        config(&node.config)
    )
}

/// Where a drain is, on one line; [`blocking`] says what it waits for.
pub fn drain_line(node: &Node, now: DateTime<Utc>) -> String {
    let Some(drain) = &node.drain else {
        return if node.status == "draining" {
            format!("draining, {} running", node.running_commands)
        } else {
            "not draining".into()
        };
    };
    if drain.finished_at.is_some() {
        return "drained".into();
    }
    let deadline = drain.deadline.map_or_else(String::new, |at| {
        format!(", deadline {}", ago(now, Some(at)))
    });
    match drain.in_flight.len() {
        0 => format!("draining{deadline}"),
        1 => format!("draining, waits for a command{deadline}"),
        count => format!("draining, waits for {count} commands{deadline}"),
    }
}

/// What a drain waits for and why, a line for each command.
pub fn blocking(drain: &Drain, now: DateTime<Utc>) -> Vec<String> {
    let lines = drain.in_flight.iter().take(MOST_BLOCKING);
    let mut lines: Vec<String> = lines.map(|it| in_flight(it, now)).collect();
    let more = drain.in_flight.len().saturating_sub(MOST_BLOCKING);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

fn in_flight(command: &InFlight, now: DateTime<Utc>) -> String {
    format!(
        "{} ({}{})",
        clean_line(&command.name),
        short_command(&command.command_id),
        why(command, now)
    )
}

/// Why a command has not ended yet.
fn why(command: &InFlight, now: DateTime<Utc>) -> String {
    if command.given_up {
        return ", ignored its cancellation; only a restart of the worker frees it".into();
    }
    let running = command
        .started_at
        .and_then(|at| now.signed_duration_since(at).to_std().ok());
    let mut text = running.map_or_else(String::new, |it| format!(", running for {}", span(it)));
    match (command.cancelled_at, command.timeout_at) {
        (Some(at), _) => text.push_str(&format!(", asked to end {}", ago(now, Some(at)))),
        (None, Some(at)) => text.push_str(&format!(", its timeout is {}", ago(now, Some(at)))),
        (None, None) => {}
    }
    text
}

/// Commands made within the same minute share the beginning of their ids.
fn short_command(id: &str) -> String {
    prefix(id, 13)
}

fn drain_in_full(drain: &Drain, now: DateTime<Utc>) -> String {
    let mut text = pairs(&[
        ("started", ago(now, drain.started_at)),
        ("deadline", ago(now, drain.deadline)),
        ("finished", ago(now, drain.finished_at)),
        ("reason", dash(drain.reason.as_deref())),
    ]);
    for line in blocking(drain, now) {
        text.push_str(&format!("\nwaits for {line}"));
    }
    text
}

fn plugins(plugins: &[Plugin]) -> String {
    if plugins.is_empty() {
        return "(not reported)".into();
    }
    table(
        [
            "NAME",
            "VERSION",
            "PLACEMENT",
            "TRUST",
            "STATE",
            "SHA-256",
            "REASON",
        ],
        plugins.iter().map(|plugin| {
            [
                plugin.name.clone(),
                plugin.version.clone(),
                plugin.placement.clone(),
                dash(plugin.trust.as_deref()),
                plugin.state.clone(),
                plugin
                    .sha256
                    .as_deref()
                    .map_or_else(|| "-".into(), |it| prefix(it, 12)),
                dash(plugin.reason.as_deref()),
            ]
        }),
    )
}

/// The state, with what there is to say beside it.
fn state(node: &Node) -> String {
    match (node.state, &node.drain) {
        ("draining", Some(drain)) if !drain.in_flight.is_empty() => {
            format!("draining ({})", drain.in_flight.len())
        }
        (state, _) => state.to_owned(),
    }
}

fn tags(tags: &[String]) -> String {
    if tags.is_empty() {
        "-".into()
    } else {
        tags.join(",")
    }
}

fn capacity(node: &Node) -> String {
    let mut text = format!("{} cores, {} GB", node.cpu_cores, node.memory_gb);
    if node.gpu_count > 0 {
        text.push_str(&format!(
            ", {} GPUs with {} GB",
            node.gpu_count, node.vram_gb
        ));
    }
    text
}

/// The version in force; with an arrow where another is wanted.
fn config(config: &ConfigState) -> String {
    let active = config
        .active_version
        .as_deref()
        .map_or_else(|| "-".into(), version);
    match &config.wanted_version {
        Some(wanted) if config.active_version.as_ref() != Some(wanted) => {
            format!("{active} -> {}", version(wanted))
        }
        _ => active,
    }
}

/// The beginning of a config version: what is told apart in a table.
fn version(version: &str) -> String {
    prefix(version, 12)
}

fn config_in_full(node: &Node, now: DateTime<Utc>) -> String {
    let config = &node.config;
    let mut text = dash(config.active_version.as_deref());
    if let Some(wanted) = config
        .wanted_version
        .as_ref()
        .filter(|it| config.active_version.as_ref() != Some(it))
    {
        text.push_str(&format!(", wanted: {wanted}"));
    }
    if let (Some(step), Some(attempted)) = (&config.failed_step, &config.attempted_version) {
        text.push_str(&format!(
            ", {attempted} failed at {step} {}: {}",
            ago(now, config.attempted_at),
            config.reason.as_deref().unwrap_or("no reason given")
        ));
    }
    if let Some(version) = &config.rolled_back_to {
        text.push_str(&format!(", rolled back to {version}"));
    }
    if let Some(rollout) = &node.held_by_rollout {
        text.push_str(&format!(", rollout {rollout} keeps a newer one from it"));
    }
    text
}
