//! Outcomes of commands that came without an id: nobody waits for them but the
//! log.

use std::sync::Arc;

use crate::{
    command::{FinalState, Outcome},
    dispatch::FixedCommands,
    journal::JournalUpdate,
    session::Node,
    unpoisoned::lock,
};

/// Logs them and takes them out of the journal, for as long as it is awaited.
pub(super) async fn settle(node: Arc<Node>) {
    let mut updates = node.journal.reader_of(FixedCommands::derived);
    loop {
        if let JournalUpdate::Finished(outcome) = updates.next().await
            && FixedCommands::derived(outcome.id)
        {
            log(&outcome);
            lock(&node.fixed).settled(&outcome);
            node.journal.acknowledge(&[outcome.id]);
        }
    }
}

fn log(outcome: &Outcome) {
    match (&outcome.state, &outcome.error) {
        (FinalState::Succeeded, _) => tracing::info!(command = outcome.name, "command succeeded"),
        (state, error) => {
            let error = error.as_ref().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(
                command = outcome.name,
                ?state,
                error,
                "command did not succeed"
            );
        }
    }
}
