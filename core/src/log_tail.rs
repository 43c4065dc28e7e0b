//! The last lines of the log, for whoever is told that something failed.

use std::{
    collections::VecDeque,
    fmt::{self, Write},
    sync::{Arc, Mutex},
};

use chrono::Utc;
use tracing::{
    Event,
    field::{Field, Visit},
};

use crate::unpoisoned::lock;

/// As many lines are kept.
const LINES: usize = 20;

/// Longer lines are cut.
const LINE_BYTES: usize = 512;

/// Keeps the last 20 lines of 512 bytes. Clones share them.
///
/// Of an event the time, the level, the module and the message are kept, and
/// none of its fields: what a plugin or a library logs beside its message may
/// be meant for this machine alone. Control characters are escaped.
///
/// A program hands it the events of its subscriber and gives a clone to the
/// [builder](crate::lifecycle::WorkerLifecycleBuilder::log_tail).
#[derive(Debug, Clone, Default)]
pub struct LogTail(Arc<Mutex<VecDeque<String>>>);

impl LogTail {
    /// Keeps an event, and drops the oldest beyond the limit.
    pub fn record(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        let metadata = event.metadata();
        let now = Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ");
        // It only fails when the line is full.
        let _ = write!(line, "{now} {} {}: ", metadata.level(), metadata.target());
        event.record(&mut line);
        let mut lines = lock(&self.0);
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line.0);
    }

    /// Oldest first.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.0).iter().cloned().collect()
    }
}

/// Takes what fits.
struct Line(String);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let before = self.0.len();
            if character.is_control() {
                self.0.extend(character.escape_default());
            } else {
                self.0.push(character);
            }
            if self.0.len() > LINE_BYTES {
                self.0.truncate(before);
                return Err(fmt::Error);
            }
        }
        Ok(())
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self, "{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::{Metadata, Subscriber, span};

    use super::*;

    struct Follow(LogTail);

    impl Subscriber for Follow {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &Event<'_>) {
            self.0.record(event);
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    fn tail_of(log: impl FnOnce()) -> Vec<String> {
        let tail = LogTail::default();
        tracing::subscriber::with_default(Follow(tail.clone()), log);
        tail.lines()
    }

    #[test]
    fn the_last_lines_are_kept_without_their_fields() {
        let lines = tail_of(|| {
            for number in 0..30 {
                tracing::warn!(token = "secret", "line {number}");
            }
        });
        assert_eq!(lines.len(), LINES);
        assert!(lines[0].ends_with("line 10"), "{lines:#?}");
        assert!(lines[19].contains(" WARN aegis_core::log_tail::tests: line 29"));
        assert!(lines.iter().all(|line| !line.contains("secret")));
    }

    #[test]
    fn a_line_is_bounded_and_steers_no_terminal() {
        let lines = tail_of(|| {
            tracing::info!("{}", "ü\u{1b}[2J\n".repeat(500));
            tracing::info!("{}", "\u{0}".repeat(600));
        });
        for line in lines {
            assert!(line.len() <= LINE_BYTES, "{}", line.len());
            assert!(line.len() > LINE_BYTES - 8, "{}", line.len());
            assert!(!line.chars().any(char::is_control), "{line}");
        }
    }
}
