//! What a plugin's process says, on its standard output and error and as log
//! lines: bounded in rate and in length, so that it cannot fill the worker's
//! log.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Lines that may come at once.
const BURST: u32 = 1000;
/// Lines a second, on average.
const RATE: u32 = 100;
/// Of a line of standard output or error; the rest goes into the next one.
const MAX_LINE: usize = 2048;
/// As many last lines are told with a crash.
const TAIL: usize = 4;
/// Of all that.
const MAX_TAIL_BYTES: usize = 1024;
const SECOND: Duration = Duration::from_secs(1);

/// Lets lines through at a bounded rate.
#[derive(Debug)]
pub(super) struct Bucket {
    left: u32,
    filled: Instant,
    dropped: u64,
    told: Instant,
}

impl Bucket {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            filled: now,
            dropped: 0,
            told: now,
        }
    }

    /// Whether one more line passes.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.filled);
        let gained = since.as_millis() * u128::from(RATE) / SECOND.as_millis();
        if gained > 0 {
            let gained = u32::try_from(gained).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(gained).min(BURST);
            self.filled = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.dropped += 1;
                false
            }
        }
    }

    /// How many were dropped, once a second at the most and if any were.
    pub(super) fn dropped(&mut self, now: Instant) -> Option<u64> {
        let due = self.dropped > 0 && now.saturating_duration_since(self.told) >= SECOND;
        due.then(|| {
            self.told = now;
            std::mem::take(&mut self.dropped)
        })
    }

    /// Whether some were dropped that nobody was told of.
    pub(super) fn owes(&self) -> bool {
        self.dropped > 0
    }
}

/// Cuts a stream into lines and keeps the last of them.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
    tail: VecDeque<String>,
}

impl Lines {
    /// More of the stream; `each` is given every line that is whole by now.
    pub(super) fn extend(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let mut piece = piece;
            while !piece.is_empty() {
                let room = MAX_LINE - self.partial.len();
                let (now, later) = piece.split_at(room.min(piece.len()));
                self.partial.extend_from_slice(now);
                piece = later;
                if self.partial.ends_with(b"\n") || self.partial.len() == MAX_LINE {
                    self.finish(&mut each);
                }
            }
        }
    }

    /// The stream is over.
    pub(super) fn finish(&mut self, mut each: impl FnMut(&str)) {
        let line = String::from_utf8_lossy(&self.partial);
        // A terminal must not obey it.
        let line: String = line
            .trim_end()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        self.partial.clear();
        if line.trim().is_empty() {
            return;
        }
        each(&line);
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// Its last words, in one line; empty if it had none.
    pub(super) fn tail(&self) -> String {
        let mut words = String::new();
        for line in &self.tail {
            if !words.is_empty() {
                words.push_str(" | ");
            }
            words.push_str(line);
        }
        let from = words.ceil_char_boundary(words.len().saturating_sub(MAX_TAIL_BYTES));
        words.split_off(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds_and_what_is_dropped_is_told() {
        let begun = Instant::now();
        let mut bucket = Bucket::new(begun);
        let passed = (0..5000).filter(|_| bucket.admits(begun)).count();
        assert_eq!(passed, BURST as usize);
        assert_eq!(bucket.dropped(begun), None, "not within the first second");
        let later = begun + SECOND;
        let passed = (0..5000).filter(|_| bucket.admits(later)).count();
        assert_eq!(passed, RATE as usize);
        assert_eq!(bucket.dropped(later), Some(5000 - 1000 + 5000 - 100));
        assert!(!bucket.owes());
        assert_eq!(bucket.dropped(later + SECOND), None);
    }

    #[test]
    fn a_stream_without_an_end_of_line_is_cut_and_little_of_it_is_kept() {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        let flood = "x".repeat(MAX_LINE * 10 + 5);
        lines.extend(flood.as_bytes(), |line| seen.push(line.len()));
        assert_eq!(seen, vec![MAX_LINE; 10]);
        lines.extend(b"\nfirst\n\n\x1b[31mse", |line| seen.push(line.len()));
        lines.extend(b"cond", |line| seen.push(line.len()));
        lines.finish(|line| seen.push(line.len()));
        assert_eq!(seen[10..], [5, 5, 11]);
        let tail = lines.tail();
        assert!(tail.len() <= MAX_TAIL_BYTES);
        assert!(tail.ends_with("first |  [31msecond"), "{tail}");
    }
}
