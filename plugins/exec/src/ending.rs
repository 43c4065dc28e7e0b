//! What the end of a program means, and what its failure to start does.

use std::{io, os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

use aegis_plugin_api::HandlerError;
use rustix::process::Signal;

use crate::{program::Program, request::Exited};

/// Why a program was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Its command was cancelled.
    Cancelled,
    /// Its own timeout passed.
    TimedOut,
}

/// How a program ended, whatever that means.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub duration: Duration,
    pub stopped: Option<Stopped>,
    pub output_bytes: u64,
    pub output_truncated: bool,
    pub left_running: bool,
}

/// The command's result.
pub fn result(program: &Program, ended: Ended) -> Result<Exited, HandlerError> {
    let name = &program.name;
    match ended.stopped {
        Some(Stopped::Cancelled) => {
            return Err(HandlerError::cancelled(format!(
                "{name} was stopped and ended with {}",
                how(ended.status)
            )));
        }
        Some(Stopped::TimedOut) => return Err(timed_out(program)),
        None => {}
    }
    let Some(exit_code) = ended.status.code() else {
        return Err(ended_by_signal(name, ended.status));
    };
    if !program.success_codes.contains(&exit_code) {
        return Err(HandlerError::new(
            "exit-status",
            format!("{name} ended with exit status {exit_code}"),
        )
        .help("its output tells why, if it does"));
    }
    Ok(Exited {
        exit_code,
        duration_ms: u64::try_from(ended.duration.as_millis()).unwrap_or(u64::MAX),
        output_bytes: ended.output_bytes,
        output_truncated: ended.output_truncated,
        left_running: ended.left_running,
    })
}

/// Its own timeout passed.
pub fn timed_out(program: &Program) -> HandlerError {
    let (name, timeout) = (&program.name, program.timeout.unwrap_or_default());
    HandlerError::new(
        "timed-out",
        format!("{name} ran longer than its timeout of {timeout:?} and was stopped"),
    )
    .help(format!(
        "see `timeout` under [plugins.exec.config.programs.{name}] on the node"
    ))
}

/// As `exit status 3` or `SIGKILL`.
fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(number)) => known(number).map_or_else(
            || format!("signal {number}"),
            |(_, name, _)| (*name).to_owned(),
        ),
        (None, None) => status.to_string(),
    }
}

fn known(number: i32) -> Option<&'static KnownSignal> {
    SIGNALS
        .iter()
        .find(|(signal, ..)| signal.as_raw() == number)
}

fn ended_by_signal(name: &str, status: ExitStatus) -> HandlerError {
    let message = format!("{name} was ended by {}", how(status));
    let error = HandlerError::new("killed-by-signal", message);
    match status.signal().and_then(known).and_then(|(.., help)| *help) {
        Some(help) => error.help(help),
        None => error,
    }
}

type KnownSignal = (Signal, &'static str, Option<&'static str>);

const SIGNALS: &[KnownSignal] = &[
    (Signal::HUP, "SIGHUP", None),
    (Signal::INT, "SIGINT", None),
    (Signal::QUIT, "SIGQUIT", None),
    (Signal::ILL, "SIGILL", None),
    (Signal::ABORT, "SIGABRT", None),
    (Signal::BUS, "SIGBUS", None),
    (Signal::FPE, "SIGFPE", None),
    (
        Signal::KILL,
        "SIGKILL",
        Some("somebody killed it: the system for want of memory, perhaps"),
    ),
    (Signal::SEGV, "SIGSEGV", None),
    (Signal::PIPE, "SIGPIPE", None),
    (Signal::ALARM, "SIGALRM", None),
    (
        Signal::TERM,
        "SIGTERM",
        Some("somebody on the node ended it"),
    ),
    (
        Signal::XCPU,
        "SIGXCPU",
        Some("it used up the processor time of its `limits.cpu_time`"),
    ),
    (
        Signal::XFSZ,
        "SIGXFSZ",
        Some("it wrote a file larger than its `limits.file_size`"),
    ),
];

/// Why a program did not start.
pub fn not_started(program: &Program, error: &io::Error) -> HandlerError {
    let name = &program.name;
    let path = program.executable().display();
    let dir = program.working_dir();
    let fault =
        |code, what: String| HandlerError::new(code, format!("{name} was not started: {what}"));
    match error.kind() {
        _ if !dir.is_dir() => fault(
            "no-working-dir",
            format!("its working directory {} is not there", dir.display()),
        ),
        io::ErrorKind::NotFound => fault(
            "program-not-found",
            format!("{path}, or the interpreter that it names, is not there"),
        ),
        io::ErrorKind::PermissionDenied => fault(
            "program-not-permitted",
            format!("the system does not let the worker run {path} as configured: {error}"),
        ),
        io::ErrorKind::ArgumentListTooLong => fault(
            "arguments-too-long",
            "its arguments and environment are longer than the system takes".to_owned(),
        ),
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => fault(
            "no-resources",
            format!("the system has no room for another process: {error}"),
        )
        .retryable(),
        _ => fault("start-failed", format!("{path}: {error}")),
    }
}
