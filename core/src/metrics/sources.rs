//! Where the figures are read.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use super::{
    exposition, probe,
    response::{Pages, Response, Status},
    snapshot::Snapshot,
};
use crate::{
    catalog::Catalog, clock::BootInstant, control::NodeControl, dispatch::Dispatcher,
    lifecycle::Pulse, session::Node,
};

/// The parts of a worker that have something to tell.
pub(crate) struct Sources {
    pub(crate) node: Arc<Node>,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) pulse: Arc<Pulse>,
}

impl Sources {
    fn snapshot(&self) -> Snapshot {
        let vitals = self.pulse.read();
        let now = BootInstant::now();
        Snapshot {
            version: self.node.worker_version.clone(),
            status: self.node.state.status(),
            ready: probe::ready(&vitals, Instant::now(), now).is_ok(),
            link: vitals.link,
            reconnects: vitals.reconnects,
            token_left: vitals
                .token_expires_at
                .map(|expires_at| expires_at.since(now)),
            heartbeats: self.node.heartbeats.counts(),
            unknown_messages: self.node.unknown_messages.load(Ordering::Relaxed),
            dispatch: self.dispatcher.figures(),
            journal: self.node.journal.figures(),
            drain: self.node.state.drain_status(),
            plugins: self.catalog.plugins(),
            faults: self.catalog.counters(),
            plugin_metrics: self.catalog.plugin_metrics(),
        }
    }
}

impl Pages for Sources {
    fn page(&self, path: &str) -> Response {
        let said = |answer: Result<(), String>| match answer {
            Ok(()) => Response::line(Status::Ok, "ok"),
            Err(reason) => Response::line(Status::Unavailable, &reason),
        };
        match path {
            "/metrics" => exposition::page(self.snapshot()),
            "/healthz" => said(probe::alive(&self.pulse.read(), Instant::now())),
            "/readyz" => said(probe::ready(
                &self.pulse.read(),
                Instant::now(),
                BootInstant::now(),
            )),
            _ => Response::line(Status::NotFound, "try /metrics, /healthz or /readyz"),
        }
    }
}
