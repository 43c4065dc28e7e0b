//! The log on standard error.

use std::io::{self, IsTerminal};

use aegis_core::{
    config::model::{LogFormat, TelemetryConfig},
    log_tail::LogTail,
};
use anyhow::Context;
use tracing::{Event, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    filter::{ParseError, Targets},
    fmt, layer,
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

/// Libraries whose `debug` is about frames and buffers: quiet unless named.
const NOISY: &[&str] = &["h2", "hyper", "hyper_util", "rustls", "tonic", "tower"];

/// Changes the level of a running worker.
pub struct LogLevel {
    handle: reload::Handle<Targets, Registry>,
    /// What the local config says, for when nothing is pushed.
    local: Targets,
}

/// Keeps the last lines.
struct Tail(LogTail);

impl<S: Subscriber> Layer<S> for Tail {
    fn on_event(&self, event: &Event<'_>, _: layer::Context<'_, S>) {
        self.0.record(event);
    }
}

/// Starts it. Its last lines are kept in `tail`.
pub fn start(config: &TelemetryConfig, tail: LogTail) -> anyhow::Result<LogLevel> {
    let local = filter(&config.log_level)
        .with_context(|| format!("telemetry.log_level: {:?} is no filter", config.log_level))?;
    let (filter, handle) = reload::Layer::new(local.clone());
    let registry = tracing_subscriber::registry().with(filter).with(Tail(tail));
    match config.log_format {
        LogFormat::Text => registry
            .with(
                fmt::layer()
                    .with_ansi(io::stderr().is_terminal())
                    .with_writer(io::stderr),
            )
            .init(),
        LogFormat::Json => registry
            .with(fmt::layer().json().with_writer(io::stderr))
            .init(),
    }
    Ok(LogLevel { handle, local })
}

impl LogLevel {
    /// Follows a pushed level, or goes back to the local one.
    pub fn set(&self, pushed: Option<&str>) {
        let filter = match pushed.map(filter) {
            None => self.local.clone(),
            Some(Ok(filter)) => filter,
            Some(Err(error)) => {
                tracing::warn!(%error, pushed, "the pushed log level is no filter");
                return;
            }
        };
        if let Err(error) = self.handle.reload(filter) {
            tracing::warn!(%error, "cannot change the log level");
        }
        aegis_core::plugin::follow_log_level();
    }
}

fn filter(text: &str) -> Result<Targets, ParseError> {
    let asked: Targets = text.parse()?;
    let quiet = asked
        .default_level()
        .unwrap_or(LevelFilter::OFF)
        .min(LevelFilter::INFO);
    let mut filter = Targets::new().with_targets(NOISY.iter().map(|target| (*target, quiet)));
    if let Some(level) = asked.default_level() {
        filter = filter.with_default(level);
    }
    // Those that were asked for replace ours.
    filter.extend(asked);
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn frames_are_logged_only_where_they_are_asked_for() {
        let debug = filter("debug").expect("a filter");
        assert!(debug.would_enable("aegis_core", &Level::DEBUG));
        assert!(!debug.would_enable("h2::codec", &Level::DEBUG));
        let named = filter("info,h2=trace").expect("a filter");
        assert!(named.would_enable("h2::codec", &Level::TRACE));
        let quiet = filter("error").expect("a filter");
        assert!(!quiet.would_enable("h2::codec", &Level::INFO));
    }
}
