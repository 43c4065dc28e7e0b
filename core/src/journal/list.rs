//! The journal as a table, for whoever asks on this machine.

use std::{path::Path, time::SystemTime};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    Journal, JournalError, JournalLimits, disk::Disk, entry::Entry, record::AcknowledgedRecord,
    state::Staged,
};
use crate::{
    command::{CommandId, FinalState, Outcome},
    lifecycle::chain,
    unpoisoned::lock,
};

/// Most lines of one [`Listing`].
pub const MAX_LINES: usize = 10_000;

/// Which commands are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JournalFilter {
    /// Those without an outcome, and those whose outcome the controller has
    /// not acknowledged.
    #[default]
    Held,
    /// Those without an outcome.
    Open,
    /// Those too whose outcome was acknowledged, as far as they are remembered.
    All,
}

/// A part of the journal, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The newest of what was asked for.
    pub lines: Vec<JournalLine>,
    /// Older ones for which there was no room.
    pub left_off: usize,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalLine {
    /// Its id.
    pub command_id: String,
    /// Its name; empty where that is no longer known.
    pub name: String,
    /// What it came to so far.
    pub state: LineState,
    /// Of its handler; 0 if that never began.
    pub attempt: u32,
    /// When it was taken into the journal, where that is still known.
    pub accepted_at: Option<DateTime<Utc>>,
    /// When its handler began, at the newest attempt.
    pub started_at: Option<DateTime<Utc>>,
    /// When its outcome was known.
    pub finished_at: Option<DateTime<Utc>>,
    /// Whether its outcome is out.
    pub outbox: Outbox,
}

/// The states of a command on its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "they are those of the contract")]
pub enum LineState {
    Accepted,
    Running,
    Succeeded,
    Failed,
    Rejected,
    Expired,
    Cancelled,
    Unknown,
}

/// Where an outcome is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outbox {
    /// There is none yet.
    Empty,
    /// It waits for the controller to say that it is committed.
    Waiting,
    /// The controller has committed it.
    Acknowledged,
}

impl Journal {
    /// The newest `most` commands that the filter lets through, at the most
    /// [`MAX_LINES`].
    pub fn list(&self, filter: JournalFilter, most: usize) -> Listing {
        let mut lines = match &self.shared.disk {
            Some(disk) if filter == JournalFilter::All => {
                remembered(disk).unwrap_or_else(|error| {
                    let error = chain(&error);
                    tracing::warn!(error, "what was acknowledged cannot be read");
                    Vec::new()
                })
            }
            _ => Vec::new(),
        };
        let state = lock(&self.shared.state);
        if filter == JournalFilter::All {
            let staged = state.staged.iter().flat_map(Staged::outcomes);
            lines.extend(
                state
                    .acknowledged
                    .outcomes()
                    .chain(staged)
                    .map(|(id, outcome)| JournalLine::ended(id, &outcome, Outbox::Acknowledged)),
            );
        }
        let mut held: Vec<(u64, CommandId, &Entry)> = state
            .entries
            .iter()
            .filter(|(_, entry)| filter != JournalFilter::Open || entry.outcome.is_none())
            .map(|(id, entry)| (entry.accepted, *id, entry))
            .collect();
        held.sort_unstable_by_key(|(accepted, id, _)| (*accepted, *id));
        lines.extend(
            held.iter()
                .map(|(_, id, entry)| JournalLine::of(*id, entry)),
        );
        Listing::newest(lines, most)
    }
}

impl Listing {
    /// The same of a journal that no worker has open. A damaged one is left as
    /// it is.
    ///
    /// # Errors
    ///
    /// The file is damaged or cannot be read, or a worker has it open.
    pub fn read(path: &Path, filter: JournalFilter, most: usize) -> Result<Self, JournalError> {
        let disk = Disk::open(path, JournalLimits::default())?;
        let mut lines = match filter {
            JournalFilter::All => remembered(&disk)?,
            JournalFilter::Held | JournalFilter::Open => Vec::new(),
        };
        for stored in disk.stored()? {
            if filter != JournalFilter::Open || stored.outcome.is_none() {
                let id = stored.command.id;
                lines.push(JournalLine::of(id, &Entry::stored(0, stored)));
            }
        }
        Ok(Self::newest(lines, most))
    }

    /// Of lines that are in order, oldest first.
    fn newest(mut lines: Vec<JournalLine>, most: usize) -> Self {
        let left_off = lines.len().saturating_sub(most.min(MAX_LINES));
        lines.drain(..left_off);
        Self { lines, left_off }
    }
}

impl JournalLine {
    fn of(id: CommandId, entry: &Entry) -> Self {
        if let Some(outcome) = &entry.outcome {
            return Self {
                accepted_at: Some(entry.accepted_at.into()),
                ..Self::ended(id, outcome, Outbox::Waiting)
            };
        }
        Self {
            command_id: id.to_string(),
            name: entry.name().to_owned(),
            state: if entry.running.is_some() {
                LineState::Running
            } else {
                LineState::Accepted
            },
            attempt: entry.running.map_or(0, |(_, attempt)| attempt),
            accepted_at: Some(entry.accepted_at.into()),
            started_at: entry.running.map(|(at, _)| at.into()),
            finished_at: None,
            outbox: Outbox::Empty,
        }
    }

    fn ended(id: CommandId, outcome: &Outcome, outbox: Outbox) -> Self {
        Self {
            command_id: id.to_string(),
            name: outcome.name.clone(),
            state: outcome.state.into(),
            attempt: outcome.attempt,
            accepted_at: None,
            started_at: outcome.started_at.map(SystemTime::into),
            finished_at: Some(outcome.finished_at.into()),
            outbox,
        }
    }
}

fn remembered(disk: &Disk) -> Result<Vec<JournalLine>, JournalError> {
    let line = |(id, record): (CommandId, AcknowledgedRecord)| {
        let outcome = record.outcome.unwrap_or_default().outcome(id);
        JournalLine::ended(id, &outcome, Outbox::Acknowledged)
    };
    Ok(disk.all_acknowledged()?.into_iter().map(line).collect())
}

impl LineState {
    /// As it is written everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }
}

impl From<FinalState> for LineState {
    fn from(state: FinalState) -> Self {
        match state {
            FinalState::Succeeded => Self::Succeeded,
            FinalState::Failed => Self::Failed,
            FinalState::Rejected => Self::Rejected,
            FinalState::Expired => Self::Expired,
            FinalState::Cancelled => Self::Cancelled,
            FinalState::Unknown => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::{
        command::Command,
        journal::{Acceptance, Ending},
    };

    fn take(journal: &Journal, n: u128) -> CommandId {
        let id = CommandId::from_uuid(Uuid::from_u128(n));
        let command = Command {
            id,
            name: format!("build-{n}"),
            payload: Bytes::new(),
            not_before: None,
            start_by: None,
            timeout: None,
            issuer: String::new(),
            traceparent: String::new(),
            delivery: 0,
        };
        let taken = journal.accept(&Arc::new(command), false);
        assert_eq!(taken, Acceptance::New);
        id
    }

    fn finish(journal: &Journal, id: CommandId, state: FinalState) {
        let ending = Ending {
            state,
            response: Bytes::new(),
            error: None,
            at: SystemTime::now(),
        };
        journal.finish(id, ending).expect("it had no outcome");
    }

    fn told(listing: &Listing) -> Vec<(&str, LineState, Outbox)> {
        let lines = listing.lines.iter();
        lines
            .map(|it| (it.name.as_str(), it.state, it.outbox))
            .collect()
    }

    #[tokio::test]
    async fn each_filter_shows_its_commands_oldest_first() {
        let journal = Journal::new(1024);
        let ids: Vec<CommandId> = (1..=4).map(|n| take(&journal, n)).collect();
        let mut reader = journal.reader();
        finish(&journal, ids[0], FinalState::Succeeded);
        journal.running(ids[1], SystemTime::now(), 2);
        finish(&journal, ids[2], FinalState::Rejected);
        // An outcome that was never told can't be acknowledged.
        while journal.outbox_len() == 2 {
            reader.next().await;
            journal.acknowledge(&ids[..1]);
        }
        let open = [
            ("build-2", LineState::Running, Outbox::Empty),
            ("build-4", LineState::Accepted, Outbox::Empty),
        ];
        let rejected = ("build-3", LineState::Rejected, Outbox::Waiting);
        let succeeded = ("build-1", LineState::Succeeded, Outbox::Acknowledged);
        let list = |filter| journal.list(filter, MAX_LINES);
        assert_eq!(told(&list(JournalFilter::Open)), open);
        assert_eq!(
            told(&list(JournalFilter::Held)),
            [open[0], rejected, open[1]]
        );
        assert_eq!(
            told(&list(JournalFilter::All)),
            [succeeded, open[0], rejected, open[1]]
        );
        assert_eq!(list(JournalFilter::Open).lines[0].attempt, 2);
    }

    #[test]
    fn the_newest_are_kept_and_the_rest_is_counted() {
        let journal = Journal::new(1024);
        for n in 1..=5 {
            take(&journal, n);
        }
        let listing = journal.list(JournalFilter::Held, 2);
        assert_eq!(listing.left_off, 3);
        let names: Vec<_> = listing.lines.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["build-4", "build-5"]);
        assert_eq!(journal.list(JournalFilter::Held, 0).left_off, 5);
    }
}
