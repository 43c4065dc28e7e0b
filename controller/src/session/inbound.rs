//! What a node tells on its session.

use aegis_proto::{
    CommandId,
    limits::MAX_CHUNK_BYTES,
    worker::v1::{
        CommandResult, CommandUpdate, ConfigStatus, InventoryChange, ResultAck, WorkerMessage,
        command_update::Update, controller_message, worker_message::Message,
    },
};
use tonic::Status;

use super::{Session, receipt};
use crate::{command::Step, directory::Pulse, store::Finished};

/// No handler writes as much. Beyond it an offset is no offset, and sums with
/// it would overflow.
const MAX_OUTPUT_OFFSET: u64 = 1 << 60;

impl Session {
    pub(super) async fn take(&mut self, message: WorkerMessage) -> Result<(), Status> {
        match message.message {
            Some(Message::Heartbeat(heartbeat)) => {
                self.controller
                    .heard(&self.node, Pulse::from(heartbeat))
                    .await;
                Ok(())
            }
            Some(Message::CommandUpdate(update)) => self.take_update(update).await,
            Some(Message::CommandResult(result)) => self.take_result(result).await,
            Some(Message::InventoryChange(change)) => self.take_inventory(change).await,
            Some(Message::ConfigStatus(status)) => self.take_config(status).await,
            Some(Message::Hello(_)) | None => {
                self.unknown += 1;
                Ok(())
            }
        }
    }

    /// Updates of commands that are not this node's are counted and ignored.
    async fn take_update(&mut self, update: CommandUpdate) -> Result<(), Status> {
        let id = update.command_id.parse::<CommandId>().ok();
        let (Some(id), Some(what)) = (id.filter(|id| self.mine.contains(id)), update.update) else {
            self.unknown += 1;
            return Ok(());
        };
        match what {
            Update::Accepted(_) => {
                self.controller
                    .advance(self.node.id, id, Step::Accept, 0)
                    .await?;
            }
            Update::Running(running) => {
                self.controller.watchers.began(id, running.attempt);
                self.controller
                    .advance(self.node.id, id, Step::Start, running.attempt)
                    .await?;
            }
            Update::Progress(progress) => self.controller.watchers.progressed(id, progress),
            Update::Output(chunk)
                if chunk.data.len() <= MAX_CHUNK_BYTES && chunk.offset <= MAX_OUTPUT_OFFSET =>
            {
                self.controller.watchers.wrote(id, &chunk);
            }
            Update::Output(_) => self.unknown += 1,
        }
        Ok(())
    }

    /// Commits a result, then acknowledges it. A result of a command that is
    /// unknown or not this node's is acknowledged too, so that the node can
    /// forget it; nothing else would ever make it.
    async fn take_result(&mut self, result: CommandResult) -> Result<(), Status> {
        let record = self.node.record();
        let Some((id, finish)) = receipt::check(result, &record) else {
            self.unknown += 1;
            return Ok(());
        };
        let known = self.controller.store.command(id).await?;
        let name = known.as_ref().map_or("", |command| command.name.as_str());
        let finish = match finish {
            Ok(finish) if known.is_none() || finish.name == name => finish.finish,
            Ok(finish) => receipt::refused(
                &record,
                id,
                format!("the receipt is for {:?}, not for {name:?}", finish.name),
            ),
            Err(refused) => *refused,
        };
        if finish.receipt.is_empty() && known.as_ref().is_some_and(|c| c.node == self.node.id) {
            let why = finish
                .error
                .as_ref()
                .map_or("", |error| error.message.as_str());
            self.controller
                .event("receipt-refused", Some(self.node.id), Some(id), why)
                .await;
        }
        if let Finished::Unknown = self.controller.finish(&finish).await? {
            let message = "a result came for a command that is not this node's; it was dropped";
            self.controller
                .event("result-dropped", Some(self.node.id), Some(id), message)
                .await;
        }
        self.mine.remove(&id);
        self.cancels.remove(&id);
        let ack = ResultAck {
            command_ids: vec![id.to_string()],
        };
        self.send(controller_message::Message::ResultAck(ack))
            .await?;
        if name == "push-config" {
            self.offer_config().await?;
        }
        Ok(())
    }

    async fn take_inventory(&mut self, change: InventoryChange) -> Result<(), Status> {
        let mut facts = self.node.record().facts.clone().unwrap_or_default();
        facts.plugins = change.plugins;
        facts.handlers = change.handlers;
        self.controller
            .store
            .set_facts(self.node.id, &facts)
            .await?;
        self.node.amend(|record| record.facts = Some(facts.clone()));
        self.controller.directory.tell(self.node.id);
        Ok(())
    }

    async fn take_config(&mut self, status: ConfigStatus) -> Result<(), Status> {
        self.controller
            .store
            .set_config_status(self.node.id, &status)
            .await?;
        self.node
            .amend(|record| record.config_status = Some(status.clone()));
        self.controller.directory.tell(self.node.id);
        self.offer_config().await
    }
}
