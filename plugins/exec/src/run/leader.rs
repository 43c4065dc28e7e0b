//! The process that leads a program's group, and the thread that stands behind
//! it.
//!
//! The system kills a confined program when the thread that started it ends, so
//! each has a thread that waits for it. A path on a file system that hangs
//! costs that thread and delays no other program.

use std::{
    io::{self, PipeReader, PipeWriter},
    os::fd::OwnedFd,
    process::{Child, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use aegis_plugin_api::HandlerError;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::sync::oneshot;

use super::group::Group;
use crate::{ending, program::Program};

/// It starts a process and waits.
const STACK: usize = 256 * 1024;

/// The program's ends of its pipes.
#[derive(Debug)]
pub struct Streams {
    /// `None`: nothing to read.
    input: Option<PipeReader>,
    output: PipeWriter,
}

/// The other ends.
#[derive(Debug)]
pub struct OurStreams {
    pub input: Option<OwnedFd>,
    pub output: OwnedFd,
}

/// A program under way. Dropping it kills the group.
#[derive(Debug)]
pub struct Leader {
    group: Arc<Group>,
    ended: oneshot::Receiver<Result<(ExitStatus, Duration), HandlerError>>,
}

impl Streams {
    pub fn open(with_input: bool) -> io::Result<(Self, OurStreams)> {
        let (output_from, output_to) = io::pipe()?;
        let (input_from, input_to) = match with_input.then(io::pipe).transpose()? {
            Some((from, to)) => (Some(from), Some(to.into())),
            None => (None, None),
        };
        let streams = Self {
            input: input_from,
            output: output_to,
        };
        let ours = OurStreams {
            input: input_to,
            output: output_from.into(),
        };
        Ok((streams, ours))
    }
}

impl Leader {
    /// Starts a program on a thread of its own.
    pub fn start(
        program: &Arc<Program>,
        arguments: Vec<String>,
        streams: Streams,
    ) -> Result<Self, HandlerError> {
        let group = Arc::new(Group::new());
        let (tell, ended) = oneshot::channel();
        let (program, own) = (Arc::clone(program), Arc::clone(&group));
        thread::Builder::new()
            .name("exec".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                let result = lead(&program, &arguments, streams, &own);
                // Nobody listens any more where the call was abandoned.
                let _ = tell.send(result);
            })
            .map_err(|error| {
                HandlerError::new(
                    "no-resources",
                    format!("no thread for the program: {error}"),
                )
                .retryable()
            })?;
        Ok(Self { group, ended })
    }

    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Waits for its end: how it ended and how long it took, or why it did not
    /// start.
    pub async fn ended(&mut self) -> Result<(ExitStatus, Duration), HandlerError> {
        (&mut self.ended).await.unwrap_or_else(|_| {
            Err(HandlerError::new(
                "lost",
                "the thread that waited for the program ended first",
            ))
        })
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.group.kill();
    }
}

fn lead(
    program: &Program,
    arguments: &[String],
    streams: Streams,
    group: &Group,
) -> Result<(ExitStatus, Duration), HandlerError> {
    program.check()?;
    // The check reads files, which can take its time.
    if group.is_not_to_start() {
        return Err(HandlerError::cancelled(format!(
            "{} was stopped before it was started",
            program.name
        )));
    }
    let began = Instant::now();
    let child =
        spawn(program, arguments, streams).map_err(|error| ending::not_started(program, &error))?;
    let pid = Pid::from_child(&child);
    group.started(pid);
    let status = wait(pid, child, group).map_err(|error| {
        HandlerError::new(
            "lost",
            format!(
                "{} ran, but its exit status is not known: {error}",
                program.name
            ),
        )
    })?;
    Ok((status, began.elapsed()))
}

/// The command is dropped here, and with it our copies of the program's ends.
fn spawn(program: &Program, arguments: &[String], streams: Streams) -> io::Result<Child> {
    let mut command = program.command(arguments);
    command
        .stdin(streams.input.map_or_else(Stdio::null, Stdio::from))
        .stderr(streams.output.try_clone()?)
        .stdout(streams.output);
    command.spawn()
}

fn wait(pid: Pid, mut child: Child, group: &Group) -> io::Result<ExitStatus> {
    // Without reaping: its number stays taken while the rest of the group dies.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(pid), options) {
            Ok(_) => return group.over(|| child.wait()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                // Somebody else reaped it: its number may be another's by now.
                group.lost();
                return Err(error.into());
            }
        }
    }
}
