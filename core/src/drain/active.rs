//! The handlers that have begun and have not returned.

use std::{sync::Arc, time::SystemTime};

use crate::{command::CommandId, id_map::IdMap};

#[derive(Debug, Default)]
pub(super) struct Active {
    commands: IdMap<ActiveCommand>,
    /// How many of them a drain waits for.
    waited_for: usize,
}

/// A command whose handler runs.
#[derive(Debug, Clone)]
pub(crate) struct ActiveCommand {
    pub(crate) name: Arc<str>,
    pub(crate) plugin: Arc<str>,
    pub(crate) started_at: SystemTime,
    pub(crate) runs_while_draining: bool,
}

impl Active {
    pub(super) fn insert(&mut self, id: CommandId, command: ActiveCommand) {
        self.waited_for += usize::from(!command.runs_while_draining);
        if let Some(before) = self.commands.insert(id, command) {
            self.waited_for -= usize::from(!before.runs_while_draining);
        }
    }

    pub(super) fn remove(&mut self, id: CommandId) {
        if let Some(command) = self.commands.remove(&id) {
            self.waited_for -= usize::from(!command.runs_while_draining);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    pub(super) fn ids(&self) -> Vec<CommandId> {
        self.commands.keys().copied().collect()
    }

    /// Those that a drain waits for.
    pub(super) fn waited_for(&self) -> impl Iterator<Item = (CommandId, &ActiveCommand)> {
        let any = self.waited_for > 0;
        any.then(|| self.commands.iter())
            .into_iter()
            .flatten()
            .filter(|(_, command)| !command.runs_while_draining)
            .map(|(id, command)| (*id, command))
    }
}
