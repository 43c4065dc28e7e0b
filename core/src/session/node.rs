//! What a session speaks for.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use aegis_proto::cluster::v1::{NodeCommand, PushConfigCommand, node_command::Command as Wish};
use tokio::sync::watch;
use uuid::Uuid;

use super::{Heartbeats, Inventory};
use crate::{
    dispatch::{Dispatcher, FixedCommand, FixedCommands},
    drain::NodeState,
    facts::NodeFacts,
    identity::Identity,
    journal::Journal,
    pushed_config::ConfigState,
    unpoisoned::lock,
};

/// The parts of a worker that a controller hears of.
pub(crate) struct Node {
    pub(crate) identity: Arc<Identity>,
    /// Made anew in each life of the worker.
    pub(crate) boot_id: Uuid,
    pub(crate) worker_version: String,
    pub(crate) state: Arc<NodeState>,
    pub(crate) facts: NodeFacts,
    pub(crate) journal: Journal,
    pub(crate) commands: Dispatcher,
    /// For what comes without an id.
    pub(crate) fixed: Mutex<FixedCommands>,
    pub(crate) inventory: watch::Receiver<Arc<Inventory>>,
    pub(crate) config: watch::Receiver<ConfigState>,
    /// Messages of a newer protocol, left unread.
    pub(crate) unknown_messages: AtomicU64,
    pub(crate) heartbeats: Heartbeats,
}

impl Node {
    /// Submits a config, unless it is the one in force or was rejected before, by
    /// name and content.
    pub(crate) fn offer_config(&self, version: &str, payload: &[u8]) {
        if !self.config.borrow().has_seen(version, payload) {
            let command = PushConfigCommand {
                config_version: version.to_owned(),
                config_payload: payload.to_vec(),
            };
            self.take(NodeCommand {
                command: Some(Wish::PushConfig(command)),
            });
        }
    }

    /// Submits a command that carries no id, unless it is a repetition.
    pub(crate) fn take(&self, command: NodeCommand) {
        let derived = lock(&self.fixed).derive(command);
        match derived {
            FixedCommand::New(command) => {
                let id = command.id;
                if !self.commands.try_take(command) {
                    tracing::warn!(%id, "too many commands at once: one is left until it is repeated");
                    lock(&self.fixed).forget(id);
                }
            }
            FixedCommand::Repeated(id) => tracing::trace!(%id, "a repeated command"),
            FixedCommand::Empty => {}
        }
    }

    pub(crate) fn unknown_message(&self) {
        let count = self.unknown_messages.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::debug!(
            count,
            "the controller sent something that this version does not know"
        );
    }
}
