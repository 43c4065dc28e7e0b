//! Durations and times as an operator writes them.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// Reads `90s`, `5m`, `1h30m`, `500ms`, `7d`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let malformed =
        || format!("{text:?} is not a duration: write it as 500ms, 90s, 5m, 1h30m or 7d");
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .ok_or_else(malformed)?;
        let count: u32 = rest[..digits].parse().map_err(|_| malformed())?;
        rest = &rest[digits..];
        let unit_end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = match &rest[..unit_end] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            "d" => Duration::from_secs(86_400),
            _ => return Err(malformed()),
        };
        total = unit
            .checked_mul(count)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(malformed)?;
        rest = &rest[unit_end..];
    }
    if total.is_zero() {
        Err(format!("{text:?} is no time at all: give at least 1ms"))
    } else {
        Ok(total)
    }
}

/// A moment: either a time or a distance from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    At(DateTime<Utc>),
    In(Duration),
}

impl Moment {
    /// Reads RFC 3339 or a duration from now.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::At(time.to_utc()));
        }
        parse(text).map(Self::In).map_err(|_| {
            format!("{text:?} is no time: write a duration from now (10m) or RFC 3339 (2026-01-31T18:00:00Z)")
        })
    }

    /// The time it stands for; the far future where it is out of range.
    pub fn resolve(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(time) => time,
            Self::In(distance) => chrono::Duration::from_std(distance)
                .ok()
                .and_then(|distance| now.checked_add_signed(distance))
                .unwrap_or(DateTime::<Utc>::MAX_UTC),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_units() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("7d"), Ok(Duration::from_secs(604_800)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for bad in [
            "",
            "5",
            "s",
            "0s",
            "-5s",
            "5 s",
            "1.5h",
            "5x",
            "99999999999s",
            "5sm",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_moment_is_a_time_or_a_distance() {
        let now = DateTime::from_timestamp(1_000, 0).unwrap();
        assert_eq!(
            Moment::parse("10s").unwrap().resolve(now).timestamp(),
            1_010
        );
        assert_eq!(
            Moment::parse("1970-01-01T01:00:00+01:00")
                .unwrap()
                .resolve(now)
                .timestamp(),
            0
        );
        assert!(Moment::parse("tomorrow").is_err());
    }
}
