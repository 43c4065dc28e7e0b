//! How long to wait before the next attempt.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);

/// Full jitter: between nothing and a bound that doubles from 1 s to the longest
/// wait, so that the nodes of a controller that comes back do not arrive all at
/// once.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    longest: Duration,
    failures: u32,
    jitter: Jitter,
}

impl Backoff {
    pub(super) fn new(seed: u64, longest: Duration) -> Self {
        Self {
            longest,
            failures: 0,
            jitter: Jitter(seed),
        }
    }

    /// The wait after one more failure.
    pub(super) fn failed(&mut self) -> Duration {
        let bound = FIRST
            .saturating_mul(1 << self.failures.min(12))
            .min(self.longest);
        self.failures = self.failures.saturating_add(1);
        self.jitter.up_to(bound)
    }

    /// The wait where the controller says how long: never less than that.
    pub(super) fn told(&mut self, delay: Duration) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let delay = delay.min(Duration::from_secs(3600));
        delay + self.jitter.up_to(FIRST.max(delay / 4))
    }

    /// A wait as after many failures, where trying again soon does harm.
    pub(super) fn far(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.longest / 2 + self.jitter.up_to(self.longest / 2)
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// A duration, up to a tenth shorter: heartbeats of many nodes spread out.
    pub(super) fn spread(&mut self, interval: Duration) -> Duration {
        interval - self.jitter.up_to(interval / 10)
    }
}

/// SplitMix64: for spreading, not for secrets.
#[derive(Debug, Clone)]
struct Jitter(u64);

impl Jitter {
    fn up_to(&mut self, bound: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        #[allow(clippy::cast_precision_loss)]
        bound.mul_f64((z >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_stay_within_their_bounds(
            seed: u64,
            failures in 0_u32..40,
            longest in 10_u64..600_000,
        ) {
            let longest = Duration::from_millis(longest);
            let mut backoff = Backoff::new(seed, longest);
            for n in 0..failures {
                let bound = FIRST.saturating_mul(1 << n.min(12)).min(longest);
                prop_assert!(backoff.failed() <= bound);
            }
            prop_assert!(backoff.far() >= longest / 2);
            let told = backoff.told(Duration::from_secs(7));
            prop_assert!((7.0..=9.0).contains(&told.as_secs_f64()));
            let spread = backoff.spread(Duration::from_secs(30));
            prop_assert!((27.0..=30.0).contains(&spread.as_secs_f64()));
        }
    }

    #[test]
    fn success_begins_anew() {
        let mut backoff = Backoff::new(7, Duration::from_secs(60));
        for _ in 0..10 {
            backoff.failed();
        }
        backoff.succeeded();
        assert!(backoff.failed() <= FIRST);
    }
}
