//! The commands that a drain may have to wait for: handlers that have begun and
//! have not returned, and commands that a crash interrupted.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{command::CommandId, control::InFlight, id_map::IdMap};

#[derive(Debug, Default)]
pub(super) struct Active {
    commands: IdMap<Entry>,
    /// How many of them a drain waits for.
    waited_for: usize,
    /// How many of them have not begun again.
    interrupted: usize,
}

/// A command whose handler runs.
#[derive(Debug, Clone)]
pub(crate) struct ActiveCommand {
    pub(crate) name: Arc<str>,
    pub(crate) plugin: Arc<str>,
    pub(crate) started_at: SystemTime,
    /// From its start.
    pub(crate) timeout: Duration,
    pub(crate) runs_while_draining: bool,
    /// It was interrupted by the end of the process that ran it and begins anew:
    /// it is old work, and no drain keeps it out.
    pub(crate) resumed: bool,
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    plugin: Arc<str>,
    /// When it began and how long it has; `None` while it waits to begin anew.
    begun: Option<(SystemTime, Duration)>,
    runs_while_draining: bool,
    cancelled_at: Option<SystemTime>,
    given_up: bool,
}

impl Active {
    pub(super) fn begin(&mut self, id: CommandId, command: ActiveCommand) {
        self.insert(
            id,
            Entry {
                name: command.name,
                plugin: command.plugin,
                begun: Some((command.started_at, command.timeout)),
                runs_while_draining: command.runs_while_draining,
                cancelled_at: None,
                given_up: false,
            },
        );
    }

    pub(super) fn interrupted(&mut self, id: CommandId, name: Arc<str>, plugin: Arc<str>) {
        self.insert(
            id,
            Entry {
                name,
                plugin,
                begun: None,
                runs_while_draining: false,
                cancelled_at: None,
                given_up: false,
            },
        );
    }

    /// Whether a drain waits for a command that this changes.
    pub(super) fn cancelled(&mut self, id: CommandId, at: SystemTime) -> bool {
        self.commands.get_mut(&id).is_some_and(|entry| {
            entry.cancelled_at.get_or_insert(at);
            !entry.runs_while_draining
        })
    }

    /// Whether a drain waits for a command that this changes.
    pub(super) fn given_up(&mut self, id: CommandId) -> bool {
        self.commands.get_mut(&id).is_some_and(|entry| {
            entry.given_up = true;
            !entry.runs_while_draining
        })
    }

    pub(super) fn remove(&mut self, id: CommandId) {
        if let Some(entry) = self.commands.remove(&id) {
            self.uncount(&entry);
        }
    }

    /// Handlers that have begun.
    pub(super) fn running(&self) -> usize {
        self.commands.len() - self.interrupted
    }

    /// Their commands.
    pub(super) fn ids(&self) -> Vec<CommandId> {
        let running = self
            .commands
            .iter()
            .filter(|(_, entry)| entry.begun.is_some());
        running.map(|(id, _)| *id).collect()
    }

    /// Whether a drain waits for any.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waited_for > 0
    }

    /// Those that a drain waits for.
    pub(super) fn waited_for(&self) -> impl Iterator<Item = CommandId> {
        self.entries_waited_for().map(|(id, _)| id)
    }

    /// The same, as a drain tells of them.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = InFlight> {
        self.entries_waited_for().map(|(id, entry)| InFlight {
            command_id: id.to_string(),
            name: entry.name.to_string(),
            plugin: entry.plugin.to_string(),
            started_at: entry.begun.map(|(at, _)| at.into()),
            timeout_at: entry
                .begun
                .filter(|_| entry.cancelled_at.is_none())
                .and_then(|(at, timeout)| at.checked_add(timeout))
                .map(Into::into),
            cancelled_at: entry.cancelled_at.map(Into::into),
            given_up: entry.given_up,
        })
    }

    fn entries_waited_for(&self) -> impl Iterator<Item = (CommandId, &Entry)> {
        self.is_waited_for()
            .then(|| self.commands.iter())
            .into_iter()
            .flatten()
            .filter(|(_, entry)| !entry.runs_while_draining)
            .map(|(id, entry)| (*id, entry))
    }

    fn insert(&mut self, id: CommandId, entry: Entry) {
        self.waited_for += usize::from(!entry.runs_while_draining);
        self.interrupted += usize::from(entry.begun.is_none());
        if let Some(before) = self.commands.insert(id, entry) {
            self.uncount(&before);
        }
    }

    fn uncount(&mut self, entry: &Entry) {
        self.waited_for -= usize::from(!entry.runs_while_draining);
        self.interrupted -= usize::from(entry.begun.is_none());
    }
}
