//! The operator API, called without the command line.

use aegis_proto::{
    operator::v1::{
        operator_service_client::OperatorServiceClient, selector::Selector as Choice, *,
    },
    worker::v1::CommandState,
};
use tokio::time::timeout;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::{PATIENCE, eventually};

/// A client with a bearer token.
#[derive(Clone)]
pub struct Operator {
    /// The plain client, for calls that have no shorthand here.
    pub rpc: OperatorServiceClient<InterceptedService<Channel, Bearer>>,
}

/// Puts the token on every call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl Operator {
    /// Makes no call yet.
    pub fn new(endpoint: &str, token: &str) -> Self {
        let channel = Endpoint::from_shared(endpoint.to_owned())
            .expect("an endpoint")
            .connect_lazy();
        let bearer = Bearer(
            format!("Bearer {token}")
                .parse()
                .expect("a token without control characters"),
        );
        let rpc = OperatorServiceClient::with_interceptor(channel, bearer)
            .max_decoding_message_size(aegis_proto::limits::MAX_MESSAGE_BYTES);
        Self { rpc }
    }

    /// An enrolment token, bound to a node unless `node_id` is empty.
    pub async fn enrol(&self, node_id: &str) -> String {
        let request = CreateEnrolmentTokenRequest {
            node_id: node_id.to_owned(),
            ..Default::default()
        };
        let answer = self.rpc.clone().create_enrolment_token(request).await;
        answer
            .expect("an enrolment token")
            .into_inner()
            .enrolment_token
    }

    /// All nodes.
    pub async fn nodes(&self) -> Vec<NodeView> {
        let answer = self
            .rpc
            .clone()
            .list_nodes(ListNodesRequest { selector: None })
            .await;
        answer.expect("the nodes").into_inner().nodes
    }

    /// One node with plugins and handlers.
    pub async fn show(&self, node: &str) -> ShowNodeResponse {
        let request = ShowNodeRequest {
            node: node.to_owned(),
        };
        self.rpc
            .clone()
            .show_node(request)
            .await
            .expect("the node")
            .into_inner()
    }

    /// Waits until a node is as wanted.
    pub async fn until_node(
        &self,
        node: &str,
        what: &str,
        is: impl Fn(&NodeView) -> bool,
    ) -> NodeView {
        eventually(what, async || {
            let nodes = self.nodes().await;
            let id = |view: &NodeView| view.info.as_ref().is_some_and(|it| it.node_id == node);
            nodes.into_iter().find(|view| id(view) && is(view))
        })
        .await
    }

    /// Waits until the node is connected, by whatever transport.
    pub async fn until_connected(&self, node: &str) -> NodeView {
        self.until_node(node, "the node connects", |view| view.connected)
            .await
    }

    /// Waits until the node has a session, and takes any command.
    pub async fn until_session(&self, node: &str) -> NodeView {
        let session = |view: &NodeView| view.connected && view.transport == "session";
        self.until_node(node, "the node's session", session).await
    }

    /// Gives one node a command; it is committed when this returns.
    pub async fn submit(
        &self,
        node: &str,
        name: &str,
        payload: &str,
    ) -> Result<CommandView, Status> {
        let request = SubmitCommandRequest {
            selector: Some(Selector {
                selector: Some(Choice::Node(node.to_owned())),
            }),
            name: name.to_owned(),
            payload: payload.as_bytes().to_vec(),
            request_id: uuid::Uuid::new_v4().to_string(),
            ..Default::default()
        };
        let mut commands = self
            .rpc
            .clone()
            .submit_command(request)
            .await?
            .into_inner()
            .commands;
        assert_eq!(commands.len(), 1);
        Ok(commands.remove(0))
    }

    /// Gives one node a command and waits for its outcome.
    pub async fn run(&self, node: &str, name: &str, payload: &str) -> CommandView {
        let command = self
            .submit(node, name, payload)
            .await
            .expect("it is committed");
        self.outcome(&command.command_id).await
    }

    /// Waits for the outcome of a command.
    pub async fn outcome(&self, command_id: &str) -> CommandView {
        self.until_command(command_id, "the outcome", |it| {
            it.state() >= CommandState::Succeeded
        })
        .await
    }

    /// Waits until the command's handler runs.
    pub async fn until_running(&self, command_id: &str) -> CommandView {
        self.until_command(command_id, "the command runs", |it| {
            it.state() == CommandState::Running
        })
        .await
    }

    /// Waits until a command is as wanted.
    pub async fn until_command(
        &self,
        command_id: &str,
        what: &str,
        is: impl Fn(&CommandView) -> bool,
    ) -> CommandView {
        let request = WatchCommandsRequest {
            command_ids: vec![command_id.to_owned()],
            group_id: String::new(),
        };
        let mut events = self
            .rpc
            .clone()
            .watch_commands(request)
            .await
            .expect("a watch")
            .into_inner();
        let mut last = None;
        let found = timeout(PATIENCE, async {
            while let Some(event) = events.message().await.expect("the watch goes on") {
                if let Some(command_event::Event::Command(view)) = event.event {
                    if is(&view) {
                        return Some(view);
                    }
                    last = Some(view);
                }
            }
            None
        })
        .await;
        match found {
            Ok(Some(view)) => view,
            _ => panic!("never came: {what}; the last seen was {last:#?}"),
        }
    }

    /// A command as it is now, with its output.
    pub async fn command(&self, command_id: &str) -> ShowCommandResponse {
        let request = ShowCommandRequest {
            command_id: command_id.to_owned(),
        };
        self.rpc
            .clone()
            .show_command(request)
            .await
            .expect("the command")
            .into_inner()
    }

    /// The newest commands.
    pub async fn commands(&self) -> Vec<CommandView> {
        let answer = self
            .rpc
            .clone()
            .list_commands(ListCommandsRequest::default())
            .await;
        answer.expect("the commands").into_inner().commands
    }

    /// The audit log.
    pub async fn audit(&self) -> Vec<AuditEntry> {
        let request = ListAuditRequest {
            limit: 1000,
            after: 0,
        };
        self.rpc
            .clone()
            .list_audit(request)
            .await
            .expect("the log")
            .into_inner()
            .entries
    }

    /// Waits for an event of this kind.
    pub async fn until_event(&self, kind: &str) -> Event {
        eventually(&format!("the event {kind}"), async || {
            let request = ListEventsRequest {
                limit: 1000,
                ..Default::default()
            };
            let answer = self
                .rpc
                .clone()
                .list_events(request)
                .await
                .expect("the events");
            answer
                .into_inner()
                .events
                .into_iter()
                .find(|event| event.kind == kind)
        })
        .await
    }
}
