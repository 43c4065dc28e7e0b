//! Challenge, hello, welcome.

use std::{sync::Arc, time::Duration};

use aegis_proto::{
    HELLO_PURPOSE,
    limits::{MAX_MESSAGE_BYTES, NONCE_BYTES},
    worker::v1::{
        ControllerMessage, Hello, WorkerMessage, controller_message::Message as Inbound,
        worker_message::Message as Outbound, worker_session_client::WorkerSessionClient,
    },
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{Closed, Inventory, Node, RPC, inbound, wire};
use crate::{
    client::{ClientError, NodeClusterClient, RPC_DEADLINE},
    dispatch::FixedCommands,
    facts,
    pushed_config::ConfigState,
};

/// Messages that wait for the connection. When they are so many, the sender
/// waits, and what it has not yet taken out of the journal coalesces there.
const QUEUED: usize = 16;

pub(super) struct Opened {
    pub(super) outbound: mpsc::Sender<WorkerMessage>,
    pub(super) inbound: Streaming<ControllerMessage>,
    /// As told in the hello; changes after it are to be sent.
    pub(super) inventory: watch::Receiver<Arc<Inventory>>,
    pub(super) config: watch::Receiver<ConfigState>,
    pub(super) interval: Option<Duration>,
    pub(super) session_id: String,
}

pub(super) enum Opening {
    Opened(Box<Opened>),
    /// With a goodbye in the place of the welcome.
    Dismissed(Closed),
}

pub(super) async fn open(client: &NodeClusterClient, node: &Node) -> Result<Opening, ClientError> {
    tokio::time::timeout(RPC_DEADLINE, handshake(client, node))
        .await
        .unwrap_or_else(|_| Err(ClientError::timed_out(RPC, RPC_DEADLINE)))
}

async fn handshake(client: &NodeClusterClient, node: &Node) -> Result<Opening, ClientError> {
    let (outbound, queue) = mpsc::channel(QUEUED);
    let mut grpc = WorkerSessionClient::new(client.channel())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let mut inbound = grpc
        .connect(ReceiverStream::new(queue))
        .await
        .map_err(|status| ClientError::from_status(RPC, status))?
        .into_inner();
    let Inbound::Challenge(challenge) = next(&mut inbound, node).await? else {
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
        Inbound::Welcome(welcome) => Ok(Opening::Opened(Box::new(Opened {
            outbound,
            inbound,
            inventory,
            config,
            interval: welcome
                .heartbeat_interval
                .and_then(|interval| interval.try_into().ok()),
            session_id: welcome.session_id,
        }))),
        Inbound::Bye(bye) => Ok(Opening::Dismissed(inbound::closed(bye))),
        _ => Err(ClientError::malformed(
            RPC,
            "the hello was not answered with a welcome",
        )),
    }
}

async fn next(
    inbound: &mut Streaming<ControllerMessage>,
    node: &Node,
) -> Result<Inbound, ClientError> {
    loop {
        match inbound.message().await {
            Ok(Some(ControllerMessage {
                message: Some(message),
            })) => return Ok(message),
            Ok(Some(_)) => node.unknown_message(),
            Ok(None) => return Err(ClientError::closed(RPC)),
            Err(status) => return Err(ClientError::from_status(RPC, status)),
        }
    }
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
        held_command_ids: node
            .journal
            .held()
            .iter()
            // The controller has no id of the others.
            .filter(|id| !FixedCommands::derived(**id))
            .map(ToString::to_string)
            .collect(),
        hostname: facts::hostname(),
        platform: facts::platform(),
    }
}
