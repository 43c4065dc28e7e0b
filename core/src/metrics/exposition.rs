//! The figures in the OpenMetrics text format.

mod plugins;

use std::{collections::BTreeSet, fmt};

use aegis_proto::cluster::v1::NodeStatus;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    registry::{Registry, Unit},
};

use super::{
    families::{Families, Labels},
    response::{Response, Status},
    snapshot::Snapshot,
};
use crate::{
    dispatch::{DispatchFigures, LaneFigures, STATES},
    lifecycle::LinkStage,
};

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Of commands whose name has no handler. No command can be called so.
const NO_HANDLER: &str = "(unknown)";

pub(super) fn page(snapshot: Snapshot) -> Response {
    let mut theirs = Registry::with_prefix("aegis_plugin");
    theirs.register_collector(Box::new(snapshot.plugin_metrics.clone()));
    let mut ours = Registry::with_prefix("aegis_worker");
    ours.register_collector(Box::new(snapshot));
    let mut body = String::new();
    let encoded = text::encode_registry(&mut body, &ours)
        .and_then(|()| text::encode_registry(&mut body, &theirs))
        .and_then(|()| text::encode_eof(&mut body));
    match encoded {
        Ok(()) => Response {
            status: Status::Ok,
            content_type: CONTENT_TYPE,
            body,
        },
        Err(fmt::Error) => Response::refusal(Status::InternalError),
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = Families(encoder);
        self.node(&mut to)?;
        self.link(&mut to)?;
        commands(&self.dispatch, &mut to)?;
        self.journal(&mut to)?;
        self.drain(&mut to)?;
        self.plugins(&mut to)
    }
}

impl Snapshot {
    fn node(&self, to: &mut Families<'_>) -> fmt::Result {
        to.info(
            "build",
            "What runs here",
            &[("version", self.version.as_str())],
        )?;
        to.state(
            "node_status",
            "What the node is to its controller: 1 for the status that holds",
            [
                ("active", self.status == NodeStatus::Active),
                ("draining", self.status == NodeStatus::Draining),
                ("unhealthy", self.status == NodeStatus::Unhealthy),
            ],
        )?;
        to.gauge(
            "ready",
            "Whether the node has its place in the cluster and keeps it, as /readyz says",
            None,
            u64::from(self.ready),
        )
    }

    fn link(&self, to: &mut Families<'_>) -> fmt::Result {
        to.state(
            "link",
            "How far the worker has come towards its controller: 1 for the stage that it is at; \
             session and heartbeats are live",
            LinkStage::ALL.map(|stage| (stage.as_str(), stage == self.link)),
        )?;
        to.counter(
            "reconnects",
            "Connections to the controller that were made after the first",
            self.reconnects,
        )?;
        let (sent, failed) = self.heartbeats;
        to.counter(
            "heartbeats_sent",
            "Heartbeats that were answered, or handed over on a session",
            sent,
        )?;
        to.counter("heartbeats_failed", "Heartbeats that were neither", failed)?;
        to.counter(
            "unknown_messages",
            "Messages of the controller that this version does not know",
            self.unknown_messages,
        )?;
        // Without a token there is nothing to tell, and 0 would be an alarm.
        let Some(left) = self.token_left else {
            return Ok(());
        };
        to.gauge(
            "token_remaining",
            "How long the node's token still lasts",
            Some(Unit::Seconds),
            left.as_secs_f64(),
        )
    }

    fn journal(&self, to: &mut Families<'_>) -> fmt::Result {
        let journal = &self.journal;
        to.gauge(
            "outbox_outcomes",
            "Outcomes that the controller has not acknowledged",
            None,
            journal.outbox,
        )?;
        to.gauge(
            "journal_commands",
            "Commands that the journal holds, with an outcome or without",
            None,
            journal.held,
        )?;
        to.gauge(
            "journal_held",
            "What the journal holds of payloads, output and responses",
            Some(Unit::Bytes),
            journal.held_bytes,
        )?;
        let counters = &journal.counters;
        to.counters(
            "journal_irregularities",
            "What should not happen to a journal and did: commands delivered again, other commands \
             under a known id, commands not taken because it was full, acknowledgements of what \
             was never told",
            [
                ([("kind", "redelivered")], counters.redelivered),
                ([("kind", "reused-id")], counters.reused_ids),
                ([("kind", "dropped")], counters.dropped),
                (
                    [("kind", "stray-acknowledgement")],
                    counters.stray_acknowledgements,
                ),
            ],
        )
    }

    fn drain(&self, to: &mut Families<'_>) -> fmt::Result {
        let drained = self.drain.finished_at.is_some();
        to.state(
            "drain",
            "Whether the node takes new work: 1 for the state that holds",
            [
                ("none", !self.drain.draining),
                ("draining", self.drain.draining && !drained),
                ("drained", self.drain.draining && drained),
            ],
        )?;
        to.gauge(
            "drain_in_flight_commands",
            "Commands that the drain waits for",
            None,
            self.drain.in_flight.len(),
        )
    }

    fn plugins(&self, to: &mut Families<'_>) -> fmt::Result {
        // Two refused files may say the same of themselves.
        let plugins: BTreeSet<Labels<'_, 4>> = self
            .plugins
            .iter()
            .map(|plugin| {
                let (state, _) = plugin.state.parts();
                [
                    ("plugin", plugin.name.as_str()),
                    ("version", plugin.version.as_str()),
                    ("placement", plugin.placement.as_str()),
                    ("state", state),
                ]
            })
            .collect();
        to.gauges(
            "plugin_state",
            "The plugins that were found, and what became of each",
            plugins.into_iter().map(|labels| (labels, 1)),
        )?;
        let strays = self.faults.iter().flat_map(|(plugin, faults)| {
            [
                ("double", faults.double),
                ("late", faults.late),
                ("forged", faults.forged),
                ("after-quiesce", faults.after_quiesce),
            ]
            .map(|(kind, count)| ([("plugin", plugin.as_str()), ("kind", kind)], count))
        });
        to.counters(
            "plugin_stray_completions",
            "Completions that were ignored: of calls completed before (double), given up (late), \
             that never were (forged), or from an instance that was to be quiet (after-quiesce)",
            strays,
        )?;
        let refused = &self.plugin_metrics.refused;
        to.counters(
            "plugin_refused_metrics",
            "What plugins wanted to count themselves and were refused: beyond their limits, or \
             ill-formed",
            refused
                .iter()
                .map(|(plugin, count)| ([("plugin", &**plugin)], *count)),
        )
    }
}

fn commands(figures: &DispatchFigures, to: &mut Families<'_>) -> fmt::Result {
    let named = figures.outcomes.iter();
    let outcomes = named
        .map(|(name, counts)| (name.as_str(), counts))
        .chain([(NO_HANDLER, &figures.unknown)])
        .flat_map(|(name, counts)| {
            STATES
                .iter()
                .zip(counts)
                .map(move |((_, state), count)| ([("command", name), ("state", *state)], *count))
        });
    to.counters(
        "commands",
        "Commands by the state in which they ended; those without a handler are one",
        outcomes,
    )?;
    let mut lanes = |name: &str, help: &str, figure: fn(&LaneFigures) -> u64| {
        let samples = figures.lanes.iter().map(|lane| {
            let labels = [
                ("command", lane.command.as_str()),
                ("plugin", lane.plugin.as_str()),
            ];
            (labels, figure(lane))
        });
        to.gauges(name, help, samples)
    };
    lanes("commands_running", "Commands whose handlers run", |lane| {
        lane.running.into()
    })?;
    lanes("commands_queued", "Commands that wait for a slot", |lane| {
        lane.queued as u64
    })?;
    lanes(
        "commands_scheduled",
        "Commands that wait for their time",
        |lane| lane.scheduled as u64,
    )?;
    lanes(
        "handler_slots",
        "How many of a handler's commands may run at once",
        |lane| lane.concurrency.into(),
    )?;
    lanes(
        "handler_wedged_slots",
        "Slots held by calls that ignored their cancellation and were given up",
        |lane| lane.wedged.into(),
    )
}

#[cfg(test)]
mod tests;
