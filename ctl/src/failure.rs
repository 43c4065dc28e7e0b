//! How `aegisctl` ends: exit codes, and the one shape that every error takes
//! on its way to the operator.

use std::{error::Error, fmt, io};

/// The exit codes, as the documentation lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything succeeded.
    Success,
    /// Something failed.
    Failed,
    /// The command line asks for what can't be done; nothing was sent.
    Usage,
    /// The controller can't be reached.
    Unreachable,
    /// The controller refuses this operator.
    NotPermitted,
    /// Ctrl-C: what was submitted goes on without us.
    Detached,
}

impl Exit {
    /// The process's exit code; `Detached` is what a shell expects after SIGINT.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::NotPermitted => 4,
            Self::Detached => 130,
        }
    }
}

/// An error as a person sees it: what failed and why, then what to do next.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    next: Option<String>,
}

impl Failure {
    /// `message` says what failed and why, and may have several lines.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            next: None,
        }
    }

    /// A command line that can't be obeyed.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The async runtime could not be started.
    pub fn runtime(error: io::Error) -> Self {
        Self::new(
            Exit::Failed,
            format!("can't start the I/O runtime: {error}"),
        )
        .next("The machine may be out of file descriptors or memory; free some and run it again.")
    }

    /// Standard output can't be written. Where its reader has gone away, as
    /// under `| head`, there is nobody to tell.
    pub fn stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Failed, "");
        }
        Self::new(
            Exit::Failed,
            format!("can't write to standard output: {error}"),
        )
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Adds what to do about it, unless that is said already.
    #[must_use]
    pub fn or_next(self, next: &str) -> Self {
        if self.next.is_some() {
            self
        } else {
            self.next(next)
        }
    }

    /// The exit code it calls for.
    pub const fn exit(&self) -> Exit {
        self.exit
    }

    /// Shows it on standard error.
    pub fn print(&self) {
        if !self.message.is_empty() {
            eprintln!("{self}");
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        for line in self.next.iter().flat_map(|next| next.lines()) {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

/// An error and its causes on one line, repetitions left out: several layers
/// below us print their cause as part of themselves.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}
