//! How often an address may ask for a challenge: a token bucket for each.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Addresses that are told apart. Beyond it, new ones share a single bucket.
const MAX_ADDRESSES: usize = 10_000;

/// An address used up its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    /// When the next attempt is free.
    pub retry_after: Duration,
}

/// The buckets.
#[derive(Debug)]
pub struct Attempts {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<Option<IpAddr>, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Attempts {
    /// `per_minute` attempts on average, a minute's worth of them at once.
    pub fn new(per_minute: u32) -> Self {
        let burst = f64::from(per_minute.max(1));
        Self {
            per_second: burst / 60.0,
            burst,
            buckets: Mutex::default(),
        }
    }

    /// Takes one attempt.
    ///
    /// # Errors
    /// Where none is left.
    pub fn take(&self, address: Option<IpAddr>, now: Instant) -> Result<(), TooMany> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = address.map(network);
        if buckets.len() >= MAX_ADDRESSES && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| self.refilled(bucket, now) < self.burst);
            if buckets.len() >= MAX_ADDRESSES {
                key = None;
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket {
            left: self.burst,
            at: now,
        });
        bucket.left = self.refilled(bucket, now);
        bucket.at = now;
        if bucket.left < 1.0 {
            let wait = (1.0 - bucket.left) / self.per_second;
            return Err(TooMany {
                retry_after: Duration::from_secs_f64(wait.max(0.001)),
            });
        }
        bucket.left -= 1.0;
        Ok(())
    }

    fn refilled(&self, bucket: &Bucket, now: Instant) -> f64 {
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.left + since * self.per_second).min(self.burst)
    }
}

/// An IPv6 host owns a /64: counting its addresses one by one counts nothing.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_run_out_and_come_back() {
        let attempts = Attempts::new(60);
        let start = Instant::now();
        let address = Some(IpAddr::from([192, 0, 2, 1]));
        for _ in 0..60 {
            attempts.take(address, start).expect("within the burst");
        }
        let refused = attempts.take(address, start).expect_err("none left");
        assert!(refused.retry_after <= Duration::from_secs(1));
        attempts
            .take(address, start + refused.retry_after * 2)
            .expect("refilled");
    }

    #[test]
    fn one_address_does_not_use_up_anothers() {
        let attempts = Attempts::new(1);
        let now = Instant::now();
        attempts
            .take(Some(IpAddr::from([192, 0, 2, 1])), now)
            .expect("first");
        attempts
            .take(Some(IpAddr::from([192, 0, 2, 2])), now)
            .expect("other address");
        attempts
            .take(Some(IpAddr::from([192, 0, 2, 1])), now)
            .expect_err("used up");
    }

    #[test]
    fn a_flood_of_addresses_shares_one_bucket() {
        let attempts = Attempts::new(1);
        let now = Instant::now();
        let refused = (0..20_000_u32)
            .filter(|n| {
                attempts
                    .take(Some(IpAddr::from(n.to_be_bytes())), now)
                    .is_err()
            })
            .count();
        assert!(refused >= 20_000 - MAX_ADDRESSES - 2, "{refused}");
    }
}
