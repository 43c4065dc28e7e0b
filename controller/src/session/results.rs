//! From a node's results to committed outcomes and an acknowledgement.

use aegis_proto::{
    CommandId,
    worker::v1::{ResultAck, controller_message::Message},
};
use tonic::Status;

use super::{Session, receipt};
use crate::{
    kill_point::kill_point,
    queue::state_name,
    store::{CommandRecord, Finish, Finished},
};

/// Events about results that changed nothing, for each session; further ones
/// are counted.
const MOST_COMPLAINTS: u32 = 100;

impl Session {
    /// Commits results, then acknowledges them. Those of commands that are
    /// unknown, over, or not this node's are acknowledged too, so that the node
    /// can forget them: nothing else would ever make it.
    pub(super) async fn settle(&mut self, finishes: Vec<Finish>) -> Result<(), Status> {
        if finishes.is_empty() {
            return Ok(());
        }
        let told: Vec<_> = finishes
            .iter()
            .map(|finish| (finish.id, finish.receipt.clone(), finish.name.clone()))
            .collect();
        let finished = self.controller.finish_all(finishes).await?;
        let mut pushed = false;
        for ((id, receipt, name), finished) in told.iter().zip(finished) {
            pushed |= self.settled(*id, receipt, name, finished).await?;
        }
        for (id, ..) in &told {
            self.mine.remove(id);
            self.cancels.remove(id);
        }
        self.make_room(told.len());
        kill_point!("result.settled");
        let command_ids = told.iter().map(|(id, ..)| id.to_string()).collect();
        self.send(Message::ResultAck(ResultAck { command_ids }))
            .await?;
        kill_point!("result.acknowledged");
        if pushed {
            self.offer_config().await?;
        }
        Ok(())
    }

    /// Says what was wrong with a result. Returns whether it was that of a push
    /// of config.
    async fn settled(
        &mut self,
        id: CommandId,
        receipt: &[u8],
        name: &Option<String>,
        finished: Finished,
    ) -> Result<bool, Status> {
        match finished {
            Finished::Committed(command) => {
                if command.receipt.is_empty() {
                    self.say_refused(&command).await;
                }
                Ok(command.name == "push-config")
            }
            Finished::Misnamed(command) => {
                let named = name.as_deref().unwrap_or_default();
                let why = format!("the receipt is for {named:?}, not for {:?}", command.name);
                let refused = receipt::refused(&self.node.record(), id, why);
                let finished = self.controller.finish_all(vec![refused]).await?.pop();
                if let Some(Finished::Committed(command)) = finished {
                    self.say_refused(&command).await;
                }
                Ok(false)
            }
            Finished::Already(command) => {
                if receipt.is_empty() || command.receipt != receipt {
                    let message = format!(
                        "another result came for a command that had ended as {}; the first \
                         outcome stands",
                        state_name(command.state)
                    );
                    self.complain("result-ignored", id, &message).await;
                }
                Ok(false)
            }
            Finished::Moved(_) => {
                let message = "a result came for a command that was never sent; it was dropped";
                self.complain("result-dropped", id, message).await;
                Ok(false)
            }
            Finished::Unknown => {
                let message = "a result came for a command that is not this node's; it was dropped";
                self.complain("result-dropped", id, message).await;
                Ok(false)
            }
        }
    }

    async fn say_refused(&mut self, command: &CommandRecord) {
        let why = command.error.as_ref().map(|error| error.message.clone());
        self.complain("receipt-refused", command.id, &why.unwrap_or_default())
            .await;
    }

    async fn complain(&mut self, kind: &'static str, id: CommandId, message: &str) {
        self.complaints += 1;
        if self.complaints <= MOST_COMPLAINTS {
            self.controller
                .event(kind, Some(self.node.id), Some(id), message)
                .await;
        }
    }
}
