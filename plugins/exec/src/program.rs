//! One program of the config, ready to be run.

mod settings;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use aegis_plugin_api::{HandlerError, process::Confinement};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    arguments::Arguments,
    config::{Place, ProgramTable},
    request::ExecRequest,
    trust,
};

/// The most that a command may give a program to read, in bytes.
const MAX_STDIN_BYTES: usize = 64 * 1024;
/// When a program that has no free slot is worth another try.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A program of the config.
#[derive(Debug)]
pub struct Program {
    /// By which commands name it.
    pub name: String,
    executable: PathBuf,
    /// Before the arguments: what makes a shell run a script.
    leading: Vec<String>,
    arguments: Arguments,
    takes_stdin: bool,
    env: BTreeMap<String, String>,
    working_dir: PathBuf,
    confinement: Confinement,
    /// How long it may run.
    pub timeout: Option<Duration>,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// How many bytes of its output are passed on.
    pub output_limit: u64,
    slots: Option<Arc<Semaphore>>,
    /// The exit statuses that mean success.
    pub success_codes: Vec<i32>,
    issuers: Option<Vec<String>>,
}

/// What one command makes of a program.
#[derive(Debug)]
pub struct Invocation {
    /// After those that the config fixes.
    pub arguments: Vec<String>,
    /// What it reads.
    pub stdin: Option<String>,
}

impl Program {
    /// Reads a program's table. `None`, or a program that is not to be used,
    /// where there are faults.
    pub fn read(name: &str, table: ProgramTable, place: &Place<'_>) -> Option<Self> {
        settings::read(name, table, place)
    }

    pub fn may_be_run_by(&self, issuer: &str) -> bool {
        self.issuers
            .as_ref()
            .is_none_or(|issuers| issuers.iter().any(|it| it == issuer))
    }

    /// What a command asks for, if it fits this program.
    ///
    /// # Errors
    ///
    /// [`HandlerError::INVALID_PAYLOAD`].
    pub fn invocation(&self, request: ExecRequest) -> Result<Invocation, HandlerError> {
        let unfit = |reason: &str| {
            HandlerError::new(
                HandlerError::INVALID_PAYLOAD,
                format!("{}: {reason}", self.name),
            )
            .help(format!(
                "see [plugins.exec.config.programs.{}] on the node",
                self.name
            ))
        };
        let arguments = self
            .arguments
            .fill(request.args)
            .map_err(|error| unfit(&error.message))?;
        match &request.stdin {
            Some(_) if !self.takes_stdin => {
                return Err(unfit(
                    "it takes no standard input; `stdin` is not set for it",
                ));
            }
            Some(text) if text.len() > MAX_STDIN_BYTES => {
                return Err(unfit(&format!(
                    "stdin has {} bytes; at most {MAX_STDIN_BYTES} are taken",
                    text.len()
                )));
            }
            _ => {}
        }
        Ok(Invocation {
            arguments,
            stdin: request.stdin,
        })
    }

    /// The right to run it now.
    ///
    /// # Errors
    ///
    /// `program-busy` while it runs as often as its `concurrency` allows.
    pub fn slot(&self) -> Result<Option<OwnedSemaphorePermit>, HandlerError> {
        let Some(slots) = &self.slots else {
            return Ok(None);
        };
        let slot = Arc::clone(slots).try_acquire_owned().map_err(|_| {
            HandlerError::new(
                "program-busy",
                format!("{} runs as often as its `concurrency` allows", self.name),
            )
            .retry_after(RETRY_AFTER)
        })?;
        Ok(Some(slot))
    }

    /// What starts it, as confined as the config has it.
    pub fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.executable);
        command
            .args(&self.leading)
            .args(arguments)
            .env_clear()
            .envs(&self.env)
            .current_dir(&self.working_dir);
        self.confinement.apply(&mut command);
        command
    }

    /// Whether the file is still one that only this node's owners can change.
    ///
    /// # Errors
    ///
    /// `program-not-trusted`.
    pub fn check(&self) -> Result<(), HandlerError> {
        trust::check(&self.executable).map_err(|reason| {
            HandlerError::new("program-not-trusted", format!("{}: {reason}", self.name))
                .help("it was not run; see who changed it since the worker started")
        })
    }

    pub fn executable(&self) -> &Path {
        &self.executable
    }

    pub fn working_dir(&self) -> &Path {
        &self.working_dir
    }
}
