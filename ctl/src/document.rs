//! What `-o json` prints: one struct per thing, built from the wire once. The
//! tables are made from the same structs, so that both always say the same.
//!
//! The names of the fields are a contract: scripts read them. Fields are
//! added, never renamed. Times are RFC 3339 in UTC, durations milliseconds
//! (`_ms`), absent values `null`, ids and digests text.

mod command;
mod config;
mod group;
mod handler;
mod node;
mod plugin;
mod receipt;
mod record;
mod rollout;

use chrono::{DateTime, Utc};
use prost_types::{Duration, Timestamp};
use serde_json::Value;

pub use self::{
    command::{Command, CommandList, Counts, Follow, Progress},
    config::{AppliedConfig, Config, ConfigPush, Layer},
    group::Group,
    handler::{Description, Handler, HandlerOn, Summary},
    node::{ConfigState, Drain, InFlight, Node, NodeDetail, Plugin},
    plugin::{AllowedPlugin, FleetPlugin, FleetPlugins},
    receipt::{Evidence, Receipt},
    record::{AuditEntry, EnrolmentToken, Event, NewEnrolmentToken},
    rollout::{NodeConfig, Revision, Rollout, RolloutCounts, RolloutDetail, RolloutNode},
};

/// A time of the wire; nothing where it is unset or no time at all.
pub fn time(timestamp: Option<&Timestamp>) -> Option<DateTime<Utc>> {
    let timestamp = timestamp?;
    DateTime::from_timestamp(timestamp.seconds, u32::try_from(timestamp.nanos).ok()?)
}

/// A time for the wire.
pub fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: time.timestamp(),
        nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0),
    }
}

/// A duration of the wire in milliseconds; nothing where it is unset or negative.
pub fn milliseconds(duration: Option<&Duration>) -> Option<u64> {
    let duration: std::time::Duration = (*duration?).try_into().ok()?;
    u64::try_from(duration.as_millis()).ok()
}

/// A duration for the wire.
pub fn duration(duration: std::time::Duration) -> Duration {
    // Durations of ours come from a parser whose range is far below the wire's.
    Duration::try_from(duration).unwrap_or_default()
}

/// JSON bytes as a value: nothing where there are none, text where they are no JSON.
pub fn json(bytes: &[u8]) -> Option<Value> {
    if bytes.is_empty() {
        return None;
    }
    let text = || Value::String(String::from_utf8_lossy(bytes).into_owned());
    Some(serde_json::from_slice(bytes).unwrap_or_else(|_| text()))
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Nothing in place of an empty text.
pub fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The last word of an enum's name on the wire: `NODE_STATUS_ACTIVE` is "active".
pub fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix)
        .unwrap_or(name)
        .to_ascii_lowercase()
        .replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_from_a_hostile_peer_are_taken_or_left_out() {
        assert_eq!(
            time(Some(&Timestamp {
                seconds: i64::MAX,
                nanos: -1
            })),
            None
        );
        assert_eq!(
            milliseconds(Some(&Duration {
                seconds: -1,
                nanos: 0
            })),
            None
        );
        assert_eq!(json(b"\xff"), Some(Value::String("\u{fffd}".into())));
        assert_eq!(json(b""), None);
    }

    #[test]
    fn times_survive_the_wire() {
        let now = DateTime::from_timestamp(1_700_000_000, 5).unwrap();
        assert_eq!(time(Some(&timestamp(now))), Some(now));
    }
}
