//! What to log: a level, and exceptions by module.

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A text that should have been a log filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no log level: write off, error, warn, info, debug or trace, \
     or MODULE=LEVEL after a comma, as \"info,aegis_core=debug\""
)]
pub struct MalformedLogFilter(String);

/// Takes directives `LEVEL` and `MODULE=LEVEL`, separated by commas, and
/// hands the text back.
///
/// # Errors
///
/// A directive is anything else.
pub fn parse_log_filter(text: &str) -> Result<String, MalformedLogFilter> {
    let is_module = |name: &str| {
        let part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-');
        !name.is_empty() && name.bytes().all(part)
    };
    for directive in text.split(',').map(str::trim) {
        let (module, level) = match directive.split_once('=') {
            Some((module, level)) => (Some(module), level),
            None => (None, directive),
        };
        let known = LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known));
        if !known || !module.is_none_or(is_module) {
            return Err(MalformedLogFilter(directive.chars().take(64).collect()));
        }
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_exceptions_by_module_are_taken() {
        for good in [
            "info",
            "WARN",
            "info,aegis_core=debug",
            "off, h2::codec=trace",
        ] {
            parse_log_filter(good).expect(good);
        }
        for bad in [
            "",
            "loud",
            "info,",
            "aegis_core",
            "a b=info",
            "=info",
            "a[span]=info",
        ] {
            parse_log_filter(bad).expect_err(bad);
        }
    }
}
