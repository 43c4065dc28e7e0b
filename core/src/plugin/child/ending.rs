//! How a plugin's process ended, in words.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

use aegis_plugin_api::HandlerError;
use aegis_proto::error_code::PLUGIN_CRASHED;

/// Why the worker ended a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Killed {
    /// A handler did not end when it had to.
    Hung,
    /// It is not needed any more.
    Finished,
    /// It was not ready in time.
    Silent,
    /// It broke the protocol: how.
    Fault(String),
}

/// A process that is over.
#[derive(Debug)]
pub(super) struct Ending {
    /// What the worker did to it, if it did.
    pub(super) killed: Option<Killed>,
    /// What the system says.
    pub(super) status: Option<ExitStatus>,
    /// Its last words, or empty.
    pub(super) words: String,
}

impl Ending {
    /// How it ended, as the rest of a sentence that begins with the plugin.
    pub(super) fn text(&self) -> String {
        let mut text = match &self.killed {
            Some(Killed::Hung) => {
                "was killed because a handler ignored its cancellation".to_owned()
            }
            Some(Killed::Finished) => "was ended with the plugin".to_owned(),
            Some(Killed::Silent) => "was killed because it was not ready in time".to_owned(),
            Some(Killed::Fault(how)) => format!("was killed because of {how}"),
            None => self.status.map_or_else(
                || "ended, and the system does not say how".to_owned(),
                ended_itself,
            ),
        };
        if !self.words.is_empty() {
            text.push_str("; its last words: ");
            text.push_str(&self.words);
        }
        text
    }
}

/// What a call hears that ran in a process when that ended.
pub(super) fn crashed(plugin: &str, text: &str) -> HandlerError {
    HandlerError::new(
        PLUGIN_CRASHED,
        format!("the process of the plugin {plugin} {text}"),
    )
}

fn ended_itself(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}, which no plugin may"),
        (None, Some(signal)) => {
            format!("was ended by signal {signal}{}", meaning(signal))
        }
        (None, None) => "ended".to_owned(),
    }
}

/// What most often sends it.
fn meaning(signal: i32) -> &'static str {
    use rustix::process::Signal;

    match Signal::from_named_raw(signal) {
        Some(Signal::ABORT) => {
            " (SIGABRT: it aborted, as after a panic that may not unwind or where memory ran out)"
        }
        Some(Signal::SEGV) => {
            " (SIGSEGV: it reached for memory that is not its own, or overflowed its stack)"
        }
        Some(Signal::BUS) => " (SIGBUS: it reached for memory that is not there)",
        Some(Signal::ILL) => " (SIGILL: it ran an instruction that there is not)",
        Some(Signal::FPE) => " (SIGFPE: its arithmetic has no answer)",
        Some(Signal::XCPU) => " (SIGXCPU: it used up its processor time)",
        Some(Signal::XFSZ) => " (SIGXFSZ: it wrote a file that is too large)",
        Some(Signal::KILL) => {
            " (SIGKILL: somebody killed it, as the system does where memory runs out)"
        }
        Some(Signal::TERM) => " (SIGTERM: somebody ended it)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_with_its_cause_and_the_last_words() {
        let ending = |killed, status, words: &str| Ending {
            killed,
            status: Some(ExitStatus::from_raw(status)),
            words: words.to_owned(),
        };
        let text = ending(None, 11, "").text();
        assert!(text.contains("signal 11 (SIGSEGV"), "{text}");
        let text = ending(None, 3 << 8, "goodbye").text();
        assert!(
            text.contains("status 3") && text.ends_with("its last words: goodbye"),
            "{text}"
        );
        let text = ending(Some(Killed::Fault("a message out of order".into())), 9, "").text();
        assert!(
            text.contains("a message out of order") && !text.contains("SIGKILL"),
            "{text}"
        );
    }
}
