//! One run of a program.

mod group;
mod leader;
mod output;

use std::{io, sync::Arc, time::Duration};

use aegis_plugin_api::{Context, HandlerError, Plugin};
use tokio::{
    io::AsyncWriteExt,
    net::unix::pipe,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    ending::{self, Ended, Stopped},
    program::{Invocation, Program},
    request::Exited,
};
use leader::{Leader, Streams};
use output::Outflow;

/// How long what is left in the pipe is read after a program's end. Its group is
/// dead by then: only what has left the group can still hold the pipe.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The same where the worker waits for a program that was stopped.
const LAST_WORDS_IF_STOPPED: Duration = Duration::from_millis(500);

/// Runs a program to its end, or stops it where its command is cancelled. If
/// this is dropped, its process group is killed.
pub async fn run<P: Plugin>(
    program: &Arc<Program>,
    invocation: Invocation,
    cx: &Context<P>,
) -> Result<Exited, HandlerError> {
    let (streams, ours) = Streams::open(invocation.stdin.is_some()).map_err(no_pipe)?;
    let mut output =
        Outflow::new(ours.output, cx.output(), program.output_limit).map_err(no_pipe)?;
    let input = ours.input.map(pipe::Sender::from_owned_fd);
    let input = input.transpose().map_err(no_pipe)?;
    let mut leader = Leader::start(program, invocation.arguments, streams)?;
    let stdin = invocation.stdin.unwrap_or_default();
    let feed = feed(input, stdin.as_bytes());
    tokio::pin!(feed);
    let mut fed = false;
    let mut stopped = None;
    let mut kill_at = None;
    let timeout_at = program
        .timeout
        .and_then(|after| Instant::now().checked_add(after));
    let (status, duration) = loop {
        let stop = tokio::select! {
            ended = leader.ended() => match ended {
                Ok(ended) => break ended,
                // It was stopped before it was started.
                Err(error) if stopped == Some(Stopped::TimedOut)
                    && error.code == HandlerError::CANCELLED =>
                {
                    return Err(ending::timed_out(program));
                }
                Err(error) => return Err(error),
            },
            () = output.pass_on(), if !output.is_closed() => continue,
            () = &mut feed, if !fed => {
                fed = true;
                continue;
            }
            () = at(kill_at) => {
                leader.group().kill();
                kill_at = None;
                continue;
            }
            () = cx.cancelled(), if stopped.is_none() => Stopped::Cancelled,
            () = at(timeout_at), if stopped.is_none() => Stopped::TimedOut,
        };
        stopped = Some(stop);
        leader.group().terminate();
        kill_at = Instant::now().checked_add(program.grace);
    };
    let last_words = match stopped {
        Some(_) => LAST_WORDS_IF_STOPPED,
        None => LAST_WORDS,
    };
    let left_running = timeout(last_words, output.drain()).await.is_err();
    ending::result(
        program,
        Ended {
            status,
            duration,
            stopped,
            output_bytes: output.written(),
            output_truncated: output.is_cut(),
            left_running,
        },
    )
}

/// Gives a program what it is to read, and then the end of it. One that does
/// not want it is left alone.
async fn feed(input: Option<pipe::Sender>, text: &[u8]) {
    if let Some(mut input) = input {
        let _ = input.write_all(text).await;
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn no_pipe(error: io::Error) -> HandlerError {
    HandlerError::new("no-resources", format!("no pipe to the program: {error}")).retryable()
}
