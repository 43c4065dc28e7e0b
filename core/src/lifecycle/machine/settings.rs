//! What the machine is told once.

use std::time::Duration;

use crate::config::Config;

/// How long the outbox is waited for at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) heartbeat_interval: Duration,
    pub(crate) min_interval: Duration,
    pub(crate) max_interval: Duration,
    pub(crate) max_backoff: Duration,
    pub(crate) token_refresh_margin: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) flush_timeout: Duration,
    pub(crate) has_enrolment_token: bool,
}

impl Settings {
    pub(super) fn bound(&self, interval: Duration) -> Duration {
        interval.max(self.min_interval).min(self.max_interval)
    }
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        let lifecycle = &config.lifecycle;
        Self {
            heartbeat_interval: lifecycle.heartbeat_interval,
            min_interval: lifecycle.min_heartbeat_interval,
            max_interval: lifecycle.max_heartbeat_interval,
            max_backoff: lifecycle.max_backoff,
            token_refresh_margin: lifecycle.token_refresh_margin,
            drain_timeout: lifecycle.drain_timeout,
            flush_timeout: FLUSH_TIMEOUT,
            has_enrolment_token: config.controller.enrolment_token.is_some(),
        }
    }
}
