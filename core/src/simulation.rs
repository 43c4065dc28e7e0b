//! A worker without its threads, its network and its lifecycle, for a
//! simulation of both ends of a session. Whoever holds it does step by step
//! what those would do; everything else is what a worker runs.

use std::{sync::Arc, time::Duration};

use aegis_proto::worker::v1::{ControllerMessage, WorkerMessage};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::Stream;
use tonic::Status;
use uuid::Uuid;

use crate::{
    client::NodeClusterClient,
    config::model::HandlersConfig,
    dispatch::{DispatchLimits, Dispatcher, FixedCommands},
    drain::NodeState,
    facts::NodeFacts,
    identity::Identity,
    journal::{Journal, Recovered},
    lifecycle::chain,
    plugin::Handlers,
    policy::Policy,
    pushed_config::ConfigState,
    session::{self, Heartbeats, Inventory, Node},
};

pub use crate::clock::{Simulated as Clocks, simulate as set_clocks};

/// One life of a worker's process.
pub struct Life {
    node: Arc<Node>,
    interval: watch::Sender<Duration>,
}

/// What a lane's slots and queues hold, in all lanes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub running: u32,
    pub wedged: u32,
    pub queued: usize,
    pub scheduled: usize,
}

impl Life {
    /// Begins with what the journal held. `handlers` may need the node's state.
    pub fn begin<H: Handlers>(
        identity: Arc<Identity>,
        boot_id: Uuid,
        journal: Journal,
        recovered: Vec<Recovered>,
        inventory: Inventory,
        handlers: impl FnOnce(Arc<NodeState>) -> H,
        limits: DispatchLimits,
    ) -> Self {
        let state = NodeState::open(Arc::new(journal.clone()));
        let commands = Dispatcher::new(
            journal.clone(),
            Arc::clone(&state),
            Arc::new(handlers(Arc::clone(&state))),
            Policy::local(HandlersConfig::default()),
            limits,
        );
        commands.hold_intake();
        commands.resume(recovered);
        let node = Node {
            fixed: FixedCommands::new(identity.node_id(), boot_id).into(),
            identity,
            boot_id,
            worker_version: String::new(),
            state,
            facts: NodeFacts::none(),
            journal,
            commands,
            inventory: watch::Sender::new(Arc::new(inventory)).subscribe(),
            config: watch::Sender::new(ConfigState::default()).subscribe(),
            unknown_messages: 0.into(),
            heartbeats: Heartbeats::default(),
        };
        Self {
            node: Arc::new(node),
            interval: watch::Sender::new(Duration::from_secs(30)),
        }
    }

    /// Opens a session over a connection, with a token, and serves it until
    /// either ends. The answer says why it did.
    pub fn connect(
        &self,
        token: String,
        outbound: mpsc::Sender<WorkerMessage>,
        inbound: impl Stream<Item = Result<ControllerMessage, Status>> + Unpin + Send + 'static,
    ) -> JoinHandle<String> {
        let client = NodeClusterClient::unconnected(Arc::clone(&self.node.identity));
        client.renew_token(token, None);
        let node = Arc::clone(&self.node);
        let interval = self.interval.subscribe();
        let (events, mut told) = mpsc::channel(8);
        tokio::spawn(async move {
            let session = session::run_over(outbound, inbound, client, &node, interval, events);
            tokio::pin!(session);
            let closed = loop {
                tokio::select! {
                    closed = &mut session => break closed,
                    Some(_) = told.recv() => {}
                }
            };
            match closed {
                Ok(closed) => closed.message,
                Err(error) => chain(&error),
            }
        })
    }

    pub fn journal(&self) -> &Journal {
        &self.node.journal
    }

    pub fn dispatcher(&self) -> &Dispatcher {
        &self.node.commands
    }

    pub fn state(&self) -> &Arc<NodeState> {
        &self.node.state
    }
    pub fn held(&self) -> Held {
        let mut held = Held::default();
        for lane in self.node.commands.figures().lanes {
            held.running += lane.running;
            held.wedged += lane.wedged;
            held.queued += lane.queued;
            held.scheduled += lane.scheduled;
        }
        held
    }
}
