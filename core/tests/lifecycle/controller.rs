//! A controller for tests: it checks every signature, tells what it hears, and
//! does what a test wants of it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use aegis_proto::{
    HELLO_PURPOSE,
    cluster::v1::{
        node_cluster_service_server::{NodeClusterService, NodeClusterServiceServer},
        *,
    },
    error_info,
    worker::v1::{
        Challenge, ControllerMessage, Hello, Welcome, WorkerMessage,
        controller_message::Message as Down,
        worker_message::Message as Up,
        worker_session_server::{WorkerSession, WorkerSessionServer},
    },
};
use ed25519_dalek::{Signature, VerifyingKey};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::{
    StreamExt,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Response, Status, Streaming,
    transport::{Server, ServerTlsConfig},
};
use tonic_types::{ErrorDetails, StatusExt};

use crate::worker::DEADLINE;

/// What the controller heard.
#[derive(Debug)]
pub enum Heard {
    Attest(AttestNodeRequest),
    Challenge(ChallengeNodeRequest),
    Register(RegisterNodeInner),
    Heartbeat(NodeHeartbeatInner),
    SyncConfig(SyncConfigInner),
    Deregister(DeregisterNodeInner),
    Session(Box<Session>),
}

/// An open session, after its welcome.
#[derive(Debug)]
pub struct Session {
    pub hello: Hello,
    pub down: mpsc::Sender<Result<ControllerMessage, Status>>,
    pub up: mpsc::Receiver<WorkerMessage>,
}

/// What a test can turn.
pub struct Knobs {
    pub serves_session: bool,
    /// With `google.rpc` details, as ours.
    pub details: bool,
    pub token_lifetime: Duration,
    pub nonce: Vec<u8>,
    /// Answers to the next attestations, before it attests again.
    pub refusals: VecDeque<Status>,
    /// For the responses of the next heartbeats, one each.
    pub commands: VecDeque<NodeCommand>,
    pub config: Option<(String, Vec<u8>)>,
    keys: HashMap<String, [u8; 32]>,
    registered: HashSet<String>,
    tokens: HashSet<String>,
    issued: u64,
}

#[derive(Clone)]
struct Served {
    knobs: Arc<Mutex<Knobs>>,
    heard: mpsc::UnboundedSender<Heard>,
    stop: CancellationToken,
    tls: Option<ServerTlsConfig>,
}

pub struct Controller {
    pub address: SocketAddr,
    served: Served,
    heard: mpsc::UnboundedReceiver<Heard>,
    task: JoinHandle<()>,
}

pub fn refusal(code: Code, reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, error_info::DOMAIN, []);
    Status::with_error_details(code, reason, details)
}

impl Controller {
    pub async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub async fn start_at(address: SocketAddr) -> Self {
        Self::start_with(address, None).await
    }

    pub async fn start_with(address: SocketAddr, tls: Option<ServerTlsConfig>) -> Self {
        let (sender, heard) = mpsc::unbounded_channel();
        let knobs = Knobs {
            serves_session: true,
            details: true,
            token_lifetime: Duration::from_secs(3600),
            nonce: vec![7; 32],
            refusals: VecDeque::new(),
            commands: VecDeque::new(),
            config: None,
            keys: HashMap::new(),
            registered: HashSet::new(),
            tokens: HashSet::new(),
            issued: 0,
        };
        let served = Served {
            knobs: Arc::new(Mutex::new(knobs)),
            heard: sender,
            stop: CancellationToken::new(),
            tls,
        };
        let (address, task) = serve(&served, address).await;
        Self {
            address,
            served,
            heard,
            task,
        }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn knobs(&self) -> MutexGuard<'_, Knobs> {
        self.served.knobs.lock().expect("no panic")
    }

    /// Loses every key, registration and token.
    pub fn forget(&self) {
        let mut knobs = self.knobs();
        knobs.keys.clear();
        knobs.registered.clear();
        knobs.tokens.clear();
    }

    /// Breaks all connections and stops listening. The memory stays.
    pub async fn stop(&mut self) {
        self.served.stop.cancel();
        (&mut self.task).await.expect("no panic");
    }

    /// Listens again, where it did.
    pub async fn resume(&mut self) {
        self.served.stop = CancellationToken::new();
        (_, self.task) = serve(&self.served, self.address).await;
    }

    /// The next thing it hears.
    pub async fn next(&mut self) -> Heard {
        let heard = tokio::time::timeout(DEADLINE, self.heard.recv()).await;
        heard.expect("silence").expect("it lives")
    }

    /// Skips what it hears until `pick` takes something.
    pub async fn until<T>(&mut self, mut pick: impl FnMut(Heard) -> Option<T>) -> T {
        loop {
            if let Some(picked) = pick(self.next().await) {
                return picked;
            }
        }
    }

    pub async fn session(&mut self) -> Session {
        self.until(|heard| match heard {
            Heard::Session(session) => Some(*session),
            _ => None,
        })
        .await
    }

    pub async fn heartbeat(&mut self) -> NodeHeartbeatInner {
        self.until(|heard| match heard {
            Heard::Heartbeat(heartbeat) => Some(heartbeat),
            _ => None,
        })
        .await
    }

    pub async fn attest(&mut self) -> AttestNodeRequest {
        self.until(|heard| match heard {
            Heard::Attest(attest) => Some(attest),
            _ => None,
        })
        .await
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    pub async fn say(&self, message: Down) {
        self.down
            .send(Ok(ControllerMessage {
                message: Some(message),
            }))
            .await
            .expect("an open session");
    }

    /// Skips messages until `pick` takes one.
    pub async fn until<T>(&mut self, mut pick: impl FnMut(Up) -> Option<T>) -> T {
        loop {
            let message = tokio::time::timeout(DEADLINE, self.up.recv()).await;
            let message = message.expect("silence").expect("an open session").message;
            if let Some(picked) = message.and_then(&mut pick) {
                return picked;
            }
        }
    }
}

async fn serve(served: &Served, address: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (cluster, session) = (served.clone(), served.clone());
    let stop = served.stop.clone();
    let mut server = Server::builder();
    if let Some(tls) = &served.tls {
        server = server.tls_config(tls.clone()).expect("good certificates");
    }
    let task = tokio::spawn(async move {
        let router = server
            .add_service(NodeClusterServiceServer::new(cluster))
            .add_service(WorkerSessionServer::new(session));
        let serving = router.serve_with_incoming(
            TcpListenerStream::new(listener)
                .map_while(|stream| stream.ok().map(Ok::<_, std::io::Error>)),
        );
        tokio::select! {
            result = serving => result.expect("served"),
            () = stop.cancelled() => {}
        }
    });
    (address, task)
}

impl Served {
    fn knobs(&self) -> MutexGuard<'_, Knobs> {
        self.knobs.lock().expect("no panic")
    }

    fn hear(&self, heard: Heard) {
        // A test that is over does not listen any more.
        let _ = self.heard.send(heard);
    }

    fn unauthenticated(&self, reason: &str) -> Status {
        if self.knobs().details {
            refusal(Code::Unauthenticated, reason)
        } else {
            Status::unauthenticated("no")
        }
    }

    fn unseal<M: prost::Message + Default>(
        &self,
        envelope: Option<SealNodeEnvelope>,
    ) -> Result<(String, M), Status> {
        let envelope = envelope.ok_or_else(|| Status::unauthenticated("no envelope"))?;
        let Some((node_id, _)) = envelope.node_security_token.split_once('/') else {
            return Err(Status::unauthenticated("no token"));
        };
        let key = self.knobs().keys.get(node_id).copied();
        let Some(key) = key else {
            return Err(self.unauthenticated(error_info::NODE_UNKNOWN));
        };
        if !self.knobs().tokens.contains(&envelope.node_security_token) {
            return Err(self.unauthenticated(error_info::TOKEN_EXPIRED));
        }
        verify(key, &envelope.payload, &envelope.signature)?;
        let message = M::decode(envelope.payload.as_slice())
            .map_err(|_| Status::invalid_argument("undecodable"))?;
        Ok((node_id.to_owned(), message))
    }

    fn unseal_registered<M: prost::Message + Default>(
        &self,
        envelope: Option<SealNodeEnvelope>,
    ) -> Result<M, Status> {
        let (node_id, message) = self.unseal(envelope)?;
        if self.knobs().registered.contains(&node_id) {
            Ok(message)
        } else {
            Err(self.unauthenticated(error_info::NODE_UNKNOWN))
        }
    }
}

fn verify(key: [u8; 32], message: &[u8], signature: &[u8]) -> Result<(), Status> {
    let bad = |_| Status::unauthenticated("a bad signature");
    let key = VerifyingKey::from_bytes(&key).map_err(bad)?;
    key.verify_strict(message, &Signature::from_slice(signature).map_err(bad)?)
        .map_err(bad)
}

#[tonic::async_trait]
impl NodeClusterService for Served {
    async fn attest_node(
        &self,
        request: Request<AttestNodeRequest>,
    ) -> Result<Response<AttestNodeResponse>, Status> {
        let request = request.into_inner();
        self.hear(Heard::Attest(request.clone()));
        let mut knobs = self.knobs();
        if let Some(refusal) = knobs.refusals.pop_front() {
            return Err(refusal);
        }
        if request.enrolment_token.is_empty() && !knobs.keys.contains_key(&request.node_id) {
            return Err(if knobs.details {
                refusal(Code::PermissionDenied, error_info::ENROLMENT_TOKEN_MISSING)
            } else {
                Status::permission_denied("no token")
            });
        }
        let key = request
            .public_key
            .try_into()
            .map_err(|_| Status::invalid_argument("no key"))?;
        knobs.keys.insert(request.node_id, key);
        Ok(Response::new(AttestNodeResponse {
            challenge_nonce: knobs.nonce.clone(),
            challenge_id: "challenge".to_owned(),
        }))
    }

    async fn challenge_node(
        &self,
        request: Request<ChallengeNodeRequest>,
    ) -> Result<Response<ChallengeNodeResponse>, Status> {
        let request = request.into_inner();
        self.hear(Heard::Challenge(request.clone()));
        let mut knobs = self.knobs();
        let key = knobs
            .keys
            .get(&request.node_id)
            .copied()
            .ok_or_else(|| Status::unauthenticated("unknown"))?;
        verify(key, &knobs.nonce, &request.challenge_signature)?;
        knobs.issued += 1;
        let token = format!("{}/{}", request.node_id, knobs.issued);
        knobs.tokens.insert(token.clone());
        Ok(Response::new(ChallengeNodeResponse {
            node_security_token: token,
            expires_at: Some((SystemTime::now() + knobs.token_lifetime).into()),
        }))
    }

    async fn register_node(
        &self,
        request: Request<RegisterNodeRequest>,
    ) -> Result<Response<RegisterNodeResponse>, Status> {
        let (node_id, inner): (_, RegisterNodeInner) =
            self.unseal(request.into_inner().envelope)?;
        self.knobs().registered.insert(node_id);
        self.hear(Heard::Register(inner));
        Ok(Response::new(RegisterNodeResponse {
            accepted: true,
            cluster_id: "test".to_owned(),
            message: String::new(),
        }))
    }

    async fn heartbeat(
        &self,
        request: Request<NodeHeartbeatRequest>,
    ) -> Result<Response<NodeHeartbeatResponse>, Status> {
        let inner: NodeHeartbeatInner = self.unseal_registered(request.into_inner().envelope)?;
        self.hear(Heard::Heartbeat(inner));
        let pending_commands = self.knobs().commands.pop_front().into_iter().collect();
        Ok(Response::new(NodeHeartbeatResponse { pending_commands }))
    }

    async fn deregister_node(
        &self,
        request: Request<DeregisterNodeRequest>,
    ) -> Result<Response<DeregisterNodeResponse>, Status> {
        let inner: DeregisterNodeInner = self.unseal_registered(request.into_inner().envelope)?;
        self.knobs().registered.remove(&inner.node_id);
        self.hear(Heard::Deregister(inner));
        Ok(Response::new(DeregisterNodeResponse { accepted: true }))
    }

    async fn sync_config(
        &self,
        request: Request<SyncConfigRequest>,
    ) -> Result<Response<SyncConfigResponse>, Status> {
        let inner: SyncConfigInner = self.unseal_registered(request.into_inner().envelope)?;
        let config = self.knobs().config.clone();
        let current = inner.current_config_version.clone();
        self.hear(Heard::SyncConfig(inner));
        Ok(Response::new(match config {
            Some((version, payload)) if version != current => SyncConfigResponse {
                up_to_date: false,
                latest_version: version,
                config_delta: payload,
            },
            _ => SyncConfigResponse {
                up_to_date: true,
                latest_version: current,
                config_delta: Vec::new(),
            },
        }))
    }

    async fn route_execution(
        &self,
        _: Request<RouteExecutionRequest>,
    ) -> Result<Response<RouteExecutionResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn push_config(
        &self,
        _: Request<PushConfigRequest>,
    ) -> Result<Response<PushConfigResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_peers(
        &self,
        _: Request<ListPeersRequest>,
    ) -> Result<Response<ListPeersResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl WorkerSession for Served {
    type ConnectStream = ReceiverStream<Result<ControllerMessage, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        if !self.knobs().serves_session {
            return Err(Status::unimplemented("no such service"));
        }
        let (down, stream) = mpsc::channel(16);
        let served = self.clone();
        tokio::spawn(async move {
            let stop = served.stop.clone();
            tokio::select! {
                result = session(&served, request.into_inner(), down.clone()) => {
                    if let Err(status) = result {
                        let _ = down.send(Err(status)).await;
                    }
                }
                () = stop.cancelled() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

async fn session(
    served: &Served,
    mut stream: Streaming<WorkerMessage>,
    down: mpsc::Sender<Result<ControllerMessage, Status>>,
) -> Result<(), Status> {
    let say = async |message| {
        let message = ControllerMessage {
            message: Some(message),
        };
        down.send(Ok(message))
            .await
            .map_err(|_| Status::cancelled("gone"))
    };
    let nonce = vec![9; 32];
    say(Down::Challenge(Challenge {
        nonce: nonce.clone(),
    }))
    .await?;
    let first = stream.message().await?;
    let first = first.ok_or_else(|| Status::cancelled("gone"))?;
    let Some(Up::Hello(envelope)) = first.message else {
        return Err(Status::invalid_argument("not a hello"));
    };
    let hello: Hello = served.unseal_registered(Some(envelope))?;
    if hello.purpose != HELLO_PURPOSE || hello.challenge != nonce {
        return Err(Status::unauthenticated("another hello"));
    }
    say(Down::Welcome(Welcome {
        session_id: "session".to_owned(),
        ..Welcome::default()
    }))
    .await?;
    let (sender, up) = mpsc::channel(1024);
    served.hear(Heard::Session(Box::new(Session {
        hello,
        down: down.clone(),
        up,
    })));
    while let Some(message) = stream.message().await? {
        if sender.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}
