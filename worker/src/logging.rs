//! The log on standard error.

use std::io;

use aegis_core::config::model::{LogFormat, TelemetryConfig};
use anyhow::Context;
use tracing_subscriber::{
    Registry, filter::Targets, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

/// Changes the level of a running worker.
pub struct LogLevel {
    handle: reload::Handle<Targets, Registry>,
    /// What the local config says, for when nothing is pushed.
    local: Targets,
}

/// Starts it.
pub fn start(config: &TelemetryConfig) -> anyhow::Result<LogLevel> {
    let local: Targets = config
        .log_level
        .parse()
        .with_context(|| format!("telemetry.log_level: {:?} is no filter", config.log_level))?;
    let (filter, handle) = reload::Layer::new(local.clone());
    let registry = tracing_subscriber::registry().with(filter);
    match config.log_format {
        LogFormat::Text => registry.with(fmt::layer().with_writer(io::stderr)).init(),
        LogFormat::Json => registry
            .with(fmt::layer().json().with_writer(io::stderr))
            .init(),
    }
    Ok(LogLevel { handle, local })
}

impl LogLevel {
    /// Follows a pushed level, or goes back to the local one.
    pub fn set(&self, pushed: Option<&str>) {
        let filter = match pushed.map(str::parse::<Targets>) {
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
