//! The worker's end of `aegis.worker.v1`: one stream that carries heartbeats,
//! commands and their outcomes.
//!
//! A session owns nothing that has to outlast it. What it was about to send is
//! in the journal, and the next session's reader begins anew.

mod heartbeats;
mod inbound;
mod inventory;
mod node;
mod opening;
mod outbound;
mod receipt;
mod wire;

use std::time::Duration;

use aegis_proto::worker::v1::{ControllerMessage, WorkerMessage};
use opening::Opening;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tonic::Status;

use crate::{
    client::{ClientError, NodeClusterClient},
    clock::BootInstant,
    lifecycle::SessionEnd,
};

pub(crate) use heartbeats::Heartbeats;
pub use inventory::Inventory;
pub(crate) use node::Node;

/// Before a session that was ended because commands were not taken is followed
/// by another one.
const MISSED_PAUSE: Duration = Duration::from_secs(1);

/// How the RPC is called in errors.
const RPC: &str = "Connect";

/// What the controller says, from the network or a simulation.
pub(crate) trait Inbound: Stream<Item = Result<ControllerMessage, Status>> + Unpin {}

impl<S: Stream<Item = Result<ControllerMessage, Status>> + Unpin> Inbound for S {}

/// What a session tells while it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SessionEvent {
    /// The controller's welcome, with its word on the heartbeat interval.
    Opened {
        interval: Option<Duration>,
        session_id: String,
    },
    /// The controller sent a new token.
    TokenRenewed { expires_at: BootInstant },
}

/// Why a session is over.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) end: SessionEnd,
    /// For the log.
    pub(crate) message: String,
}

/// Opens a session and serves it to its end. Dropping the future ends it.
pub(crate) async fn run(
    client: NodeClusterClient,
    node: &Node,
    interval: watch::Receiver<Duration>,
    events: mpsc::Sender<SessionEvent>,
) -> Closed {
    match serve(client, node, interval, events).await {
        Ok(closed) => closed,
        Err(error) => Closed {
            end: SessionEnd::Failed(error.failure()),
            message: crate::lifecycle::chain(&error),
        },
    }
}

/// The same on a connection that a simulation made.
pub(crate) async fn run_over(
    outbound: mpsc::Sender<WorkerMessage>,
    inbound: impl Inbound,
    client: NodeClusterClient,
    node: &Node,
    interval: watch::Receiver<Duration>,
    events: mpsc::Sender<SessionEvent>,
) -> Result<Closed, ClientError> {
    let opening = opening::greet(outbound, inbound, &client, node).await?;
    serve_opened(opening, client, node, interval, events).await
}

async fn serve(
    client: NodeClusterClient,
    node: &Node,
    interval: watch::Receiver<Duration>,
    events: mpsc::Sender<SessionEvent>,
) -> Result<Closed, ClientError> {
    let opening = opening::open(&client, node).await?;
    serve_opened(opening, client, node, interval, events).await
}

async fn serve_opened(
    opening: Opening<impl Inbound>,
    client: NodeClusterClient,
    node: &Node,
    interval: watch::Receiver<Duration>,
    events: mpsc::Sender<SessionEvent>,
) -> Result<Closed, ClientError> {
    let opened = match opening {
        Opening::Opened(opened) => *opened,
        Opening::Dismissed(closed) => return Ok(closed),
    };
    let event = SessionEvent::Opened {
        interval: opened.interval,
        session_id: opened.session_id,
    };
    // The receiver lives as long as this future does.
    let _ = events.send(event).await;
    // Two halves, so that a controller that is slow to read does not keep the
    // worker from hearing it.
    tokio::select! {
        closed = inbound::receive(opened.inbound, &client, node, &events) => closed,
        () = outbound::send(opened.outbound, node, opened.inventory, opened.config, interval) => Err(ClientError::closed(RPC)),
        () = node.journal.missed() => Ok(Closed {
            end: SessionEnd::GoingAway {
                retry_after: Some(MISSED_PAUSE),
            },
            message: "commands came while the journal could not take them: connecting anew, so \
                      that they come again"
                .to_owned(),
        }),
    }
}
