//! `cargo quickstart`: a controller and a worker on loopback, and the main job
//! from enrolment to shutdown, as real processes that a real operator's command
//! line commands. `--stay` leaves them running.

#![forbid(unsafe_code)]

mod aegisctl;
mod artifacts;
mod cluster;
mod process;
mod tour;
mod transcript;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::{artifacts::Artifacts, cluster::Cluster, tour::Tour, transcript::Transcript};

const USAGE: &str = "\
Starts a controller and a worker on loopback and walks through the main job.

Usage: cargo quickstart [--stay]

  --stay  Leave them running at the end and print commands to try";

fn main() -> ExitCode {
    let stay = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--stay") => true,
        Some("-h" | "--help") => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(other) => {
            eprintln!("error: unknown argument {other:?}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(stay) {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(stay: bool) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let interrupted = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    tokio::pin!(interrupted);

    let artifacts = tokio::select! {
        built = Artifacts::build() => built?,
        () = &mut interrupted => return Ok(ExitCode::from(130)),
    };
    let mut cluster = Cluster::new(artifacts)?;
    let mut transcript = Transcript::new(cluster.dir());
    // The tour borrows the cluster; whatever becomes of it, the processes are
    // ended below.
    let toured = tokio::select! {
        toured = Tour::new(&mut cluster, &mut transcript).run(stay) => Some(toured),
        () = &mut interrupted => None,
    };
    let exit = match toured {
        None => ExitCode::from(130),
        Some(Ok(())) => {
            if stay {
                transcript.try_it(&mut cluster);
                interrupted.await;
            }
            ExitCode::SUCCESS
        }
        Some(Err(error)) => {
            transcript.failed(&error, &mut cluster);
            ExitCode::FAILURE
        }
    };
    cluster.end().await;
    Ok(exit)
}
