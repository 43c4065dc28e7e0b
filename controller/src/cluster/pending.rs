//! Commands for a node that has no session: `drain`, `push-config` and
//! `shutdown` become [`NodeCommand`]s in heartbeat responses, and their
//! outcomes are derived from what the node does.
//!
//! - `drain` is repeated until a heartbeat says DRAINING (or, undone, no
//!   longer does). One at a time, in the order they were given.
//! - `push-config` is repeated until SyncConfig names its version. A newer one
//!   takes the place of an older.
//! - `shutdown` is repeated until the node deregisters, which is its success.
//!
//! Every other command stays queued: the node may yet open a session. Ours
//! refuses such a command at submission where a node never has.

use aegis_proto::{
    cluster::v1::{
        DrainCommand, NodeCommand, NodeStatus, PushConfigCommand, ShutdownCommand,
        node_command::Command,
    },
    error_code,
    worker::v1::CommandState,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use tonic::Status;

use crate::{
    command::{FinalState, Step},
    controller::Controller,
    directory::Node,
    outcome,
    store::CommandRecord,
    time,
};

/// Commands that the fixed contract can carry.
pub(crate) const FIXED: [&str; 3] = ["drain", "push-config", "shutdown"];

/// The payload of a `drain` command, as far as the fixed contract goes.
#[derive(Deserialize)]
struct Drain {
    #[serde(default)]
    drain: bool,
}

/// The payload of a `push-config` command.
#[derive(Deserialize)]
pub(crate) struct PushConfig {
    #[serde(alias = "config_version", rename = "configVersion")]
    pub version: String,
    #[serde(alias = "config_payload", rename = "configPayload")]
    pub payload: String,
}

/// The payload of a `shutdown` command, as far as the fixed contract goes.
#[derive(Deserialize)]
struct Shutdown {
    #[serde(default)]
    reason: String,
}

impl Controller {
    /// What to tell a node that has no session and whose heartbeat says `status`.
    pub(crate) async fn pending(
        &self,
        node: &Node,
        status: NodeStatus,
    ) -> Result<Vec<NodeCommand>, Status> {
        node.no_commands();
        let now = time::now();
        let open = self.store.open(node.id).await?;
        if !open.is_empty() {
            node.wake();
        }
        let due: Vec<_> = open
            .into_iter()
            .filter(|command| FIXED.contains(&command.name.as_str()))
            .filter(|c| matches!(c.state, CommandState::Queued | CommandState::Delivered))
            .filter(|command| command.not_before.is_none_or(|at| at <= now))
            .filter(|command| {
                command.state != CommandState::Queued || command.start_by.is_none_or(|at| at > now)
            })
            .collect();

        let mut told = Vec::new();
        let mut drained = false;
        let newest_push = due
            .iter()
            .rposition(|command| command.name == "push-config");
        for (at, command) in due.iter().enumerate() {
            // Lists leave the payload out.
            let Some(command) = self.store.command(command.id).await? else {
                continue;
            };
            if let Err(why) = self.allowed(node, &command.name) {
                let error = why.error("not sent");
                self.derive(&command, FinalState::Rejected, Some(error))
                    .await?;
                continue;
            }
            let next = match command.name.as_str() {
                "drain" if drained => None,
                "drain" => {
                    let next = self.pending_drain(&command, status).await?;
                    drained = next.is_some();
                    next
                }
                "push-config" if Some(at) != newest_push => {
                    self.finish(&Self::superseded_by("a newer push-config", &command))
                        .await?;
                    None
                }
                "push-config" => self.pending_push(&command).await?,
                _ => self.pending_shutdown(&command).await?,
            };
            if let Some(next) = next {
                self.advance(node.id, command.id, Step::Deliver).await?;
                told.push(NodeCommand {
                    command: Some(next),
                });
            }
        }
        Ok(told)
    }

    async fn pending_drain(
        &self,
        command: &CommandRecord,
        status: NodeStatus,
    ) -> Result<Option<Command>, Status> {
        let Ok(wanted) = serde_json::from_slice::<Drain>(&command.payload) else {
            return self.reject_payload(command).await;
        };
        if (status == NodeStatus::Draining) == wanted.drain {
            self.derive(command, FinalState::Succeeded, None).await?;
            return Ok(None);
        }
        Ok(Some(Command::Drain(DrainCommand {
            drain: wanted.drain,
        })))
    }

    async fn pending_push(&self, command: &CommandRecord) -> Result<Option<Command>, Status> {
        let Some((config_version, config_payload)) = decode_push(&command.payload) else {
            return self.reject_payload(command).await;
        };
        Ok(Some(Command::PushConfig(PushConfigCommand {
            config_version,
            config_payload,
        })))
    }

    async fn pending_shutdown(&self, command: &CommandRecord) -> Result<Option<Command>, Status> {
        let Ok(wanted) = serde_json::from_slice::<Shutdown>(&command.payload) else {
            return self.reject_payload(command).await;
        };
        Ok(Some(Command::Shutdown(ShutdownCommand {
            reason: wanted.reason,
        })))
    }

    async fn reject_payload(&self, command: &CommandRecord) -> Result<Option<Command>, Status> {
        let error = outcome::rejected(
            error_code::INVALID_PAYLOAD,
            format!("the payload is not what {} takes", command.name),
            "See aegisctl describe for its schema.",
        );
        self.derive(command, FinalState::Rejected, Some(error))
            .await?;
        Ok(None)
    }
}

/// Version and document of a `push-config` payload.
pub(crate) fn decode_push(payload: &[u8]) -> Option<(String, Vec<u8>)> {
    let wanted: PushConfig = serde_json::from_slice(payload).ok()?;
    Some((wanted.version, BASE64_STANDARD.decode(wanted.payload).ok()?))
}
