//! Builds a plugin's manifest while the plugin is compiled.

use crate::{
    abi::{AEGIS_ABI_MAJOR, AEGIS_ABI_MINOR},
    host::Requirement,
    spec::HandlerSpec,
};

/// What the manifest is made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    /// The plugin's name.
    pub id: &'static str,
    /// The plugin's own version.
    pub version: &'static str,
    /// The exported descriptor.
    pub symbol: &'static str,
    /// Whether panics unwind.
    pub unwinds: bool,
    /// What it cannot do without.
    pub requires: &'static [Requirement],
    /// Its handlers.
    pub handlers: &'static [HandlerSpec],
}

/// How long the manifest is, in bytes.
///
/// # Panics
///
/// While the plugin is compiled, where a part breaks a rule.
pub const fn length(parts: &Parts) -> usize {
    check(parts);
    Writer::<0>::new().manifest(parts).length
}

/// The manifest and a NUL. `N` is its [`length`] and one.
pub const fn bytes<const N: usize>(parts: &Parts) -> [u8; N] {
    Writer::<N>::new().manifest(parts).bytes
}

/// Keys of the config's `[plugins]` that a plugin's section would collide with.
const RESERVED_IDS: [&str; 6] = [
    "dirs",
    "trust",
    "keys",
    "revoked",
    "default_placement",
    "quarantine_after",
];
/// What runs for longer is a service, not a command.
const MAX_TIMEOUT_SECONDS: u64 = 30 * 24 * 60 * 60;

const fn check(parts: &Parts) {
    assert!(
        is_name(parts.id, false),
        "a plugin's id is 1 to 64 of a-z 0-9 - _, beginning with a letter"
    );
    let mut i = 0;
    while i < RESERVED_IDS.len() {
        assert!(
            !equal(parts.id, RESERVED_IDS[i]),
            "a plugin's id is not one of the keys of [plugins]: dirs, trust, keys, revoked, \
             default_placement, quarantine_after"
        );
        i += 1;
    }
    assert!(
        !parts.handlers.is_empty() && parts.handlers.len() <= 256,
        "a plugin has 1 to 256 handlers"
    );
    let mut i = 0;
    while i < parts.handlers.len() {
        let handler = &parts.handlers[i];
        assert!(
            is_name(handler.name, true),
            "a handler's name is 1 to 64 of a-z 0-9 - . _, beginning with a letter"
        );
        assert!(
            handler.concurrency >= 1 && handler.concurrency <= 1024,
            "a handler's concurrency is 1 to 1024"
        );
        assert!(
            !equal(handler.name, "default"),
            "a handler's name is not the key of [handlers]: default"
        );
        assert!(
            handler.timeout.as_millis() >= 1 && handler.timeout.as_secs() <= MAX_TIMEOUT_SECONDS,
            "a handler's timeout is 1 ms to 30 days"
        );
        assert!(
            handler.summary.len() <= 1024,
            "a handler's summary is one line of at most 1024 bytes"
        );
        let mut j = 0;
        while j < i {
            assert!(
                !equal(parts.handlers[j].name, handler.name),
                "two handlers of a plugin have the same name"
            );
            j += 1;
        }
        i += 1;
    }
}

const fn is_name(name: &str, dots: bool) -> bool {
    let name = name.as_bytes();
    if name.is_empty() || name.len() > 64 || !name[0].is_ascii_lowercase() {
        return false;
    }
    let mut i = 0;
    while i < name.len() {
        match name[i] {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'.' if dots => {}
            _ => return false,
        }
        i += 1;
    }
    true
}

const fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Counts all bytes and keeps the first `N`.
struct Writer<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Writer<N> {
    const fn new() -> Self {
        Self {
            bytes: [0; N],
            length: 0,
        }
    }

    const fn manifest(self, parts: &Parts) -> Self {
        let mut to = self
            .raw("{\"manifest\":1,\"id\":")
            .text(parts.id)
            .raw(",\"version\":")
            .text(parts.version)
            .raw(",\"symbol\":")
            .text(parts.symbol)
            .raw(",\"abi\":{\"major\":")
            .number(AEGIS_ABI_MAJOR as u64)
            .raw(",\"minor\":")
            .number(AEGIS_ABI_MINOR as u64)
            .raw(",\"min_host_minor\":0},\"sdk\":")
            .text(super::SDK)
            .raw(",\"toolchain\":")
            .text(super::TOOLCHAIN)
            .raw(",\"target\":")
            .text(super::TARGET)
            .raw(",\"panic\":")
            .text(if parts.unwinds { "unwind" } else { "abort" })
            .raw(",\"requires\":[");
        let mut i = 0;
        while i < parts.requires.len() {
            to = to.comma(i).text(parts.requires[i].id);
            i += 1;
        }
        to = to.raw("],\"handlers\":[");
        let mut i = 0;
        while i < parts.handlers.len() {
            to = to.comma(i).handler(&parts.handlers[i]);
            i += 1;
        }
        to.raw("]}")
    }

    const fn handler(self, spec: &HandlerSpec) -> Self {
        // At most 30 days: `check` saw to it.
        let timeout = spec.timeout.as_millis() as u64;
        self.raw("{\"name\":")
            .text(spec.name)
            .raw(",\"summary\":")
            .text(spec.summary)
            .raw(",\"effect\":")
            .text(spec.effect.as_str())
            .raw(",\"timeout_ms\":")
            .number(timeout)
            .raw(",\"concurrency\":")
            .number(spec.concurrency as u64)
            .raw(",\"inline\":")
            .raw(if spec.inline { "true" } else { "false" })
            .raw(",\"runs_while_draining\":")
            .raw(if spec.runs_while_draining {
                "true}"
            } else {
                "false}"
            })
    }

    const fn comma(self, index: usize) -> Self {
        if index == 0 { self } else { self.raw(",") }
    }

    const fn raw(mut self, text: &str) -> Self {
        let text = text.as_bytes();
        let mut i = 0;
        while i < text.len() {
            self = self.byte(text[i]);
            i += 1;
        }
        self
    }

    const fn text(mut self, text: &str) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        self = self.byte(b'"');
        let text = text.as_bytes();
        let mut i = 0;
        while i < text.len() {
            self = match text[i] {
                b'"' => self.raw("\\\""),
                b'\\' => self.raw("\\\\"),
                control @ 0..=0x1f => self
                    .raw("\\u00")
                    .byte(HEX[(control >> 4) as usize])
                    .byte(HEX[(control & 15) as usize]),
                other => self.byte(other),
            };
            i += 1;
        }
        self.byte(b'"')
    }

    const fn number(self, number: u64) -> Self {
        let to = if number >= 10 {
            self.number(number / 10)
        } else {
            self
        };
        to.byte(b'0' + (number % 10) as u8)
    }

    const fn byte(mut self, byte: u8) -> Self {
        if self.length < N {
            self.bytes[self.length] = byte;
        }
        self.length += 1;
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Effect, HostInterface, host::NodeControl, manifest::Manifest};

    const PARTS: Parts = Parts {
        id: "quote-tester",
        version: "1.2.3-β",
        symbol: "aegis_plugin_v1_quote_tester",
        unwinds: true,
        requires: &[Requirement::of::<NodeControl>()],
        handlers: &[
            HandlerSpec::new("one").summary("says \"hi\\\"\n\tand Grüße"),
            HandlerSpec::new("two.b")
                .effect(Effect::Resumable)
                .timeout(Duration::from_millis(1234))
                .concurrency(1024)
                .inline()
                .runs_while_draining(),
        ],
    };

    #[test]
    fn what_is_built_is_what_serde_reads() {
        const LENGTH: usize = length(&PARTS);
        let built = bytes::<{ LENGTH + 1 }>(&PARTS);
        assert_eq!(built[LENGTH], 0);
        let manifest: Manifest =
            serde_json::from_slice(&built[..LENGTH]).expect("the manifest is JSON");
        assert_eq!(manifest.id, PARTS.id);
        assert_eq!(manifest.version, PARTS.version);
        assert_eq!(manifest.panic, "unwind");
        assert_eq!(manifest.requires, [NodeControl::ID]);
        assert_eq!(manifest.handlers[0].summary, PARTS.handlers[0].summary);
        let two = &manifest.handlers[1];
        assert_eq!((two.timeout_ms, two.concurrency), (1234, 1024));
        assert!(two.inline && two.runs_while_draining);
        assert_eq!(two.effect, Effect::Resumable);
    }

    #[test]
    fn names_are_checked() {
        for good in ["a", "hello", "hello.wait", "a-b_c.9"] {
            assert!(is_name(good, true), "{good}");
        }
        let long = "a".repeat(65);
        for bad in ["", "9a", "Hello", "he llo", "-a", "grüße", &long] {
            assert!(!is_name(bad, true), "{bad}");
        }
        assert!(!is_name("a.b", false));
    }
}
