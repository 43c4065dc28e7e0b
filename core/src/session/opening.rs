//! Challenge, hello, welcome.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use aegis_proto::{
    HELLO_PURPOSE,
    limits::{MAX_MESSAGE_BYTES, NONCE_BYTES},
    worker::v1::{
        ControllerMessage, Hello, WorkerMessage, controller_message::Message,
        worker_message::Message as Outbound, worker_session_client::WorkerSessionClient,
    },
};
use tokio::sync::{mpsc, watch};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::Streaming;

use super::{Closed, Inbound, Inventory, Node, RPC, inbound, wire};
use crate::{
    client::{ClientError, NodeClusterClient, RPC_DEADLINE},
    command::CommandId,
    dispatch::FixedCommands,
    facts,
    pushed_config::ConfigState,
};

/// Messages that wait for the connection. When they are so many, the sender
/// waits, and what it has not yet taken out of the journal coalesces there.
const QUEUED: usize = 16;

pub(super) struct Opened<S> {
    pub(super) outbound: mpsc::Sender<WorkerMessage>,
    pub(super) inbound: S,
    /// As told in the hello; changes after it are to be sent.
    pub(super) inventory: watch::Receiver<Arc<Inventory>>,
    pub(super) config: watch::Receiver<ConfigState>,
    pub(super) interval: Option<Duration>,
    pub(super) session_id: String,
}

pub(super) enum Opening<S> {
    Opened(Box<Opened<S>>),
    /// With a goodbye in the place of the welcome.
    Dismissed(Closed),
}

pub(super) async fn open(
    client: &NodeClusterClient,
    node: &Node,
) -> Result<Opening<Streaming<ControllerMessage>>, ClientError> {
    let opening = async {
        let (outbound, inbound) = connect(client).await?;
        handshake(outbound, inbound, client, node).await
    };
    within_deadline(opening).await
}

/// On a connection that is there.
pub(super) async fn greet<S: Inbound>(
    outbound: mpsc::Sender<WorkerMessage>,
    inbound: S,
    client: &NodeClusterClient,
    node: &Node,
) -> Result<Opening<S>, ClientError> {
    within_deadline(handshake(outbound, inbound, client, node)).await
}

async fn within_deadline<T>(
    opening: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    tokio::time::timeout(RPC_DEADLINE, opening)
        .await
        .unwrap_or_else(|_| Err(ClientError::timed_out(RPC, RPC_DEADLINE)))
}

async fn connect(
    client: &NodeClusterClient,
) -> Result<(mpsc::Sender<WorkerMessage>, Streaming<ControllerMessage>), ClientError> {
    let (outbound, queue) = mpsc::channel(QUEUED);
    let mut grpc = WorkerSessionClient::new(client.channel())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let inbound = grpc
        .connect(ReceiverStream::new(queue))
        .await
        .map_err(|status| ClientError::from_status(RPC, status))?
        .into_inner();
    Ok((outbound, inbound))
}

async fn handshake<S: Inbound>(
    outbound: mpsc::Sender<WorkerMessage>,
    mut inbound: S,
    client: &NodeClusterClient,
    node: &Node,
) -> Result<Opening<S>, ClientError> {
    let Message::Challenge(challenge) = next(&mut inbound, node).await? else {
        return Err(ClientError::malformed(
            RPC,
            "the session did not begin with a challenge",
        ));
    };
    if challenge.nonce.len() != NONCE_BYTES {
        let length = challenge.nonce.len();
        return Err(ClientError::malformed(
            RPC,
            format!("a challenge of {length} bytes"),
        ));
    }
    let mut inventory = node.inventory.clone();
    let mut config = node.config.clone();
    let hello = hello(
        node,
        challenge.nonce,
        &inventory.borrow_and_update(),
        &config.borrow_and_update(),
    );
    let envelope = client.seal(RPC, &hello)?;
    let hello = WorkerMessage {
        message: Some(Outbound::Hello(envelope)),
    };
    outbound
        .send(hello)
        .await
        .map_err(|_| ClientError::closed(RPC))?;
    match next(&mut inbound, node).await? {
        Message::Welcome(welcome) => Ok(Opening::Opened(Box::new(Opened {
            outbound,
            inbound,
            inventory,
            config,
            interval: welcome
                .heartbeat_interval
                .and_then(|interval| interval.try_into().ok()),
            session_id: welcome.session_id,
        }))),
        Message::Bye(bye) => Ok(Opening::Dismissed(inbound::closed(bye))),
        _ => Err(ClientError::malformed(
            RPC,
            "the hello was not answered with a welcome",
        )),
    }
}

async fn next(inbound: &mut impl Inbound, node: &Node) -> Result<Message, ClientError> {
    loop {
        match inbound.next().await {
            Some(Ok(ControllerMessage {
                message: Some(message),
            })) => return Ok(message),
            Some(Ok(_)) => node.unknown_message(),
            None => return Err(ClientError::closed(RPC)),
            Some(Err(status)) => return Err(ClientError::from_status(RPC, status)),
        }
    }
}

/// Whatever the controller sent and this node may still run. What was brought
/// is asked for first, for it goes into the journal meanwhile.
fn held(node: &Node) -> BTreeSet<CommandId> {
    let mut held = BTreeSet::from_iter(node.commands.brought());
    held.extend(node.journal.held());
    // The controller has no id of the others.
    held.retain(|id| !FixedCommands::derived(*id));
    held
}

fn hello(node: &Node, challenge: Vec<u8>, inventory: &Inventory, config: &ConfigState) -> Hello {
    let (plugins, handlers) = wire::inventory(inventory);
    Hello {
        purpose: HELLO_PURPOSE.to_owned(),
        node_id: node.identity.node_id().to_string(),
        challenge,
        features: Vec::new(),
        boot_id: node.boot_id.hyphenated().to_string(),
        worker_version: node.worker_version.clone(),
        plugins,
        handlers,
        config: Some(wire::config_status(config)),
        held_command_ids: held(node).iter().map(ToString::to_string).collect(),
        hostname: facts::hostname(),
        platform: facts::platform(),
        journal_lost_at: node.journal.lost_at().map(Into::into),
    }
}
