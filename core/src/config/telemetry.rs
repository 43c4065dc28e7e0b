//! `[telemetry]`

use super::{
    model::{LogFormat, TelemetryConfig},
    parse_log_filter,
    section::{Section, no_names, one_of},
    sources::Sources,
};

const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

pub(super) fn read(sources: &Sources) -> TelemetryConfig {
    let section = Section::root(sources, "telemetry");
    section.not_available("metrics", "leave it out");
    section.not_available("otlp_endpoint", "leave it out");
    let format = section.parsed("log_format", one_of(FORMATS));
    let config = TelemetryConfig {
        log_format: format.map(|found| found.value).unwrap_or_default(),
        log_level: section
            .parsed("log_level", parse_log_filter)
            .map_or_else(|| "info".to_owned(), |found| found.value),
        metrics: None,
    };
    section.finish(no_names);
    config
}
