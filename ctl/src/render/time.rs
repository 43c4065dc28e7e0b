//! Times as people say them.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// "12s ago", "in 5m", or a dash.
pub fn ago(now: DateTime<Utc>, time: Option<DateTime<Utc>>) -> String {
    let Some(time) = time else { return "-".into() };
    let distance = now.signed_duration_since(time);
    match (distance.to_std(), (-distance).to_std()) {
        (Ok(past), _) if past < Duration::from_secs(1) => "now".into(),
        (Ok(past), _) => format!("{} ago", span(past)),
        // Rounded up: what was just given an hour has "1h" left, not "59m59s".
        (_, Ok(future)) => format!("in {}", span(future + Duration::from_millis(999))),
        _ => "-".into(),
    }
}

/// A duration in its two largest units at the most: "250ms", "12s", "3m05s",
/// "2h10m", "4d3h".
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{small_unit}"),
    };
    match () {
        () if seconds == 0 => format!("{}ms", duration.as_millis()),
        () if minutes == 0 => format!("{seconds}s"),
        () if hours == 0 => pair(minutes, "m", seconds % 60, "s"),
        () if days == 0 => pair(hours, "h", minutes % 60, "m"),
        () => pair(days, "d", hours % 24, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_two_units_at_the_most() {
        for (seconds, expected) in [
            (12, "12s"),
            (60, "1m"),
            (185, "3m5s"),
            (7_800, "2h10m"),
            (356_400, "4d3h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(span(Duration::from_millis(250)), "250ms");
    }

    #[test]
    fn times_are_told_from_now() {
        let now = DateTime::from_timestamp(1_000, 0).unwrap();
        let at = |seconds| DateTime::from_timestamp(seconds, 0);
        assert_eq!(ago(now, at(988)), "12s ago");
        assert_eq!(ago(now, at(1_000)), "now");
        assert_eq!(ago(now, at(1_300)), "in 5m");
        assert_eq!(ago(now, None), "-");
    }
}
