//! What the controller says on a session.

use aegis_proto::worker::v1::{Bye, ControllerMessage, bye, controller_message::Message};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;

use super::{Closed, Inbound, Node, RPC, SessionEvent, wire};
use crate::{
    client::{ClientError, NodeClusterClient},
    command::{CancelReason, CommandId},
    dispatch::FixedCommands,
    kill_point::kill_point,
    lifecycle::SessionEnd,
};

/// Until the controller says goodbye or the stream breaks.
pub(super) async fn receive(
    mut inbound: impl Inbound,
    client: &NodeClusterClient,
    node: &Node,
    events: &mpsc::Sender<SessionEvent>,
) -> Result<Closed, ClientError> {
    loop {
        let message = match inbound.next().await {
            Some(Ok(ControllerMessage {
                message: Some(message),
            })) => message,
            Some(Ok(ControllerMessage { message: None })) => {
                node.unknown_message();
                continue;
            }
            None => return Err(ClientError::closed(RPC)),
            Some(Err(status)) => return Err(ClientError::from_status(RPC, status)),
        };
        match message {
            Message::Command(command) => match wire::command(command) {
                Ok(command) if FixedCommands::derived(command.id) => tracing::warn!(
                    id = %command.id,
                    "left a command under an id of the kind that this worker makes itself"
                ),
                Ok(command) => node.commands.take(command).await,
                // Without an id there is no way to answer.
                Err(error) => tracing::warn!(%error, "left a command that cannot be answered"),
            },
            Message::Cancel(cancel) => match cancel.command_id.parse() {
                Ok(id) => node
                    .commands
                    .order_cancel(id, CancelReason::Requested, &cancel.reason),
                Err(error) => tracing::warn!(%error, "left a cancel of what is no command"),
            },
            Message::ResultAck(ack) => {
                let ids: Vec<CommandId> = ack
                    .command_ids
                    .iter()
                    .filter_map(|id| id.parse().ok())
                    .collect();
                kill_point!("acknowledgement.received");
                node.journal.acknowledge(&ids);
            }
            Message::ConfigOffer(offer) => {
                node.offer_config(&offer.config_version, &offer.config_payload);
            }
            Message::TokenRenewal(renewal) if !renewal.node_security_token.is_empty() => {
                let expires_at =
                    client.renew_token(renewal.node_security_token, renewal.expires_at);
                let _ = events.send(SessionEvent::TokenRenewed { expires_at }).await;
            }
            Message::Bye(bye) => return Ok(closed(bye)),
            // Both belong before the session.
            Message::Challenge(_) | Message::Welcome(_) | Message::TokenRenewal(_) => {
                node.unknown_message();
            }
        }
    }
}

pub(super) fn closed(bye: Bye) -> Closed {
    let end = match bye.reason() {
        bye::Reason::Superseded => SessionEnd::Superseded,
        bye::Reason::Evicted => SessionEnd::Evicted,
        bye::Reason::Banned => SessionEnd::Banned,
        bye::Reason::Unspecified | bye::Reason::GoingAway => SessionEnd::GoingAway {
            retry_after: wire::duration(bye.retry_after),
        },
    };
    Closed {
        end,
        message: format!("the controller ended the session: {}", bye.message),
    }
}
