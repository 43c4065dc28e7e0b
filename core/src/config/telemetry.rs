//! `[telemetry]`

use std::net::SocketAddr;

use super::{
    model::{LogFormat, TelemetryConfig},
    parse_log_filter,
    section::{Section, no_names, one_of},
    sources::Sources,
};

const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

pub(super) fn read(sources: &Sources) -> TelemetryConfig {
    let section = Section::root(sources, "telemetry");
    section.not_available("otlp_endpoint", "leave it out");
    let format = section.parsed("log_format", one_of(FORMATS));
    let config = TelemetryConfig {
        log_format: format.map(|found| found.value).unwrap_or_default(),
        log_level: section
            .parsed("log_level", parse_log_filter)
            .map_or_else(|| "info".to_owned(), |found| found.value),
        metrics: section.parsed("metrics", address).map(|found| found.value),
    };
    section.finish(no_names);
    config
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no address and port, as 127.0.0.1:9464 or [::1]:9464"))
}
