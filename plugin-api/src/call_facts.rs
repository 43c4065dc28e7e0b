//! What is known of a call from its beginning, copied out of the host's memory.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

/// Room for an id (36 bytes), a trace context (55) and a short name.
const ROOM: usize = 104;

/// What is known of a call from its beginning.
#[derive(Debug)]
pub(crate) struct CallFacts {
    /// Names the call to the host.
    pub(crate) id: u64,
    /// 1 for the first.
    pub(crate) attempt: u32,
    timeout: Option<Duration>,
    /// Found out when first asked for: an inline handler mostly does not ask,
    /// and reading the clock costs as much as the rest of its call.
    deadline: OnceLock<Option<Instant>>,
    /// Command id, issuer and trace context, one after the other.
    text: Text,
    issuer: usize,
    traceparent: usize,
    end: usize,
}

/// The texts of a call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TextParts<'a> {
    pub(crate) command_id: &'a str,
    pub(crate) issuer: &'a str,
    pub(crate) traceparent: &'a str,
}

/// Texts of the usual length need no allocation of their own.
#[derive(Debug)]
enum Text {
    Short([u8; ROOM]),
    Long(Box<[u8]>),
}

impl CallFacts {
    pub(crate) fn new(
        id: u64,
        text: &TextParts<'_>,
        attempt: u32,
        timeout: Option<Duration>,
    ) -> Self {
        let parts = [text.command_id, text.issuer, text.traceparent];
        let end = parts.iter().map(|part| part.len()).sum();
        let issuer = text.command_id.len();
        let traceparent = issuer + text.issuer.len();
        let text = if end <= ROOM {
            let mut room = [0; ROOM];
            let mut at = 0;
            for part in parts {
                room[at..at + part.len()].copy_from_slice(part.as_bytes());
                at += part.len();
            }
            Text::Short(room)
        } else {
            Text::Long(parts.concat().into_bytes().into_boxed_slice())
        };
        Self {
            id,
            attempt,
            timeout,
            deadline: OnceLock::new(),
            text,
            issuer,
            traceparent,
            end,
        }
    }

    pub(crate) fn command_id(&self) -> &str {
        self.part(0, self.issuer)
    }

    pub(crate) fn issuer(&self) -> &str {
        self.part(self.issuer, self.traceparent)
    }

    pub(crate) fn traceparent(&self) -> &str {
        self.part(self.traceparent, self.end)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        *self.deadline.get_or_init(|| {
            self.timeout
                .and_then(|timeout| Instant::now().checked_add(timeout))
        })
    }

    fn part(&self, from: usize, to: usize) -> &str {
        let bytes = match &self.text {
            Text::Short(room) => &room[from..to],
            Text::Long(text) => &text[from..to],
        };
        // It was cut where the texts that it was made of met.
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_come_out_as_they_went_in() {
        for length in [0, 1, ROOM - 7, ROOM - 6, ROOM - 5, ROOM, 10 * ROOM] {
            let issuer = "i".repeat(length);
            let parts = TextParts {
                command_id: "Grüß",
                issuer: &issuer,
                traceparent: "",
            };
            let facts = CallFacts::new(1, &parts, 1, None);
            assert_eq!(facts.command_id(), "Grüß");
            assert_eq!(facts.issuer(), issuer);
            assert_eq!(facts.traceparent(), "");
        }
    }
}
