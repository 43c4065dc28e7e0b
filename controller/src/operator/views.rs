//! Records as operators see them.

use std::time::Duration;

use aegis_proto::{
    operator::v1::{AuditEntry, CommandView, ConfigLayer, EnrolmentToken, Event, NodeView},
    worker::v1::Progress,
};
use sha2::{Digest, Sha256};

use crate::{
    controller::Controller,
    directory::Node,
    store::{AuditRecord, CommandRecord, EventRecord, LayerRecord, LayerScope, TokenRecord},
    time::{Millis, proto_duration, timestamp},
};

impl Controller {
    /// One node as it is now.
    pub(crate) fn node_view(&self, node: &Node, open: u32) -> NodeView {
        let info = node.info();
        let record = node.record();
        let (pulse, transport) = {
            let live = node.live();
            let fresh = live.pulse.unary && !live.missing && !record.deregistered;
            let transport = match (&live.session, fresh) {
                (Some(_), _) => "session",
                (None, true) => "unary",
                (None, false) => "",
            };
            (live.pulse.clone(), transport)
        };
        let stack = self.layers.load();
        let merged = stack.merged(node.id, &record.capabilities.tags);
        let held = stack.held_by(node.id, &record.capabilities.tags);
        let facts = record.facts.clone().unwrap_or_default();
        NodeView {
            info: Some(info),
            connected: !transport.is_empty(),
            transport: transport.into(),
            active_executions: pulse.active_executions,
            available_memory_gb: pulse.available_memory_gb,
            cpu_utilization_percent: pulse.cpu_utilization_percent,
            drain: pulse.drain,
            worker_version: facts.worker_version,
            hostname: facts.hostname,
            platform: facts.platform,
            config: record.config_status.clone(),
            wanted_config_version: merged.map(|merged| merged.version).unwrap_or_default(),
            banned: record.banned.is_some(),
            key_fingerprint: Sha256::digest(record.public_key.as_bytes()).to_vec(),
            deregistered: record.deregistered,
            queued_commands: open,
            outbox_length: pulse.outbox_length,
            unhealthy_reason: pulse.unhealthy_reason,
            held_by_rollout: held.map(|id| id.to_string()).unwrap_or_default(),
        }
    }

    /// One command as it is now.
    pub(crate) fn command_view(&self, command: CommandRecord) -> CommandView {
        let progress: Option<Progress> = self.watchers.progress(command.id);
        CommandView {
            command_id: command.id.to_string(),
            group_id: command.group.to_string(),
            node_id: command.node.to_string(),
            name: command.name,
            payload: command.payload,
            state: command.state.into(),
            issuer: command.issuer,
            created_at: Some(timestamp(command.created_at)),
            not_before: command.not_before.map(timestamp),
            start_by: command.start_by.map(timestamp),
            timeout: command
                .timeout_ms
                .and_then(|ms| u64::try_from(ms).ok())
                .map(|ms| proto_duration(Duration::from_millis(ms))),
            delivered_at: command.delivered_at.map(timestamp),
            started_at: command.started_at.map(timestamp),
            finished_at: command.finished_at.map(timestamp),
            attempt: command.attempt,
            response: command.response,
            error: command.error,
            progress,
            receipt: command.receipt,
            receipt_signature: command.receipt_signature,
            receipt_key: command.receipt_key,
            output_cut: command.output_cut,
            cancel_requested: command.cancel_requested,
        }
    }
}

pub(super) fn token_view(token: TokenRecord, now: Millis) -> EnrolmentToken {
    EnrolmentToken {
        state: token.state(now).into(),
        token_id: token.id,
        node_id: token.node.map(|node| node.to_string()).unwrap_or_default(),
        created_at: Some(timestamp(token.created_at)),
        expires_at: Some(timestamp(token.expires_at)),
        spent_by: token
            .spent_by
            .map(|node| node.to_string())
            .unwrap_or_default(),
        note: token.note,
    }
}

/// How a layer is told to operators: its scope and its name.
pub(super) fn scope_view(scope: &LayerScope) -> (String, String) {
    let (scope, name) = match scope {
        LayerScope::Global => ("global", String::new()),
        LayerScope::Tag(tag) => ("tag", tag.clone()),
        LayerScope::Node(node) => ("node", node.to_string()),
    };
    (scope.into(), name)
}

pub(super) fn layer_view(layer: &LayerRecord) -> ConfigLayer {
    let (scope, name) = scope_view(&layer.scope);
    let rollout = layer.pending.as_ref().map(|it| it.rollout.to_string());
    ConfigLayer {
        scope,
        name,
        document: layer.document.clone(),
        set_by: layer.set_by.clone(),
        set_at: Some(timestamp(layer.set_at)),
        rollout_id: rollout.unwrap_or_default(),
    }
}

pub(super) fn event_view(event: EventRecord) -> Event {
    Event {
        event_id: u64::try_from(event.id).unwrap_or(0),
        at: Some(timestamp(event.at)),
        kind: event.kind,
        node_id: event.node,
        command_id: event.command,
        message: event.message,
    }
}

pub(super) fn audit_view(entry: AuditRecord) -> AuditEntry {
    AuditEntry {
        audit_id: u64::try_from(entry.id).unwrap_or(0),
        at: Some(timestamp(entry.at)),
        operator: entry.operator,
        action: entry.action,
        detail: entry.detail,
        result: entry.result,
    }
}
