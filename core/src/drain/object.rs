//! The drain object, and the record by which it outlasts the process.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::clock::{self, BootInstant};

/// A later deadline is as good as none.
const LONGEST_DEADLINE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reasons are cut here: they travel in every heartbeat.
pub(super) const REASON_BYTES: usize = 1024;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Drain {
    pub(super) started_at: DateTime<Utc>,
    pub(super) deadline: Option<Deadline>,
    pub(super) finished_at: Option<DateTime<Utc>>,
    pub(super) reason: String,
    /// It was asked for and outlasts the process. The other kind is that of a
    /// worker on its way out.
    pub(super) lasting: bool,
}

/// When running commands are cancelled.
///
/// While the process lives, that is a time after the request on the monotonic
/// clock, whatever the wall clock does. In a later process it is the moment
/// that was set, on the clock that counts from the machine's start; and if the
/// machine was started anew as well, it is the moment on the wall clock, but
/// never later than the whole time that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Deadline {
    pub(super) due: Instant,
    record: DeadlineRecord,
}

/// The clocks, read together.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    pub(super) wall: DateTime<Utc>,
    monotonic: Instant,
    since_boot: BootInstant,
    /// Differs from one start of the machine to the next.
    boot_id: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    started_at: DateTime<Utc>,
    deadline: Option<DeadlineRecord>,
    finished_at: Option<DateTime<Utc>>,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct DeadlineRecord {
    at: DateTime<Utc>,
    /// From the request to `at`.
    length_ms: u64,
    /// `at`, from the start of the machine.
    after_boot_ms: u64,
    boot_id: Option<String>,
}

impl Drain {
    pub(super) fn begin(reason: String, at: DateTime<Utc>, lasting: bool) -> Self {
        Self {
            started_at: at,
            deadline: None,
            finished_at: None,
            reason,
            lasting,
        }
    }

    /// What [`restore`](Self::restore) reads.
    pub(super) fn record(&self) -> Vec<u8> {
        let record = Record {
            started_at: self.started_at,
            deadline: self
                .deadline
                .as_ref()
                .map(|deadline| deadline.record.clone()),
            finished_at: self.finished_at,
            reason: self.reason.clone(),
        };
        serde_json::to_vec(&record).expect("times and text can be written as JSON")
    }

    /// A record that can't be read is a drain all the same: a node that was
    /// taken out of work does not come back by itself.
    pub(super) fn restore(record: &[u8], now: &Moment) -> Self {
        match serde_json::from_slice::<Record>(record) {
            Ok(record) => Self {
                started_at: record.started_at,
                deadline: record
                    .deadline
                    .map(|deadline| Deadline::restore(deadline, now)),
                finished_at: record.finished_at,
                reason: cut(record.reason),
                lasting: true,
            },
            Err(error) => {
                tracing::error!(%error, "the record of this node's drain can't be read");
                let reason = "this node drained before, and the record of it can't be read";
                Self::begin(reason.to_owned(), now.wall, true)
            }
        }
    }
}

impl Deadline {
    pub(super) fn after(ms: u64, now: &Moment) -> Self {
        let delay = Duration::from_millis(ms).min(LONGEST_DEADLINE);
        Self {
            due: now.monotonic + delay,
            record: DeadlineRecord {
                at: now.wall + TimeDelta::from_std(delay).unwrap_or(TimeDelta::MAX),
                length_ms: millis(delay),
                after_boot_ms: millis((now.since_boot + delay).since(BootInstant::default())),
                boot_id: now.boot_id.clone(),
            },
        }
    }

    /// As it is told.
    pub(super) const fn at(&self) -> DateTime<Utc> {
        self.record.at
    }

    fn restore(record: DeadlineRecord, now: &Moment) -> Self {
        Self {
            due: now.monotonic + record.remaining(now),
            record,
        }
    }
}

impl DeadlineRecord {
    fn remaining(&self, now: &Moment) -> Duration {
        let length = Duration::from_millis(self.length_ms).min(LONGEST_DEADLINE);
        let left = if self.boot_id.is_some() && self.boot_id == now.boot_id {
            BootInstant::after_boot(Duration::from_millis(self.after_boot_ms)).since(now.since_boot)
        } else {
            (self.at - now.wall).to_std().unwrap_or_default()
        };
        left.min(length)
    }
}

impl Moment {
    pub(super) fn now() -> Self {
        Self {
            wall: clock::wall().into(),
            monotonic: clock::monotonic(),
            since_boot: BootInstant::now(),
            boot_id: boot_id(),
        }
    }
}

#[cfg(target_os = "linux")]
fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// Where the system does not tell one start from another, none is the same.
#[cfg(not(target_os = "linux"))]
fn boot_id() -> Option<String> {
    None
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn cut(mut reason: String) -> String {
    let mut end = reason.len().min(REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.truncate(end);
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const HOUR: Duration = Duration::from_secs(3600);

    fn moment(boot_id: &str) -> Moment {
        Moment {
            wall: DateTime::UNIX_EPOCH + 1000 * DAY,
            monotonic: clock::monotonic(),
            since_boot: BootInstant::after_boot(3 * DAY),
            boot_id: Some(boot_id.to_owned()),
        }
    }

    fn left(set: &Moment, length: Duration, now: &Moment) -> Duration {
        let deadline = Some(Deadline::after(millis(length), set));
        let drain = Drain {
            deadline,
            ..Drain::begin("disk swap".to_owned(), set.wall, true)
        };
        let restored = Drain::restore(&drain.record(), now);
        let deadline = restored.deadline.expect("it was kept");
        assert_eq!(deadline.at(), set.wall + length);
        deadline.due - now.monotonic
    }

    #[test]
    fn a_restart_of_the_worker_keeps_the_deadline_wherever_the_wall_clock_went() {
        let set = moment("one");
        for wall in [set.wall, set.wall + DAY, set.wall - DAY] {
            let now = Moment {
                wall,
                since_boot: set.since_boot + HOUR / 4,
                ..set.clone()
            };
            assert_eq!(left(&set, HOUR, &now), HOUR * 3 / 4);
        }
        let late = Moment {
            since_boot: set.since_boot + DAY,
            ..set.clone()
        };
        assert_eq!(left(&set, HOUR, &late), Duration::ZERO);
    }

    #[test]
    fn a_restart_of_the_machine_takes_the_wall_clock_but_never_more_than_was_asked_for() {
        let set = moment("one");
        let after = |wall| Moment {
            wall,
            since_boot: BootInstant::after_boot(Duration::from_secs(5)),
            ..moment("two")
        };
        assert_eq!(left(&set, HOUR, &after(set.wall + HOUR / 4)), HOUR * 3 / 4);
        assert_eq!(left(&set, HOUR, &after(set.wall - DAY)), HOUR);
        assert_eq!(left(&set, HOUR, &after(set.wall + DAY)), Duration::ZERO);
    }

    #[test]
    fn a_system_that_does_not_tell_its_starts_apart_goes_by_the_wall_clock() {
        let set = Moment {
            boot_id: None,
            ..moment("")
        };
        let now = Moment {
            wall: set.wall + HOUR / 2,
            since_boot: BootInstant::after_boot(Duration::ZERO),
            ..set.clone()
        };
        assert_eq!(left(&set, HOUR, &now), HOUR / 2);
    }

    #[test]
    fn what_can_not_be_read_is_a_drain_all_the_same() {
        for record in [&b""[..], b"{}", b"null", b"\xff"] {
            let drain = Drain::restore(record, &moment("one"));
            assert!(drain.lasting && drain.finished_at.is_none());
            assert!(!drain.reason.is_empty());
        }
    }
}
