//! Between the worker's own types and the session's messages.

use std::time::{Duration, SystemTime};

use aegis_plugin_api::Effect;
use aegis_proto::{
    MalformedId,
    limits::{MAX_MESSAGE_BYTES, MAX_NAME_BYTES},
    worker::v1 as proto,
};
use chrono::{DateTime, Utc};

use super::Inventory;
use crate::{
    command::Command,
    control::{DrainStatus, InFlight},
    plugin::{HandlerInfo, PluginInfo},
    pushed_config::ConfigState,
};

/// Of all schemas together: half of what a message can hold.
const SCHEMA_BYTES: usize = MAX_MESSAGE_BYTES / 2;

/// Of who gave a command. No operator's token has a name as long.
const ISSUER_BYTES: usize = 256;

/// Of a W3C trace context, version 00.
const TRACEPARENT_BYTES: usize = 55;

/// Only an id that is none makes a command one that cannot be answered; the
/// rest is judged where answers are made. Texts are cut, and to lengths that no
/// true one has, for an answer has to fit a message too.
pub(super) fn command(mut command: proto::Command) -> Result<Command, MalformedId> {
    cut(&mut command.name, MAX_NAME_BYTES + 1);
    cut(&mut command.issuer, ISSUER_BYTES + 1);
    cut(&mut command.traceparent, TRACEPARENT_BYTES + 1);
    Ok(Command {
        id: command.command_id.parse()?,
        name: command.name,
        payload: command.payload.into(),
        not_before: command.not_before.map(time),
        start_by: command.start_by.map(time),
        timeout: duration(command.timeout),
        issuer: command.issuer,
        traceparent: command.traceparent,
        delivery: command.delivery,
    })
}

fn cut(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}

/// A moment that this machine cannot express is as far away as it can.
fn time(timestamp: prost_types::Timestamp) -> SystemTime {
    const FAR: Duration = Duration::from_secs(1 << 40);
    let early = timestamp.seconds < 0;
    SystemTime::try_from(timestamp).unwrap_or(if early {
        SystemTime::UNIX_EPOCH
    } else {
        SystemTime::UNIX_EPOCH + FAR
    })
}

/// A negative one is none.
pub(super) fn duration(duration: Option<prost_types::Duration>) -> Option<Duration> {
    duration?.try_into().ok()
}

pub(super) fn millis(millis: u64) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(millis / 1000).unwrap_or(i64::MAX),
        nanos: i32::try_from(millis % 1000 * 1_000_000).unwrap_or_default(),
    }
}

fn timestamp(time: DateTime<Utc>) -> prost_types::Timestamp {
    SystemTime::from(time).into()
}

pub(super) fn drain_status(drain: DrainStatus) -> proto::DrainStatus {
    proto::DrainStatus {
        started_at: drain.started_at.map(timestamp),
        deadline: drain.deadline.map(timestamp),
        finished_at: drain.finished_at.map(timestamp),
        in_flight: drain.in_flight.into_iter().map(in_flight).collect(),
        reason: drain.reason,
    }
}

fn in_flight(command: InFlight) -> proto::InFlight {
    proto::InFlight {
        command_id: command.command_id,
        name: command.name,
        plugin: command.plugin,
        started_at: command.started_at.map(timestamp),
        timeout_at: command.timeout_at.map(timestamp),
        cancelled_at: command.cancelled_at.map(timestamp),
        given_up: command.given_up,
    }
}

pub(super) fn inventory(inventory: &Inventory) -> (Vec<proto::Plugin>, Vec<proto::HandlerSpec>) {
    let plugins = inventory.plugins.iter().map(plugin).collect();
    let mut handlers: Vec<proto::HandlerSpec> = inventory.handlers.iter().map(handler).collect();
    let schemas: usize = inventory_schemas(&handlers);
    // Schemas are of use to operators; the session itself can do without.
    if schemas > SCHEMA_BYTES {
        tracing::warn!(
            schemas,
            "the plugins' schemas are too large to be sent: operators will not see them"
        );
        for handler in &mut handlers {
            handler.request_schema.clear();
            handler.response_schema.clear();
        }
    }
    (plugins, handlers)
}

fn inventory_schemas(handlers: &[proto::HandlerSpec]) -> usize {
    handlers
        .iter()
        .map(|handler| handler.request_schema.len() + handler.response_schema.len())
        .sum()
}

fn plugin(info: &PluginInfo) -> proto::Plugin {
    let (state, reason) = info.state.parts();
    proto::Plugin {
        name: info.name.clone(),
        version: info.version.clone(),
        placement: info.placement.as_str().to_owned(),
        sha256: info
            .sha256
            .map(|digest| digest.to_vec())
            .unwrap_or_default(),
        file: info
            .file
            .as_ref()
            .map(|path| path.display().to_string())
            .unwrap_or_default(),
        state: state.to_owned(),
        reason: reason.to_owned(),
        trust: info.trust.clone(),
        trust_reason: info.trust_reason.clone(),
    }
}

fn handler(info: &HandlerInfo) -> proto::HandlerSpec {
    let schema = |schema: &Option<serde_json::Value>| {
        schema.as_ref().map(ToString::to_string).unwrap_or_default()
    };
    proto::HandlerSpec {
        name: info.name.clone(),
        plugin: info.plugin.clone(),
        effect: effect(info.effect).into(),
        timeout: Some(millis(
            u64::try_from(info.timeout.as_millis()).unwrap_or(u64::MAX),
        )),
        concurrency: info.concurrency,
        enabled: info.disabled.is_none(),
        disabled_reason: info.disabled.clone().unwrap_or_default(),
        summary: info.summary.clone(),
        request_schema: schema(&info.request_schema),
        response_schema: schema(&info.response_schema),
        runs_while_draining: info.runs_while_draining,
    }
}

const fn effect(effect: Effect) -> proto::Effect {
    match effect {
        Effect::Read => proto::Effect::Read,
        Effect::Idempotent => proto::Effect::Idempotent,
        Effect::AtMostOnce => proto::Effect::AtMostOnce,
        Effect::Resumable => proto::Effect::Resumable,
    }
}

pub(super) fn config_status(state: &ConfigState) -> proto::ConfigStatus {
    proto::ConfigStatus {
        active_version: state.active_version.clone(),
        attempted_version: state.attempted_version.clone(),
        attempt_succeeded: state.attempt_succeeded,
        failed_step: state.failed_step.clone(),
        reason: state.reason.clone(),
        attempted_at: state.attempted_at.map(timestamp),
        rolled_back_to: state.rolled_back_to.clone(),
        log_tail: state.log_tail.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_cannot_be_are_kept_within_what_can() {
        let early = prost_types::Timestamp {
            seconds: i64::MIN,
            nanos: 0,
        };
        let late = prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        };
        assert!(time(early) < SystemTime::now());
        assert!(time(late) > SystemTime::now());
        assert_eq!(
            duration(Some(prost_types::Duration {
                seconds: -1,
                nanos: 0
            })),
            None
        );
    }

    #[test]
    fn a_command_without_an_id_is_not_one() {
        assert!(
            command(proto::Command {
                command_id: "7".to_owned(),
                ..Default::default()
            })
            .is_err()
        );
    }

    #[test]
    fn texts_of_a_command_never_outgrow_an_answer() {
        let endless = "é".repeat(MAX_MESSAGE_BYTES / 2);
        let taken = command(proto::Command {
            command_id: uuid::Uuid::now_v7().to_string(),
            name: endless.clone(),
            issuer: endless.clone(),
            traceparent: endless,
            ..Default::default()
        })
        .expect("a command");
        assert!(taken.name.len() <= MAX_NAME_BYTES + 1);
        assert!(taken.issuer.len() <= ISSUER_BYTES + 1);
        assert!(taken.traceparent.len() <= TRACEPARENT_BYTES + 1);
        assert!(!crate::config::is_name(&taken.name), "it is no other's");
    }
}
