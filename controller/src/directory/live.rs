//! What is known of a node right now.

use std::{sync::Arc, time::Instant};

use aegis_proto::{
    cluster::v1::{NodeHeartbeatInner, NodeStatus},
    worker::v1::{DrainStatus, Heartbeat},
};

use crate::{session::Seat, time::Millis};

/// Liveness of one node.
#[derive(Debug, Default)]
pub struct Live {
    /// When it was last heard of.
    pub heard: Option<Instant>,
    /// The same on the wall clock.
    pub heard_at: Option<Millis>,
    /// Its last heartbeat.
    pub pulse: Pulse,
    /// No heartbeat came for too long.
    pub missing: bool,
    /// Its session.
    pub session: Option<Arc<Seat>>,
    /// Executions routed to it since its last heartbeat.
    pub routed: u32,
}

/// What a heartbeat of either kind tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pulse {
    /// Never unspecified once it was heard of.
    pub status: NodeStatus,
    /// Commands that run.
    pub active_executions: u32,
    /// Free memory.
    pub available_memory_gb: u32,
    /// 0 to 100.
    pub cpu_utilization_percent: f32,
    /// Its drain, told on sessions only.
    pub drain: Option<DrainStatus>,
    /// Results that wait to be acknowledged, told on sessions only.
    pub outbox_length: u32,
    /// Why it says that it is unhealthy, told on sessions only.
    pub unhealthy_reason: String,
    /// Whether it came by the unary call, and not on a session.
    pub unary: bool,
}

impl Live {
    /// Takes a sign of life in. Returns whether it heals a missing node, and
    /// whether anything changed that a person would want to see at once.
    pub fn hear(&mut self, pulse: Pulse, now: Instant, at: Millis) -> (bool, bool) {
        let healed = std::mem::take(&mut self.missing);
        let shown = |p: &Pulse| (p.status, p.active_executions, p.outbox_length);
        let changed = healed
            || self.heard.is_none()
            || shown(&self.pulse) != shown(&pulse)
            || self.pulse.drain != pulse.drain
            || self.pulse.unhealthy_reason != pulse.unhealthy_reason;
        self.heard = Some(now);
        self.heard_at = Some(at);
        self.pulse = pulse;
        self.routed = 0;
        (healed, changed)
    }

    /// The status that others are told.
    pub fn status(&self) -> NodeStatus {
        match (self.missing, self.heard) {
            (true, _) => NodeStatus::Unhealthy,
            (false, None) => NodeStatus::Unspecified,
            (false, Some(_)) => self.pulse.status,
        }
    }
}

impl From<&NodeHeartbeatInner> for Pulse {
    fn from(heartbeat: &NodeHeartbeatInner) -> Self {
        Self {
            status: said(heartbeat.status()),
            active_executions: heartbeat.active_executions,
            available_memory_gb: heartbeat.available_memory_gb,
            cpu_utilization_percent: heartbeat.cpu_utilization_percent,
            drain: None,
            outbox_length: 0,
            unhealthy_reason: String::new(),
            unary: true,
        }
    }
}

impl From<Heartbeat> for Pulse {
    fn from(heartbeat: Heartbeat) -> Self {
        Self {
            status: said(heartbeat.status()),
            active_executions: heartbeat.active_executions,
            available_memory_gb: heartbeat.available_memory_gb,
            cpu_utilization_percent: heartbeat.cpu_utilization_percent,
            drain: heartbeat.drain,
            outbox_length: heartbeat.outbox_length,
            unhealthy_reason: cut(heartbeat.unhealthy_reason),
            unary: false,
        }
    }
}

/// Bytes of a node's own words that are kept.
const REASON_BYTES: usize = 1024;

fn cut(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES));
    reason
}

/// A node that says nothing of its status is alive.
fn said(status: NodeStatus) -> NodeStatus {
    match status {
        NodeStatus::Unspecified => NodeStatus::Active,
        known => known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_heals_a_missing_node() {
        let mut live = Live::default();
        assert_eq!(live.status(), NodeStatus::Unspecified);
        live.missing = true;
        assert_eq!(live.status(), NodeStatus::Unhealthy);
        let pulse = Pulse::from(&NodeHeartbeatInner::default());
        let (healed, changed) = live.hear(pulse.clone(), Instant::now(), 0);
        assert!(healed && changed);
        assert_eq!(live.status(), NodeStatus::Active);
        assert_eq!(live.hear(pulse, Instant::now(), 0), (false, false));
    }
}
