//! A controller to try, and a node and an operator to try it with.

use std::time::Duration;

use aegis_controller::{Config, Server};
use aegis_proto::{
    HELLO_PURPOSE, NodeId, RECEIPT_PURPOSE,
    cluster::v1::{node_cluster_service_client::NodeClusterServiceClient, *},
    operator::v1::{
        CommandView, CreateEnrolmentTokenRequest, Selector, SubmitCommandRequest,
        operator_service_client::OperatorServiceClient, selector,
    },
    worker::v1::{
        controller_message::Message as FromController, worker_message::Message as FromWorker,
        worker_session_client::WorkerSessionClient, *,
    },
};
use ed25519_dalek::{Signer, SigningKey};
use prost::Message;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use uuid::Uuid;

/// Long enough for a loaded machine; nothing waits for it where all is well.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub type Operator = OperatorServiceClient<InterceptedService<Channel, Bearer>>;

/// Waits for an event, and fails where it does not come.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what)
        .await
        .expect("it should have happened by now")
}

pub struct Controller {
    pub server: Server,
    pub dir: TempDir,
    pub channel: Channel,
}

pub fn config(dir: &TempDir) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().expect("an address"),
        data_dir: dir.path().to_owned(),
        ..Config::default()
    }
}

impl Controller {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), change).await
    }

    pub async fn start_in(dir: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config(&dir);
        change(&mut config);
        let server = Server::start(config).await.expect("a controller");
        let channel = Channel::from_shared(server.endpoint().to_owned())
            .expect("a URL")
            .connect()
            .await
            .expect("a connection");
        Self {
            server,
            dir,
            channel,
        }
    }

    pub fn cluster(&self) -> NodeClusterServiceClient<Channel> {
        NodeClusterServiceClient::new(self.channel.clone())
    }

    pub fn operator(&self) -> Operator {
        let token =
            std::fs::read_to_string(self.dir.path().join("operator.token")).expect("a token");
        self.operator_with(token.trim())
    }

    pub fn operator_with(&self, token: &str) -> Operator {
        let bearer = Bearer(format!("Bearer {token}").parse().expect("ASCII"));
        OperatorServiceClient::with_interceptor(self.channel.clone(), bearer)
    }

    pub async fn enrolment_token(&self) -> String {
        let request = CreateEnrolmentTokenRequest::default();
        let response = self
            .operator()
            .create_enrolment_token(request)
            .await
            .expect("a token");
        response.into_inner().enrolment_token
    }

    /// A node that is enrolled and registered.
    pub async fn node(&self) -> Node {
        self.node_with(|_| {}).await
    }

    pub async fn node_with(&self, change: impl FnOnce(&mut NodeCapabilities)) -> Node {
        let mut node = Node::new();
        change(&mut node.capabilities);
        node.enrol(self, &self.enrolment_token().await)
            .await
            .expect("enrolled");
        node.register(self).await.expect("registered");
        node
    }

    pub async fn submit(&self, selector: Selector, name: &str, payload: &str) -> CommandView {
        let request = SubmitCommandRequest {
            selector: Some(selector),
            name: name.into(),
            payload: payload.into(),
            ..Default::default()
        };
        let response = self
            .operator()
            .submit_command(request)
            .await
            .expect("submitted");
        response.into_inner().commands.remove(0)
    }

    pub async fn command(&self, id: &str) -> CommandView {
        let request = aegis_proto::operator::v1::ShowCommandRequest {
            command_id: id.into(),
        };
        let response = self.operator().show_command(request).await.expect("shown");
        response.into_inner().command.expect("a command")
    }

    /// Watches until the command has ended.
    pub async fn outcome(&self, id: &str) -> CommandView {
        use aegis_proto::operator::v1::{WatchCommandsRequest, command_event::Event};
        let request = WatchCommandsRequest {
            command_ids: vec![id.into()],
            group_id: String::new(),
        };
        let mut events = self
            .operator()
            .watch_commands(request)
            .await
            .expect("watched")
            .into_inner();
        let mut last = None;
        while let Some(event) = soon(events.message()).await.expect("an event") {
            if let Some(Event::Command(command)) = event.event {
                last = Some(command);
            }
        }
        last.expect("a command")
    }

    pub async fn event_kinds(&self) -> Vec<String> {
        let request = aegis_proto::operator::v1::ListEventsRequest {
            limit: 1000,
            ..Default::default()
        };
        let events = self
            .operator()
            .list_events(request)
            .await
            .expect("events")
            .into_inner()
            .events;
        events.into_iter().map(|event| event.kind).collect()
    }
}

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

pub fn only(node: &Node) -> Selector {
    Selector {
        selector: Some(selector::Selector::Node(node.id.clone())),
    }
}

pub fn all() -> Selector {
    Selector {
        selector: Some(selector::Selector::All(true)),
    }
}

pub fn tag(tag: &str) -> Selector {
    Selector {
        selector: Some(selector::Selector::Tag(tag.into())),
    }
}

/// A node that speaks the wire by itself.
#[derive(Clone)]
pub struct Node {
    pub id: String,
    pub key: SigningKey,
    pub role: NodeRole,
    pub capabilities: NodeCapabilities,
    pub token: String,
}

impl Node {
    pub fn new() -> Self {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("randomness");
        Self {
            id: NodeId::from_uuid(Uuid::new_v4()).to_string(),
            key: SigningKey::from_bytes(&seed),
            role: NodeRole::Worker,
            capabilities: NodeCapabilities {
                cpu_cores: 4,
                available_memory_gb: 8,
                ..Default::default()
            },
            token: String::new(),
        }
    }

    pub fn attestation(&self, enrolment_token: &str) -> AttestNodeRequest {
        AttestNodeRequest {
            node_id: self.id.clone(),
            role: self.role.into(),
            public_key: self.key.verifying_key().as_bytes().to_vec(),
            capabilities: Some(self.capabilities.clone()),
            grpc_address: "127.0.0.1:7000".into(),
            enrolment_token: enrolment_token.into(),
        }
    }

    pub fn answer(&self, challenge: &AttestNodeResponse) -> ChallengeNodeRequest {
        ChallengeNodeRequest {
            challenge_id: challenge.challenge_id.clone(),
            node_id: self.id.clone(),
            challenge_signature: self
                .key
                .sign(&challenge.challenge_nonce)
                .to_bytes()
                .to_vec(),
            bootstrap_proof: None,
        }
    }

    /// Attests and answers the challenge.
    pub async fn enrol(&mut self, controller: &Controller, token: &str) -> Result<(), Status> {
        let mut cluster = controller.cluster();
        let challenge = cluster
            .attest_node(self.attestation(token))
            .await?
            .into_inner();
        let answer = cluster
            .challenge_node(self.answer(&challenge))
            .await?
            .into_inner();
        self.token = answer.node_security_token;
        Ok(())
    }

    pub fn seal(&self, inner: &impl Message) -> Option<SealNodeEnvelope> {
        let payload = inner.encode_to_vec();
        Some(SealNodeEnvelope {
            node_security_token: self.token.clone(),
            signature: self.key.sign(&payload).to_bytes().to_vec(),
            payload,
        })
    }

    pub async fn register(&self, controller: &Controller) -> Result<RegisterNodeResponse, Status> {
        let inner = RegisterNodeInner {
            node_id: self.id.clone(),
            capabilities: Some(self.capabilities.clone()),
            grpc_address: "127.0.0.1:7000".into(),
        };
        let request = RegisterNodeRequest {
            envelope: self.seal(&inner),
        };
        Ok(controller
            .cluster()
            .register_node(request)
            .await?
            .into_inner())
    }

    pub async fn heartbeat(
        &self,
        controller: &Controller,
        status: NodeStatus,
    ) -> Result<Vec<node_command::Command>, Status> {
        let inner = NodeHeartbeatInner {
            node_id: self.id.clone(),
            status: status.into(),
            available_memory_gb: 8,
            ..Default::default()
        };
        let request = NodeHeartbeatRequest {
            envelope: self.seal(&inner),
        };
        let response = controller.cluster().heartbeat(request).await?.into_inner();
        Ok(response
            .pending_commands
            .into_iter()
            .filter_map(|pending| pending.command)
            .collect())
    }

    pub async fn sync_config(
        &self,
        controller: &Controller,
        current: &str,
    ) -> Result<SyncConfigResponse, Status> {
        let inner = SyncConfigInner {
            node_id: self.id.clone(),
            current_config_version: current.into(),
            tenant_id: None,
        };
        let request = SyncConfigRequest {
            envelope: self.seal(&inner),
        };
        Ok(controller
            .cluster()
            .sync_config(request)
            .await?
            .into_inner())
    }

    pub async fn deregister(&self, controller: &Controller) -> Result<(), Status> {
        let inner = DeregisterNodeInner {
            node_id: self.id.clone(),
            reason: "the end".into(),
        };
        let request = DeregisterNodeRequest {
            envelope: self.seal(&inner),
        };
        controller.cluster().deregister_node(request).await?;
        Ok(())
    }

    /// A hello with these handlers.
    pub fn hello(&self, handlers: &[&str]) -> Hello {
        Hello {
            purpose: HELLO_PURPOSE.into(),
            node_id: self.id.clone(),
            boot_id: Uuid::new_v4().to_string(),
            worker_version: "0.1.0".into(),
            handlers: handlers
                .iter()
                .map(|name| HandlerSpec {
                    name: (*name).into(),
                    plugin: (*name).into(),
                    effect: Effect::Idempotent.into(),
                    enabled: true,
                    ..Default::default()
                })
                .collect(),
            config: Some(ConfigStatus::default()),
            hostname: "test".into(),
            platform: "linux/x86_64".into(),
            ..Default::default()
        }
    }

    /// Opens a session, which has been welcomed.
    pub async fn session(&self, controller: &Controller, hello: Hello) -> Result<Session, Status> {
        let mut session = Session::connect(controller).await?;
        session.greet(self, hello).await?;
        match session.next().await? {
            Some(FromController::Welcome(_)) => Ok(session),
            other => panic!("expected a welcome, got {other:?}"),
        }
    }

    /// A result with a receipt that holds.
    pub fn result(&self, command: &Command, state: CommandState, response: &str) -> CommandResult {
        let output = b"some output".to_vec();
        let now = Some(prost_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 0,
        });
        let receipt = Receipt {
            purpose: RECEIPT_PURPOSE.into(),
            command_id: command.command_id.clone(),
            node_id: self.id.clone(),
            name: command.name.clone(),
            state: state.into(),
            response_sha256: Sha256::digest(response).to_vec(),
            output_sha256: Sha256::digest(&output).to_vec(),
            started_at: now,
            finished_at: now,
            attempt: 1,
            error_code: String::new(),
        }
        .encode_to_vec();
        CommandResult {
            signature: self.key.sign(&receipt).to_bytes().to_vec(),
            receipt,
            response: response.as_bytes().to_vec(),
            error: None,
            output,
            output_cut: 0,
        }
    }
}

pub struct Session {
    out: mpsc::Sender<WorkerMessage>,
    inbound: Streaming<ControllerMessage>,
}

impl Session {
    pub async fn connect(controller: &Controller) -> Result<Self, Status> {
        let (out, messages) = mpsc::channel(64);
        let inbound = WorkerSessionClient::new(controller.channel.clone())
            .connect(ReceiverStream::new(messages))
            .await?
            .into_inner();
        Ok(Self { out, inbound })
    }

    pub async fn greet(&mut self, node: &Node, mut hello: Hello) -> Result<(), Status> {
        match self.next().await? {
            Some(FromController::Challenge(challenge)) => hello.challenge = challenge.nonce,
            other => panic!("expected a challenge, got {other:?}"),
        }
        let envelope = node.seal(&hello).expect("an envelope");
        self.send(FromWorker::Hello(envelope)).await;
        Ok(())
    }

    pub async fn send(&self, message: FromWorker) {
        self.out
            .send(WorkerMessage {
                message: Some(message),
            })
            .await
            .expect("an open session");
    }

    /// `None`: the stream ended.
    pub async fn next(&mut self) -> Result<Option<FromController>, Status> {
        Ok(soon(self.inbound.message())
            .await?
            .and_then(|message| message.message))
    }

    pub async fn command(&mut self) -> Command {
        match self.next().await.expect("a message") {
            Some(FromController::Command(command)) => command,
            other => panic!("expected a command, got {other:?}"),
        }
    }

    /// The id of the one result that is acknowledged.
    pub async fn ack(&mut self) -> String {
        match self.next().await.expect("a message") {
            Some(FromController::ResultAck(ack)) => ack.command_ids.join(","),
            other => panic!("expected an acknowledgement, got {other:?}"),
        }
    }

    pub async fn bye(&mut self) -> Bye {
        match self.next().await.expect("a message") {
            Some(FromController::Bye(bye)) => bye,
            other => panic!("expected a bye, got {other:?}"),
        }
    }

    pub async fn update(&self, command: &Command, update: command_update::Update) {
        let command_id = command.command_id.clone();
        let update = CommandUpdate {
            command_id,
            update: Some(update),
        };
        self.send(FromWorker::CommandUpdate(update)).await;
    }
}
