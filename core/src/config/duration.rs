//! Durations as people write them: `30s`, `500ms`, `1h30m`.

use std::time::Duration;

/// A text that should have been a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no duration: write a number with a unit, as \"500ms\", \"30s\", \"5m\" or \"1h30m\""
)]
pub struct MalformedDuration(String);

/// Reads a sequence of whole numbers, each with one of the units `ms`, `s`,
/// `m`, `h` and `d`, without spaces.
///
/// # Errors
///
/// The text is anything else, or means more than a hundred years.
pub fn parse_duration(text: &str) -> Result<Duration, MalformedDuration> {
    const CENTURY_MS: u64 = 100 * 365 * 86_400_000;

    let malformed = || MalformedDuration(text.chars().take(64).collect());
    let mut rest = text;
    let mut total_ms: u64 = 0;
    while !rest.is_empty() || text.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .ok_or_else(malformed)?;
        let number: u64 = rest[..digits].parse().map_err(|_| malformed())?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let factor = match &rest[..unit] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(malformed()),
        };
        rest = &rest[unit..];
        total_ms = number
            .checked_mul(factor)
            .and_then(|ms| total_ms.checked_add(ms))
            .filter(|ms| *ms <= CENTURY_MS)
            .ok_or_else(malformed)?;
    }
    Ok(Duration::from_millis(total_ms))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_with_units_add_up() {
        for (text, ms) in [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "30 s",
            "-5s",
            "1.5s",
            "30sec",
            "99999999999999999999s",
            "9999999d",
        ] {
            parse_duration(text).expect_err(text);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,20}") {
            let _ = parse_duration(&text);
        }
    }
}
