//! All figures at one moment.

use std::{collections::BTreeMap, time::Duration};

use aegis_proto::cluster::v1::NodeStatus;

use crate::{
    control::DrainStatus,
    dispatch::DispatchFigures,
    journal::JournalFigures,
    lifecycle::LinkStage,
    plugin::{FaultCounts, PluginInfo},
    plugin_metrics::Collected,
};

/// Plain data, so that what is rendered does not depend on who measured it.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) version: String,
    pub(super) status: NodeStatus,
    pub(super) ready: bool,
    pub(super) link: LinkStage,
    pub(super) reconnects: u64,
    /// `None` without a token.
    pub(super) token_left: Option<Duration>,
    /// Sent and failed.
    pub(super) heartbeats: (u64, u64),
    pub(super) unknown_messages: u64,
    pub(super) dispatch: DispatchFigures,
    pub(super) journal: JournalFigures,
    pub(super) drain: DrainStatus,
    pub(super) plugins: Vec<PluginInfo>,
    pub(super) faults: BTreeMap<String, FaultCounts>,
    /// What the plugins count themselves.
    pub(super) plugin_metrics: Collected,
}
