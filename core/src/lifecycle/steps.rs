//! The operations that the machine asks for, each as one future.

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use aegis_proto::cluster::v1::{
    NodeHeartbeatInner, NodeHeartbeatResponse, node_command::Command as Wish,
};
use tokio::sync::oneshot;

use super::{chain, machine::Event};
use crate::{
    client::{ClientError, NodeClusterClient, NodeProfile},
    command::HandlerError,
    config::{Config, model::EnrolmentTokenSource},
    facts::NodeFacts,
    session::{self, Node},
};

/// What an operation came to.
pub(super) enum Step {
    Event(Event),
    Connected(NodeClusterClient),
    Failed(ClientError),
    /// A unary heartbeat was answered.
    Heartbeat(NodeHeartbeatResponse),
    SessionClosed(session::Closed),
    Renewed(Result<crate::clock::BootInstant, ClientError>),
}

/// An operation under way. Dropping it ends it.
pub(super) type Operation = Pin<Box<dyn Future<Output = Step> + Send>>;

/// Awaits the operation in its place and empties the place; for ever, if there
/// is none.
pub(super) async fn next(place: &mut Option<Operation>) -> Step {
    match place {
        Some(operation) => {
            let step = operation.await;
            *place = None;
            step
        }
        None => pending().await,
    }
}

pub(super) fn profile(config: &Config, facts: &NodeFacts) -> NodeProfile {
    NodeProfile {
        role: config.node.role,
        capabilities: facts.capabilities(&config.node),
        grpc_address: config.node.advertise_address.clone(),
    }
}

/// Says how the node is, to a controller without a session.
pub(super) async fn heartbeat(
    client: NodeClusterClient,
    node: Arc<Node>,
    deadline: Duration,
) -> Step {
    let load = node.facts.load();
    let heartbeat = NodeHeartbeatInner {
        node_id: String::new(),
        status: node.state.status().into(),
        active_executions: node.state.active(),
        available_memory_gb: load.available_memory_gb,
        cpu_utilization_percent: load.cpu_percent,
    };
    match client.heartbeat(heartbeat, deadline).await {
        Ok(response) => {
            node.heartbeats.sent();
            Step::Heartbeat(response)
        }
        Err(error) => {
            node.heartbeats.failed();
            Step::Failed(error)
        }
    }
}

/// Submits what a heartbeat's response asks for.
pub(super) fn take_wishes(response: NodeHeartbeatResponse, node: &Node) {
    for command in response.pending_commands {
        match command.command {
            // Not if it is in force.
            Some(Wish::PushConfig(wish)) => {
                node.offer_config(&wish.config_version, &wish.config_payload);
            }
            _ => node.take(command),
        }
    }
}

/// Tells the version in force and takes a newer one.
///
/// Without an answer it tries again now and then: the next registration, which
/// would ask too, may be days away.
pub(super) async fn sync_config(client: NodeClusterClient, node: Arc<Node>) {
    const ATTEMPTS: u32 = 5;

    for attempt in 1..=ATTEMPTS {
        let version = node.config.borrow().active_version.clone();
        match client.sync_config(&version).await {
            Ok(answer) => {
                if !answer.up_to_date && !answer.config_delta.is_empty() {
                    node.offer_config(&answer.latest_version, &answer.config_delta);
                }
                return;
            }
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    attempt,
                    "cannot ask for the node's config"
                );
                tokio::time::sleep(Duration::from_secs(1 << attempt)).await;
            }
        }
    }
}

/// Acknowledges a pushed config.
pub(super) async fn acknowledge_config(
    client: Option<NodeClusterClient>,
    node: Arc<Node>,
    version: String,
    reply: oneshot::Sender<Result<(), HandlerError>>,
) {
    let result = match client {
        Some(client) => client
            .sync_config(&version)
            .await
            .map_err(|error| HandlerError::new("not-acknowledged", chain(&error)).retryable()),
        None => Err(
            HandlerError::new("not-connected", "the worker has no controller now")
                .help("the version is told with the next registration")
                .retryable(),
        ),
    };
    let answer = match result {
        Ok(answer) => {
            if !answer.up_to_date && !answer.config_delta.is_empty() {
                node.offer_config(&answer.latest_version, &answer.config_delta);
            }
            Ok(())
        }
        Err(error) => Err(error),
    };
    // Whoever asked may have stopped waiting.
    let _ = reply.send(answer);
}

/// Reads the enrolment token where the config says it is.
pub(super) fn enrolment_token(source: &EnrolmentTokenSource) -> std::io::Result<String> {
    match source {
        EnrolmentTokenSource::Inline(token) => Ok(token.clone()),
        EnrolmentTokenSource::File(path) => std::fs::read_to_string(path),
        EnrolmentTokenSource::Env(name) => std::env::var(name).map_err(std::io::Error::other),
    }
    .map(|token| token.trim().to_owned())
}
