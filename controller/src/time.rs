//! Wall-clock times as they are stored: milliseconds since the Unix epoch.
//! Lifetimes and deadlines inside the process use [`std::time::Instant`].

use std::{
    cell::Cell,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use uuid::Uuid;

/// Milliseconds since the Unix epoch.
pub type Millis = i64;

/// A simulation's time, and where its ids come from.
type Simulated = (Millis, fn() -> Uuid);

thread_local! {
    static SIMULATED: Cell<Option<Simulated>> = const { Cell::new(None) };
}

/// Has this thread read this time, and take its ids from there, from now on.
#[doc(hidden)]
pub fn simulate(now: Millis, new_id: fn() -> Uuid) {
    SIMULATED.set(Some((now, new_id)));
}

/// The time now.
pub fn now() -> Millis {
    SIMULATED
        .get()
        .map_or_else(|| millis(SystemTime::now()), |(now, _)| now)
}

/// A new id that sorts behind all earlier ones.
pub fn new_id() -> Uuid {
    SIMULATED
        .get()
        .map_or_else(Uuid::now_v7, |(_, new_id)| new_id())
}

/// A time before the epoch counts as the epoch.
pub fn millis(time: SystemTime) -> Millis {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

/// A duration in milliseconds, capped where it does not fit.
pub fn duration_millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

/// For a message.
pub fn timestamp(at: Millis) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.div_euclid(1000),
        nanos: i32::try_from(at.rem_euclid(1000) * 1_000_000).unwrap_or(0),
    }
}

/// The last second that a `google.protobuf.Timestamp`, and RFC 3339, can name:
/// 9999-12-31T23:59:59Z.
const LAST_SECOND: i64 = 253_402_300_799;

/// Out of a message; `None` where it is out of range or before the epoch.
pub fn from_timestamp(timestamp: &prost_types::Timestamp) -> Option<Millis> {
    let in_range = (0..=LAST_SECOND).contains(&timestamp.seconds)
        && (0..1_000_000_000).contains(&timestamp.nanos);
    in_range.then_some(())?;
    timestamp
        .seconds
        .checked_mul(1000)?
        .checked_add(i64::from(timestamp.nanos) / 1_000_000)
}

/// For a message.
pub fn proto_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// Out of a message; `None` where it is negative or malformed.
pub fn from_proto_duration(duration: &prost_types::Duration) -> Option<Duration> {
    let seconds = u64::try_from(duration.seconds).ok()?;
    let nanos = u32::try_from(duration.nanos)
        .ok()
        .filter(|n| *n < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_survives_the_round_trip() {
        for at in [0, 1, 999, 1_000, 1_700_000_000_123] {
            assert_eq!(from_timestamp(&timestamp(at)), Some(at));
        }
    }

    #[test]
    fn malformed_times_are_refused() {
        let bad = |seconds, nanos| prost_types::Timestamp { seconds, nanos };
        assert_eq!(from_timestamp(&bad(-1, 0)), None);
        assert_eq!(from_timestamp(&bad(0, -1)), None);
        assert_eq!(from_timestamp(&bad(0, 1_000_000_000)), None);
        assert_eq!(from_timestamp(&bad(i64::MAX, 0)), None);
        assert!(from_timestamp(&bad(LAST_SECOND, 0)).is_some());
        assert_eq!(from_timestamp(&bad(LAST_SECOND + 1, 0)), None);
        let bad = |seconds, nanos| prost_types::Duration { seconds, nanos };
        assert_eq!(from_proto_duration(&bad(-1, 0)), None);
        assert_eq!(from_proto_duration(&bad(0, -5)), None);
    }
}
