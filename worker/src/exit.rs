//! Exit codes and last words.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use aegis_core::{
    config::ConfigError,
    identity::IdentityError,
    lifecycle::{BuildError, LifecycleError},
};

/// What the process ends with when it does not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Whatever is none of the others.
    Failure = 1,
    /// The config or the command line is wrong.
    BadConfig = 2,
    /// The controller does not let this node in.
    NotAdmitted = 3,
}

/// A command line that cannot be carried out as it is.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

impl Exit {
    /// Prints the error with its causes and picks the code.
    pub fn of(done: anyhow::Result<()>) -> ExitCode {
        match done {
            Ok(()) => ExitCode::SUCCESS,
            // Whoever read our output has seen enough.
            Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
            Err(error) => {
                // Nobody is left to tell if this fails too.
                let _ = writeln!(io::stderr(), "aegis-worker: {error:#}");
                ExitCode::from(Self::code(&error) as u8)
            }
        }
    }

    fn code(error: &anyhow::Error) -> Self {
        if error.is::<ConfigError>() || error.is::<Usage>() {
            return Self::BadConfig;
        }
        if error.is::<LifecycleError>() {
            return Self::NotAdmitted;
        }
        match error.downcast_ref() {
            Some(
                BuildError::EnrolmentToken { .. }
                | BuildError::Tls { .. }
                | BuildError::Identity(IdentityError::OtherNode { .. }),
            ) => Self::BadConfig,
            Some(BuildError::MalformedToken { .. }) => Self::NotAdmitted,
            _ => Self::Failure,
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref()
        .is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe)
}
