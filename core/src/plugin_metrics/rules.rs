//! What a metric may be called, and how it is bounded.

use aegis_plugin_api::HandlerError;

use super::{Kind, Labels};

pub(super) const MAX_NAME_BYTES: usize = 64;
const MAX_HELP_BYTES: usize = 512;
const MAX_BUCKETS: usize = 32;
const MAX_LABELS: usize = 8;
const MAX_LABEL_VALUE_BYTES: usize = 256;

/// Added by the exposition: a name that ends so could be that of another family's
/// series.
const SUFFIXES: [&str; 8] = [
    "_total", "_created", "_count", "_sum", "_bucket", "_gcount", "_gsum", "_info",
];
/// The worker's own label, and those that the exposition gives a meaning.
const LABELS: [&str; 3] = ["plugin", "le", "quantile"];

pub(super) fn metric(
    name: &str,
    help: &str,
    kind: Kind,
    buckets: &[f64],
) -> Result<(), HandlerError> {
    if !is_name(name) {
        return Err(bad_name("metric", name));
    }
    if let Some(suffix) = SUFFIXES.iter().find(|suffix| name.ends_with(**suffix)) {
        return Err(invalid(format!(
            "the metric {name} ends with {suffix}, which the worker adds where it belongs"
        )));
    }
    // The exposition has one line for it and escapes nothing.
    let breaks = |each: char| each.is_control() || each == '\\';
    if help.is_empty() || help.len() > MAX_HELP_BYTES || help.contains(breaks) {
        return Err(invalid(format!(
            "the help of {name} is not one line of 1 to {MAX_HELP_BYTES} bytes without a backslash"
        )));
    }
    let ascending = buckets.is_sorted_by(|a, b| a < b) && buckets.iter().all(|it| it.is_finite());
    let sound = match kind {
        Kind::Counter | Kind::Gauge => buckets.is_empty(),
        Kind::Histogram => (1..=MAX_BUCKETS).contains(&buckets.len()) && ascending,
    };
    if !sound {
        return Err(invalid(format!(
            "the buckets of {name} have to be 1 to {MAX_BUCKETS} ascending bounds, and of a \
             histogram"
        )));
    }
    Ok(())
}

pub(super) fn labels(labels: &Labels) -> Result<(), HandlerError> {
    if labels.len() > MAX_LABELS {
        return Err(invalid(format!(
            "a series with {} labels; it has at most {MAX_LABELS}",
            labels.len()
        )));
    }
    for (name, value) in labels {
        if !is_name(name) {
            return Err(bad_name("label", name));
        }
        if name.starts_with("__") || LABELS.contains(&name.as_str()) {
            return Err(invalid(format!("the label {name} is reserved")));
        }
        if value.len() > MAX_LABEL_VALUE_BYTES {
            return Err(invalid(format!(
                "the label {name} has {} bytes; it has at most {MAX_LABEL_VALUE_BYTES}",
                value.len()
            )));
        }
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn bad_name(what: &str, name: &str) -> HandlerError {
    let name: String = name.chars().take(MAX_NAME_BYTES).collect();
    invalid(format!(
        "no {what} can be called {name:?}: 1 to {MAX_NAME_BYTES} of a-z A-Z 0-9 _, not beginning \
         with a digit"
    ))
}

pub(super) fn invalid(message: impl Into<String>) -> HandlerError {
    HandlerError::new("invalid-metric", message)
}
