//! Rollouts, what layers were before, and the config of each node.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{
    ago, clean_line, dash, prefix, shorten, span,
    table::{pairs, table},
};
use crate::document::{NodeConfig, Revision, Rollout, RolloutCounts, RolloutDetail, RolloutNode};

/// `config rollout show`.
pub fn rollout(detail: &RolloutDetail, now: DateTime<Utc>) -> String {
    let rollout = &detail.rollout;
    let head = pairs(&[
        ("Rollout", rollout.rollout_id.clone()),
        ("Layer", layer(&rollout.scope, rollout.name.as_deref())),
        ("Revision", rollout.revision.to_string()),
        ("State", state(rollout)),
        ("Nodes", counts(detail.counts)),
        ("Terms", terms(rollout)),
        (
            "Started",
            format!(
                "{} by {}",
                ago(now, rollout.started_at),
                dash(rollout.started_by.as_deref())
            ),
        ),
        ("Finished", ago(now, rollout.finished_at)),
    ]);
    if detail.nodes.is_empty() {
        return head;
    }
    let length = shorten(detail.nodes.iter().map(|it| it.node_id.as_str()));
    let rows = table(
        ["NODE", "BATCH", "STATE", "RELEASED", "STEP", "WHY"],
        detail.nodes.iter().map(|node| {
            [
                prefix(&node.node_id, length),
                match node.batch {
                    0 => "-".into(),
                    batch => batch.to_string(),
                },
                node.state.clone(),
                ago(now, node.released_at),
                dash(node.step.as_deref()),
                dash(node.reason.as_deref()),
            ]
        }),
    );
    format!("{head}\n\n{rows}")
}

/// `config rollout list`.
pub fn rollouts(rollouts: &[Rollout], now: DateTime<Utc>) -> String {
    if rollouts.is_empty() {
        return "No rollouts. `aegisctl config set SELECTOR FILE --batch N` begins one.".into();
    }
    let ids = shorten(rollouts.iter().map(|it| it.rollout_id.as_str()));
    table(
        ["ROLLOUT", "LAYER", "REVISION", "STATE", "STARTED", "BY"],
        rollouts.iter().map(|rollout| {
            [
                prefix(&rollout.rollout_id, ids),
                layer(&rollout.scope, rollout.name.as_deref()),
                rollout.revision.to_string(),
                state(rollout),
                ago(now, rollout.started_at),
                dash(rollout.started_by.as_deref()),
            ]
        }),
    )
}

/// What became of one node of a rollout, on one line.
pub fn rollout_line(node: &RolloutNode) -> String {
    let mut text = format!(
        "{}  {}",
        super::short(&node.node_id),
        clean_line(&node.state)
    );
    if let Some(step) = &node.step {
        text.push_str(&format!(" at {}", clean_line(step)));
    }
    if let Some(reason) = &node.reason {
        text.push_str(&format!(": {}", clean_line(reason)));
    }
    text
}

/// `config history`.
pub fn history(revisions: &[Revision], now: DateTime<Utc>) -> String {
    if revisions.is_empty() {
        return "No config was ever set here. `aegisctl config set` sets a layer.".into();
    }
    table(
        ["REVISION", "LAYER", "VERSION", "SET BY", "SET", "ROLLOUT"],
        revisions.iter().map(|revision| {
            [
                revision.revision.to_string(),
                layer(&revision.layer.scope, revision.layer.name.as_deref()),
                revision
                    .version
                    .as_deref()
                    .map_or_else(|| "(removed)".into(), |it| prefix(it, 12)),
                dash(revision.layer.set_by.as_deref()),
                ago(now, revision.layer.set_at),
                dash(revision.rollout_id.as_deref()),
            ]
        }),
    )
}

/// `config status`.
pub fn config_status(nodes: &[NodeConfig]) -> String {
    if nodes.is_empty() {
        return "No nodes. `aegisctl enrol` makes the token for one.".into();
    }
    let length = shorten(nodes.iter().map(|it| it.node_id.as_str()));
    let version = |version: Option<&str>| version.map_or_else(|| "-".into(), |it| prefix(it, 12));
    table(
        ["NODE", "WANTED", "ACTIVE", "STATE", "STEP", "WHY"],
        nodes.iter().map(|node| {
            [
                prefix(&node.node_id, length),
                version(node.config.wanted_version.as_deref()),
                version(node.config.active_version.as_deref()),
                node.state.to_owned(),
                dash(node.config.failed_step.as_deref()),
                why(node),
            ]
        }),
    )
}

fn why(node: &NodeConfig) -> String {
    let config = &node.config;
    let mut text = String::new();
    if let Some(rollout) = node
        .held_by_rollout
        .as_deref()
        .filter(|_| node.state == "held")
    {
        text.push_str(&format!(
            "rollout {} keeps a newer one from it",
            prefix(rollout, 13)
        ));
    }
    if let Some(reason) = &config.reason {
        if !text.is_empty() {
            text.push_str("; ");
        }
        // Of an earlier version, where it is not the one that is wanted.
        if let Some(attempted) = &config.attempted_version
            && config.wanted_version.as_ref() != Some(attempted)
        {
            text.push_str(&format!("{} failed: ", prefix(attempted, 12)));
        }
        text.push_str(reason);
    }
    if let Some(restored) = &config.rolled_back_to {
        text.push_str(&format!(" (rolled back to {})", prefix(restored, 12)));
    }
    if text.is_empty() { "-".into() } else { text }
}

fn layer(scope: &str, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{scope} {name}"),
        None => scope.to_owned(),
    }
}

fn state(rollout: &Rollout) -> String {
    match &rollout.reason {
        Some(reason) => format!("{}: {reason}", rollout.state),
        None => rollout.state.clone(),
    }
}

fn terms(rollout: &Rollout) -> String {
    let duration = |ms: Option<u64>| span(Duration::from_millis(ms.unwrap_or(0)));
    let mut text = format!(
        "{} at once, {} may fail, {} for each node",
        rollout.batch_nodes,
        rollout.max_failures,
        duration(rollout.node_timeout_ms)
    );
    if rollout.pause_ms.is_some_and(|pause| pause > 0) {
        text.push_str(&format!(", {} between batches", duration(rollout.pause_ms)));
    }
    text
}

fn counts(counts: RolloutCounts) -> String {
    let parts = [
        (counts.active, "active"),
        (counts.failed, "failed"),
        (counts.absent, "absent"),
        (counts.pending, "pending"),
        (counts.waiting, "waiting"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    format!("{} of {}", parts.join(", "), counts.total)
}
