//! What a handler declares of itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a crash in the middle of a command means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Changes nothing: it is run again.
    Read,
    /// Running it twice leaves what running it once does: it is run again.
    Idempotent,
    /// Never run twice: after a crash its outcome is unknown. The default.
    AtMostOnce,
    /// Run again and given its own checkpoint back: see
    /// [`Context::checkpoint`](crate::Context::checkpoint).
    Resumable,
}

impl Effect {
    /// Its name in manifests and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Idempotent => "idempotent",
            Self::AtMostOnce => "at-most-once",
            Self::Resumable => "resumable",
        }
    }
}

/// The declaration of one handler, made in a `const`.
#[derive(Debug, Clone, Copy)]
pub struct HandlerSpec {
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) effect: Effect,
    pub(crate) timeout: Duration,
    pub(crate) concurrency: u32,
    pub(crate) inline: bool,
    pub(crate) runs_while_draining: bool,
}

impl HandlerSpec {
    /// How long a command may run where neither handler, config nor command says.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
    /// How many commands of one handler run at once where nothing else is said.
    pub const DEFAULT_CONCURRENCY: u32 = 4;

    /// A handler for the command `name`: 1 to 64 of `a-z 0-9 - . _`, beginning
    /// with a letter. The macro refuses others when the plugin is compiled.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            summary: "",
            effect: Effect::AtMostOnce,
            timeout: Self::DEFAULT_TIMEOUT,
            concurrency: Self::DEFAULT_CONCURRENCY,
            inline: false,
            runs_while_draining: false,
        }
    }

    /// One line for the operator's list of commands.
    #[must_use]
    pub const fn summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// What a crash means. Default: [`Effect::AtMostOnce`].
    #[must_use]
    pub const fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// The timeout of commands that bring none. Default: 60 s.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many run at once, 1 to 1024. Default: 4.
    #[must_use]
    pub const fn concurrency(mut self, concurrency: u32) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// It never blocks and never awaits: it may run on the host's own thread.
    #[must_use]
    pub const fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    /// It runs although the node takes no new work.
    #[must_use]
    pub const fn runs_while_draining(mut self) -> Self {
        self.runs_while_draining = true;
        self
    }
}
