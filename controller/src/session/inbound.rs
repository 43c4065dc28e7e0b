//! What a node tells on its session.

use aegis_proto::{
    CommandId,
    limits::MAX_CHUNK_BYTES,
    worker::v1::{
        CommandUpdate, ConfigStatus, InventoryChange, WorkerMessage, command_update::Update,
        worker_message::Message,
    },
};
use tonic::Status;

use super::{Session, receipt};
use crate::{
    command::Step, config_status::bounded, directory::Pulse, kill_point::kill_point, store::Finish,
};

/// No handler writes as much. Beyond it an offset is no offset, and sums with
/// it would overflow.
const MAX_OUTPUT_OFFSET: u64 = 1 << 60;

/// What commands became, in the order in which it was told.
#[derive(Default)]
struct Told {
    steps: Vec<(CommandId, Step)>,
    finishes: Vec<Finish>,
}

impl Session {
    pub(super) async fn take_all(&mut self, messages: Vec<WorkerMessage>) -> Result<(), Status> {
        let mut told = Told::default();
        for message in messages {
            match message.message {
                Some(Message::Heartbeat(heartbeat)) => {
                    let pulse = Pulse::from(heartbeat);
                    self.controller.heard(&self.node, pulse).await;
                }
                Some(Message::CommandUpdate(update)) => {
                    told.steps.extend(self.take_update(update));
                }
                Some(Message::CommandResult(result)) => {
                    match receipt::check(result, &self.node.record()) {
                        Some(finish) => told.finishes.push(finish),
                        None => self.unknown += 1,
                    }
                }
                Some(Message::InventoryChange(change)) => self.take_inventory(change).await?,
                Some(Message::ConfigStatus(status)) => {
                    // The outcome of what it is about was told before.
                    self.commit(std::mem::take(&mut told)).await?;
                    self.take_config(status).await?;
                }
                Some(Message::Hello(_)) | None => self.unknown += 1,
            }
        }
        self.commit(told).await
    }

    /// Updates of commands that are not this node's are counted and ignored.
    /// Returns what has to be stored.
    fn take_update(&mut self, update: CommandUpdate) -> Option<(CommandId, Step)> {
        let id = update.command_id.parse::<CommandId>().ok();
        let (Some(id), Some(what)) = (id.filter(|id| self.mine.contains(id)), update.update) else {
            self.unknown += 1;
            return None;
        };
        match what {
            Update::Accepted(_) => return Some((id, Step::Accept)),
            Update::Running(running) => {
                self.controller.watchers.began(id, running.attempt);
                return Some((id, Step::Start(running.attempt)));
            }
            Update::Progress(progress) => self.controller.watchers.progressed(id, progress),
            Update::Output(chunk)
                if chunk.data.len() <= MAX_CHUNK_BYTES && chunk.offset <= MAX_OUTPUT_OFFSET =>
            {
                self.controller.watchers.wrote(id, &chunk);
            }
            Update::Output(_) => self.unknown += 1,
        }
        None
    }

    async fn commit(&mut self, told: Told) -> Result<(), Status> {
        let Told {
            mut steps,
            finishes,
        } = told;
        // An outcome says all that the steps to it would have said.
        steps.retain(|(id, _)| !finishes.iter().any(|finish| finish.id == *id));
        if !steps.is_empty() {
            self.controller.advance_all(self.node.id, &steps).await?;
            if steps.iter().any(|(_, step)| *step == Step::Accept) {
                kill_point!("accepted.stored");
            }
            if steps.iter().any(|(_, step)| *step != Step::Accept) {
                kill_point!("running.stored");
            }
        }
        self.settle(finishes).await
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
        let status = bounded(status);
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
