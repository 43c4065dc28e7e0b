//! Following what happens on the controller: streams that are opened again
//! after a broken connection, and left with Ctrl-C.

mod commands;
mod nodes;
mod rollouts;

use aegis_proto::worker::v1::CommandState;
use tokio::time::Instant;

pub use self::{
    commands::{CommandWatch, Update},
    nodes::watch_nodes,
    rollouts::{show_rollout, watch_rollout},
};
use crate::{connection::CallError, failure::Failure, retry::Retry};

/// Waits for `work`, or for Ctrl-C, which answers nothing.
pub async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        result = work => Some(result),
        // Where the handler can't be installed, Ctrl-C ends the process as ever.
        Ok(()) = tokio::signal::ctrl_c() => None,
    }
}

/// Whether a command in this state has an outcome.
pub fn is_final(state: CommandState) -> bool {
    state >= CommandState::Succeeded
}

/// Waits before the next attempt, or fails when it has been too long.
async fn pause(retry: &mut Retry, error: CallError) -> Result<(), Failure> {
    if !error.is_interruption() {
        return Err(error.into());
    }
    match retry.failed(Instant::now()) {
        Some(wait) => {
            if retry.failures() == 1 {
                eprintln!("note: {error}; trying again");
            }
            tokio::time::sleep(wait).await;
            Ok(())
        }
        None => Err(error.into()),
    }
}
