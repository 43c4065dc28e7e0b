//! ShowCommand, ListCommands and CancelCommand.

use aegis_proto::{CommandId, GroupId, operator::v1 as api, worker::v1::CommandState};
use serde_json::json;
use tonic::Status;

use super::{OperatorApi, audit::Call, enrolment::short, log::limit};
use crate::{
    cluster::FIXED,
    command::FinalState,
    outcome,
    store::{CommandFilter, CommandRecord},
    time,
    watch::Position,
};

impl OperatorApi {
    pub(super) async fn command(
        &self,
        request: api::ShowCommandRequest,
    ) -> Result<api::ShowCommandResponse, Status> {
        self.controller.expire_before_reading().await;
        let id = self.controller.find_command(&request.command_id).await?;
        let mut command = self.existing(id).await?;
        let watchers = &self.controller.watchers;
        let output = match watchers.output(id, Position::default(), usize::MAX) {
            Some((_, running)) => {
                // What came before the first byte that is kept.
                command.output_cut = running.offset;
                running.data
            }
            None => self.controller.store.output(id).await?,
        };
        Ok(api::ShowCommandResponse {
            command: Some(self.controller.command_view(command)),
            output,
        })
    }

    pub(super) async fn commands(
        &self,
        request: api::ListCommandsRequest,
    ) -> Result<api::ListCommandsResponse, Status> {
        use api::selector::Selector as S;
        let chosen = request
            .selector
            .as_ref()
            .and_then(|selector| selector.selector.as_ref());
        let nodes = match chosen {
            None | Some(S::All(_)) => None,
            Some(_) => {
                let nodes = self.controller.select(request.selector.as_ref())?;
                Some(nodes.iter().map(|node| node.id).collect())
            }
        };
        let id = |text: &str| -> Result<Option<CommandId>, Status> {
            (!text.is_empty())
                .then(|| text.parse())
                .transpose()
                .map_err(malformed)
        };
        let group: Option<GroupId> = (!request.group_id.is_empty())
            .then(|| request.group_id.parse())
            .transpose()
            .map_err(malformed)?;
        let filter = CommandFilter {
            nodes,
            states: request.states().collect(),
            group,
            before: id(&request.before)?,
            limit: limit(request.limit)?,
        };
        self.controller.expire_before_reading().await;
        let commands = self.controller.store.list(&filter).await?;
        let commands = commands
            .into_iter()
            .map(|c| self.controller.command_view(c))
            .collect();
        Ok(api::ListCommandsResponse { commands })
    }

    pub(crate) async fn cancel(
        &self,
        who: &str,
        request: api::CancelCommandRequest,
    ) -> Result<api::CancelCommandResponse, Status> {
        let call = Call {
            operator: who.into(),
            action: "CancelCommand",
            detail: json!({
                "command_id": short(&request.command_id),
                "reason": short(&request.reason),
            }),
        };
        let controller = &self.controller;
        controller
            .audited(&call, async {
                let id = controller.find_command(&request.command_id).await?;
                let reason = short(&request.reason);
                let cancelled = controller
                    .store
                    .request_cancel(id, &reason, time::now(), &call.ok())
                    .await?;
                let mut command = cancelled.ok_or_else(|| gone(id))?;
                if self.is_deaf(&command) {
                    let error = outcome::unknown(
                        aegis_proto::error_code::CANCELLED,
                        "cancelled, but its node has no session and had been told of it before",
                    );
                    controller
                        .derive(&command, FinalState::Unknown, Some(error))
                        .await?;
                    command = self.existing(id).await?;
                } else if command.state == CommandState::Cancelled {
                    controller.ended(&command).await;
                } else {
                    controller.watchers.state_changed(id);
                    if let Some(node) = controller.directory.find(command.node) {
                        node.wake();
                    }
                }
                Ok(api::CancelCommandResponse {
                    command: Some(controller.command_view(command)),
                })
            })
            .await
    }

    /// Whether the command went to a node of the fixed contract, which can't
    /// be told of a cancel.
    fn is_deaf(&self, command: &CommandRecord) -> bool {
        let node = self.controller.directory.find(command.node);
        command.state == CommandState::Delivered
            && FIXED.contains(&command.name.as_str())
            && node.is_some_and(|node| node.session().is_none() && node.record().facts.is_none())
    }

    pub(super) async fn existing(&self, id: CommandId) -> Result<CommandRecord, Status> {
        self.controller
            .store
            .command(id)
            .await?
            .ok_or_else(|| gone(id))
    }
}

fn gone(id: CommandId) -> Status {
    Status::not_found(format!("there is no command {id}"))
}

pub(super) fn malformed(error: aegis_proto::MalformedId) -> Status {
    Status::invalid_argument(error.to_string())
}
