//! When to try again after a lost connection, and when to give up.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(5);
/// A controller that restarts is back long before this.
const GIVE_UP: Duration = Duration::from_secs(120);

/// Failures in a row.
#[derive(Debug, Default)]
pub struct Retry {
    since: Option<Instant>,
    failures: u32,
}

impl Retry {
    /// Something was heard: the next failure is the first one again.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// How long to wait before the next attempt; nothing when it is time to
    /// give up.
    pub fn failed(&mut self, now: Instant) -> Option<Duration> {
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) >= GIVE_UP {
            return None;
        }
        let wait = FIRST.saturating_mul(1 << self.failures.min(8)).min(LONGEST);
        self.failures += 1;
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_end() {
        let start = Instant::now();
        let mut retry = Retry::default();
        assert_eq!(retry.failed(start), Some(FIRST));
        assert_eq!(retry.failed(start), Some(FIRST * 2));
        for _ in 0..20 {
            retry.failed(start);
        }
        assert_eq!(
            retry.failed(start + GIVE_UP - Duration::from_secs(1)),
            Some(LONGEST)
        );
        assert_eq!(retry.failed(start + GIVE_UP), None);
    }

    #[test]
    fn a_success_begins_anew() {
        let start = Instant::now();
        let mut retry = Retry::default();
        retry.failed(start);
        retry.succeeded();
        assert_eq!(retry.failures(), 0);
        assert_eq!(retry.failed(start + GIVE_UP), Some(FIRST));
    }
}
