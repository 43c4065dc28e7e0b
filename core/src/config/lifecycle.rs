//! `[lifecycle]`

use std::time::Duration;

use super::{
    model::LifecycleConfig,
    section::{Section, no_names},
    sources::Sources,
};

/// The protocol's own.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);
/// A controller cannot make its nodes hammer it.
const MIN_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Nor keep silent: at the protocol's own settings a node is stale after 90 s.
const MAX_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(300);
/// Twice a minute and node, on average: a controller that comes back is found
/// soon, and one that is down is not hammered.
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// The protocol's own.
const TOKEN_REFRESH_MARGIN: Duration = Duration::from_secs(120);
/// Half of what systemd waits before it kills.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(45);
/// Two heartbeats.
const CONFIG_PROBATION: Duration = Duration::from_secs(60);

/// No interval below it: it would be a busy loop.
const SHORTEST: Duration = Duration::from_millis(10);

pub(super) fn read(sources: &Sources) -> LifecycleConfig {
    let section = Section::root(sources, "lifecycle");
    let value = |key| section.duration(key).map(|found| found.value);
    let interval = value("heartbeat_interval");
    let min = value("min_heartbeat_interval");
    let max = value("max_heartbeat_interval");
    let max_backoff = value("max_backoff");
    let probation = value("config_probation");
    let config = LifecycleConfig {
        heartbeat_interval: interval.unwrap_or_else(|| {
            HEARTBEAT_INTERVAL
                .max(min.unwrap_or_default())
                .min(max.unwrap_or(Duration::MAX))
        }),
        min_heartbeat_interval: min.unwrap_or_else(|| {
            MIN_HEARTBEAT_INTERVAL.min(interval.or(max).unwrap_or(Duration::MAX))
        }),
        // Who sets an interval wants heartbeats at least that often, whatever
        // the controller says.
        max_heartbeat_interval: max
            .or(interval)
            .unwrap_or(MAX_HEARTBEAT_INTERVAL)
            .max(min.unwrap_or_default()),
        max_backoff: max_backoff.unwrap_or(MAX_BACKOFF),
        token_refresh_margin: value("token_refresh_margin").unwrap_or(TOKEN_REFRESH_MARGIN),
        drain_timeout: value("drain_timeout").unwrap_or(DRAIN_TIMEOUT),
        config_probation: probation.unwrap_or(CONFIG_PROBATION),
    };
    for (key, value) in [
        ("heartbeat_interval", interval),
        ("min_heartbeat_interval", min),
        ("max_heartbeat_interval", max),
        ("max_backoff", max_backoff),
        ("config_probation", probation),
    ] {
        if value.is_some_and(|value| value < SHORTEST) {
            section.fault(key, "this has to be 10ms or more");
        }
    }
    if config.min_heartbeat_interval > config.max_heartbeat_interval {
        section.fault(
            "min_heartbeat_interval",
            "this is more than max_heartbeat_interval",
        );
    } else if !(config.min_heartbeat_interval..=config.max_heartbeat_interval)
        .contains(&config.heartbeat_interval)
    {
        section.fault(
            "heartbeat_interval",
            "this has to lie between min_heartbeat_interval and max_heartbeat_interval",
        );
    }
    section.finish(no_names);
    config
}
