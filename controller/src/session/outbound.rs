//! What a session sends of its own accord: commands, cancels, config offers.

use std::time::Duration;

use aegis_proto::{
    CommandId,
    worker::v1::{CancelCommand, Command, ConfigOffer, controller_message::Message},
};
use tokio::time::Instant;
use tonic::Status;

use super::Session;
use crate::{
    cluster::decode_push,
    command::Step,
    store::CommandRecord,
    time::{self, proto_duration, timestamp},
};

/// Commands read from the store at once.
const BATCH: u32 = 64;

impl Session {
    /// Sends every command whose time has come, and every new cancel.
    pub(super) async fn pump(&mut self) -> Result<(), Status> {
        loop {
            let now = time::now();
            let due = self.controller.store.due(self.node.id, now, BATCH).await?;
            for id in &due.deliver {
                self.deliver(*id).await?;
            }
            for (id, reason) in due.cancel {
                if self.cancels.insert(id) {
                    let cancel = CancelCommand {
                        command_id: id.to_string(),
                        reason,
                    };
                    self.send(Message::Cancel(cancel)).await?;
                }
            }
            self.next_due = due.next.map(|at| {
                let wait = u64::try_from(at - now).unwrap_or(0);
                Instant::now() + Duration::from_millis(wait)
            });
            if due.deliver.is_empty() {
                return Ok(());
            }
        }
    }

    /// Marks a command as delivered, then sends it. One that was cancelled or
    /// expired in the meantime is not sent.
    pub(super) async fn deliver(&mut self, id: CommandId) -> Result<(), Status> {
        let Some(command) = self
            .controller
            .advance(self.node.id, id, Step::Deliver, 0)
            .await?
        else {
            return Ok(());
        };
        self.mine.insert(id);
        if command.name == "push-config" {
            // Its outcome says what became of this version; no offer repeats it.
            self.offered = decode_push(&command.payload).map(|(version, _)| version);
        }
        self.send(Message::Command(on_the_wire(command))).await
    }

    /// Offers the config that the layers give this node, unless it has it, has
    /// refused it, or a push of it is under way.
    pub(super) async fn offer_config(&mut self) -> Result<(), Status> {
        let record = self.node.record();
        let status = record.config_status.clone().unwrap_or_default();
        let stack = self.controller.layers.load();
        let Some(wanted) = stack.wanted(
            self.node.id,
            &record.capabilities.tags,
            &status.active_version,
        ) else {
            return Ok(());
        };
        let refused = status.attempted_version == wanted.version && !status.attempt_succeeded;
        if refused || self.offered.as_ref() == Some(&wanted.version) {
            return Ok(());
        }
        let open = self.controller.store.open(self.node.id).await?;
        if open.iter().any(|command| command.name == "push-config") {
            return Ok(());
        }
        self.offered = Some(wanted.version.clone());
        self.send(Message::ConfigOffer(ConfigOffer {
            config_version: wanted.version,
            config_payload: wanted.document,
        }))
        .await
    }
}

fn on_the_wire(command: CommandRecord) -> Command {
    Command {
        command_id: command.id.to_string(),
        name: command.name,
        payload: command.payload,
        not_before: command.not_before.map(timestamp),
        start_by: command.start_by.map(timestamp),
        timeout: command
            .timeout_ms
            .map(|ms| proto_duration(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))),
        issuer: command.issuer,
        traceparent: command.traceparent,
        delivery: command.delivery,
    }
}
