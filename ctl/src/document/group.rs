//! Groups: the commands of one submission as a whole.

use aegis_proto::{operator::v1, worker::v1::CommandState};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Command, Counts, some, time};

/// `group show`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    pub group_id: String,
    /// Of the command that each of its nodes was given.
    pub name: String,
    pub issuer: Option<String>,
    pub created_at: Option<DateTime<Utc>>,
    /// When the last command ended; nothing while one is open.
    pub finished_at: Option<DateTime<Utc>>,
    pub counts: Counts,
    /// Without payload, response and output.
    pub commands: Vec<Command>,
}

impl Group {
    /// With its commands beside it.
    pub fn new(group: v1::Group, commands: Vec<Command>) -> Self {
        let mut counts = Counts::default();
        for count in &group.counts {
            counts.add(count.state(), count.commands as usize);
        }
        Self {
            created_at: time(group.created_at.as_ref()),
            finished_at: time(group.finished_at.as_ref()),
            group_id: group.group_id,
            name: group.name,
            issuer: some(group.issuer),
            counts,
            commands,
        }
    }
}

impl Counts {
    fn add(&mut self, state: CommandState, commands: usize) {
        self.total += commands;
        *match state {
            CommandState::Succeeded => &mut self.succeeded,
            CommandState::Failed => &mut self.failed,
            CommandState::Rejected => &mut self.rejected,
            CommandState::Expired => &mut self.expired,
            CommandState::Cancelled => &mut self.cancelled,
            CommandState::Unknown => &mut self.unknown,
            CommandState::Unspecified
            | CommandState::Queued
            | CommandState::Delivered
            | CommandState::Accepted
            | CommandState::Running => &mut self.open,
        } += commands;
    }
}
