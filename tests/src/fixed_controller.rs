//! A controller that serves `aegis.cluster.v1` and nothing else.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use aegis_proto::cluster::v1::{
    node_cluster_service_server::{NodeClusterService, NodeClusterServiceServer},
    *,
};
use ed25519_dalek::{Signature, VerifyingKey};
use prost::Message;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::{PATIENCE, jwt};

/// The running controller. Dropping it ends it.
pub struct FixedController {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    server: Option<JoinHandle<()>>,
}

/// What it does; a test may change it at any time.
pub struct Script {
    /// Of the tokens that it gives. Default: 1 h.
    pub token_lifetime: Duration,
    /// Default: 32, the only length that a worker takes.
    pub nonce_bytes: usize,
    /// Whether RegisterNode accepts. Default: true.
    pub accepts: bool,
    /// What SyncConfig offers to whoever is not at this version.
    pub config: Option<(String, Vec<u8>)>,
    /// The answers of the next calls, instead of what it would do.
    pub failures: VecDeque<(Rpc, Status)>,
    /// What a heartbeat is answered with. Default: nothing.
    pub commands: Answer,
    /// Whether each heartbeat also carries a command without a variant.
    pub sends_empty_command: bool,
}

/// Chooses the commands in the answer to a heartbeat.
pub type Answer = Box<dyn FnMut(&NodeHeartbeatInner) -> Vec<node_command::Command> + Send>;

/// A call by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Rpc {
    AttestNode,
    ChallengeNode,
    RegisterNode,
    Heartbeat,
    DeregisterNode,
    SyncConfig,
}

/// What it saw, in order. A sealed call is shown by its inner message, and only
/// if token and signature were right.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Seen {
    Attest(AttestNodeRequest),
    /// Its signature over the nonce was right.
    Challenge(ChallengeNodeRequest),
    Register(RegisterNodeInner),
    Heartbeat(NodeHeartbeatInner),
    Deregister(DeregisterNodeInner),
    SyncConfig(SyncConfigInner),
    /// A call that a controller of the contract refuses, and why; also one
    /// that the script told it to refuse.
    Refused(Rpc, Status),
}

struct Shared {
    state: Mutex<State>,
    count: watch::Sender<usize>,
}

struct State {
    script: Script,
    seen: Vec<Seen>,
    challenges: HashMap<String, Challenge>,
    tokens: HashMap<String, Token>,
    registered: HashSet<String>,
}

struct Challenge {
    node_id: String,
    key: VerifyingKey,
    nonce: Vec<u8>,
}

struct Token {
    node_id: String,
    key: VerifyingKey,
    expires_at: SystemTime,
}

impl FixedController {
    /// Listens on a free port of the loopback interface.
    pub async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), Script::default()).await
    }

    /// Listens on `address` and behaves as `script` says.
    pub async fn start_at(address: SocketAddr, script: Script) -> Self {
        let listener = TcpListener::bind(address)
            .await
            .expect("the address is free");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                script,
                seen: Vec::new(),
                challenges: HashMap::new(),
                tokens: HashMap::new(),
                registered: HashSet::new(),
            }),
            count: watch::Sender::new(0),
        });
        let stop = watch::Sender::new(false);
        let mut stopped = stop.subscribe();
        let service = NodeClusterServiceServer::from_arc(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move {
                    let _ = stopped.wait_for(|stop| *stop).await;
                })
                .await
                .expect("the server runs");
        });
        Self {
            address,
            shared,
            stop,
            server: Some(server),
        }
    }

    /// As `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes what it does.
    pub fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.shared.lock().script);
    }

    /// Forgets every token, as a controller does that was installed anew.
    pub fn forget(&self) {
        let mut state = self.shared.lock();
        state.tokens.clear();
        state.registered.clear();
    }

    /// Everything so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// Waits until `find` answers with something about all that it saw.
    pub async fn until<T>(&self, what: &str, mut find: impl FnMut(&[Seen]) -> Option<T>) -> T {
        let mut count = self.shared.count.subscribe();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                count.borrow_and_update();
                if let Some(found) = find(&self.shared.lock().seen) {
                    return found;
                }
                count.changed().await.expect("the controller lives");
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("never saw: {what}; saw {:#?}", self.seen()),
        }
    }

    /// Waits until `number` of the calls so far satisfy `is`.
    pub async fn until_count(&self, what: &str, number: usize, is: impl Fn(&Seen) -> bool) {
        let enough =
            |seen: &[Seen]| (seen.iter().filter(|it| is(it)).count() >= number).then_some(());
        self.until(what, enough).await;
    }

    /// Stops listening and waits for the calls under way.
    pub async fn stop(mut self) -> SocketAddr {
        self.stop.send_replace(true);
        let server = self.server.take().expect("stopped once");
        tokio::time::timeout(PATIENCE, server)
            .await
            .expect("the server ends")
            .expect("the server");
        self.address
    }
}

impl Drop for FixedController {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Default for Script {
    fn default() -> Self {
        Self {
            token_lifetime: Duration::from_secs(3600),
            nonce_bytes: 32,
            accepts: true,
            config: None,
            failures: VecDeque::new(),
            commands: Box::new(|_| Vec::new()),
            sends_empty_command: false,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no test panics while it holds the lock")
    }

    /// Runs one call: records what it saw, or that it refused.
    fn call<T>(
        &self,
        rpc: Rpc,
        body: impl FnOnce(&mut State) -> Result<(Seen, T), Status>,
    ) -> Result<Response<T>, Status> {
        let mut state = self.lock();
        let failure = state.script.failures.iter().position(|(it, _)| *it == rpc);
        let result = match failure.and_then(|index| state.script.failures.remove(index)) {
            Some((_, status)) => Err(status),
            None => body(&mut state),
        };
        let result = match result {
            Ok((seen, answer)) => {
                state.seen.push(seen);
                Ok(Response::new(answer))
            }
            Err(status) => {
                state.seen.push(Seen::Refused(rpc, status.clone()));
                Err(status)
            }
        };
        drop(state);
        self.count.send_modify(|count| *count += 1);
        result
    }
}

impl State {
    fn attest(&mut self, request: &AttestNodeRequest) -> Result<AttestNodeResponse, Status> {
        let invalid = Status::invalid_argument;
        let node_id = node_id(&request.node_id)?;
        if request.role() == NodeRole::Unspecified {
            return Err(invalid("role unspecified"));
        }
        if request.capabilities.is_none() {
            return Err(invalid("capabilities missing"));
        }
        let key = <[u8; 32]>::try_from(request.public_key.as_slice())
            .ok()
            .and_then(|key| VerifyingKey::from_bytes(&key).ok())
            .filter(|key| !key.is_weak())
            .ok_or_else(|| invalid("not a public key"))?;
        let mut nonce = vec![0; self.script.nonce_bytes];
        getrandom::fill(&mut nonce).expect("the system gives random bytes");
        let challenge_id = uuid::Uuid::new_v4().to_string();
        let challenge = Challenge {
            node_id,
            key,
            nonce: nonce.clone(),
        };
        self.challenges.insert(challenge_id.clone(), challenge);
        Ok(AttestNodeResponse {
            challenge_nonce: nonce,
            challenge_id,
        })
    }

    fn challenge(
        &mut self,
        request: &ChallengeNodeRequest,
    ) -> Result<ChallengeNodeResponse, Status> {
        let challenge = self
            .challenges
            .remove(&request.challenge_id)
            .filter(|challenge| challenge.node_id == request.node_id)
            .ok_or_else(|| Status::unauthenticated("unknown challenge"))?;
        verify(
            &challenge.key,
            &challenge.nonce,
            &request.challenge_signature,
        )?;
        let expires_at = SystemTime::now() + self.script.token_lifetime;
        let node_security_token = jwt::opaque(&challenge.node_id, expires_at);
        let token = Token {
            node_id: challenge.node_id,
            key: challenge.key,
            expires_at,
        };
        self.tokens.insert(node_security_token.clone(), token);
        Ok(ChallengeNodeResponse {
            node_security_token,
            expires_at: Some(expires_at.into()),
        })
    }

    /// The inner message, once token and signature were right and it names the
    /// token's own node.
    fn open<T: Message + Default>(
        &self,
        envelope: Option<SealNodeEnvelope>,
        claims: impl Fn(&T) -> &str,
    ) -> Result<T, Status> {
        let envelope = envelope.ok_or_else(|| Status::unauthenticated("no envelope"))?;
        let token = self
            .tokens
            .get(&envelope.node_security_token)
            .filter(|token| token.expires_at > SystemTime::now())
            .ok_or_else(|| Status::unauthenticated("token invalid or expired"))?;
        verify(&token.key, &envelope.payload, &envelope.signature)?;
        let inner = T::decode(envelope.payload.as_slice())
            .map_err(|_| Status::invalid_argument("undecodable payload"))?;
        if claims(&inner) != token.node_id {
            return Err(Status::unauthenticated("the token is another node's"));
        }
        Ok(inner)
    }

    fn known(&self, node_id: &str) -> Result<(), Status> {
        let known = self.registered.contains(node_id);
        if known {
            Ok(())
        } else {
            Err(Status::unauthenticated("node unknown"))
        }
    }
}

#[tonic::async_trait]
impl NodeClusterService for Shared {
    async fn attest_node(
        &self,
        request: Request<AttestNodeRequest>,
    ) -> Result<Response<AttestNodeResponse>, Status> {
        let request = request.into_inner();
        self.call(Rpc::AttestNode, |state| {
            let answer = state.attest(&request)?;
            Ok((Seen::Attest(request), answer))
        })
    }

    async fn challenge_node(
        &self,
        request: Request<ChallengeNodeRequest>,
    ) -> Result<Response<ChallengeNodeResponse>, Status> {
        let request = request.into_inner();
        self.call(Rpc::ChallengeNode, |state| {
            let answer = state.challenge(&request)?;
            Ok((Seen::Challenge(request), answer))
        })
    }

    async fn register_node(
        &self,
        request: Request<RegisterNodeRequest>,
    ) -> Result<Response<RegisterNodeResponse>, Status> {
        let envelope = request.into_inner().envelope;
        self.call(Rpc::RegisterNode, |state| {
            let inner: RegisterNodeInner =
                state.open(envelope, |it: &RegisterNodeInner| &it.node_id)?;
            let accepted = state.script.accepts;
            if accepted {
                state.registered.insert(inner.node_id.clone());
            }
            let cluster_id = "fixed".to_owned();
            let message = if accepted { "" } else { "not today" }.to_owned();
            Ok((
                Seen::Register(inner),
                RegisterNodeResponse {
                    accepted,
                    cluster_id,
                    message,
                },
            ))
        })
    }

    async fn heartbeat(
        &self,
        request: Request<NodeHeartbeatRequest>,
    ) -> Result<Response<NodeHeartbeatResponse>, Status> {
        let envelope = request.into_inner().envelope;
        self.call(Rpc::Heartbeat, |state| {
            let inner = state.open(envelope, |it: &NodeHeartbeatInner| &it.node_id)?;
            state.known(&inner.node_id)?;
            let commands = (state.script.commands)(&inner).into_iter().map(Some);
            let empty = state.script.sends_empty_command.then_some(None);
            let pending_commands = commands
                .chain(empty)
                .map(|command| NodeCommand { command })
                .collect();
            Ok((
                Seen::Heartbeat(inner),
                NodeHeartbeatResponse { pending_commands },
            ))
        })
    }

    async fn deregister_node(
        &self,
        request: Request<DeregisterNodeRequest>,
    ) -> Result<Response<DeregisterNodeResponse>, Status> {
        let envelope = request.into_inner().envelope;
        self.call(Rpc::DeregisterNode, |state| {
            let inner = state.open(envelope, |it: &DeregisterNodeInner| &it.node_id)?;
            state.known(&inner.node_id)?;
            state.registered.remove(&inner.node_id);
            Ok((
                Seen::Deregister(inner),
                DeregisterNodeResponse { accepted: true },
            ))
        })
    }

    async fn sync_config(
        &self,
        request: Request<SyncConfigRequest>,
    ) -> Result<Response<SyncConfigResponse>, Status> {
        let envelope = request.into_inner().envelope;
        self.call(Rpc::SyncConfig, |state| {
            let inner = state.open(envelope, |it: &SyncConfigInner| &it.node_id)?;
            state.known(&inner.node_id)?;
            let answer = match &state.script.config {
                Some((version, document)) if *version != inner.current_config_version => {
                    SyncConfigResponse {
                        up_to_date: false,
                        latest_version: version.clone(),
                        config_delta: document.clone(),
                    }
                }
                _ => SyncConfigResponse {
                    up_to_date: true,
                    latest_version: inner.current_config_version.clone(),
                    config_delta: Vec::new(),
                },
            };
            Ok((Seen::SyncConfig(inner), answer))
        })
    }

    async fn route_execution(
        &self,
        _: Request<RouteExecutionRequest>,
    ) -> Result<Response<RouteExecutionResponse>, Status> {
        Err(Status::unimplemented("no worker calls it"))
    }

    async fn push_config(
        &self,
        _: Request<PushConfigRequest>,
    ) -> Result<Response<PushConfigResponse>, Status> {
        Err(Status::unimplemented("no worker calls it"))
    }

    async fn list_peers(
        &self,
        _: Request<ListPeersRequest>,
    ) -> Result<Response<ListPeersResponse>, Status> {
        Err(Status::unimplemented("no worker calls it"))
    }
}

fn node_id(text: &str) -> Result<String, Status> {
    let parsed: Result<aegis_proto::NodeId, _> = text.parse();
    parsed
        .map(|id| id.to_string())
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

fn verify(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), Status> {
    Signature::from_slice(signature)
        .ok()
        .filter(|signature| key.verify_strict(message, signature).is_ok())
        .map(drop)
        .ok_or_else(|| Status::unauthenticated("wrong signature"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FixedClient;

    #[tokio::test]
    async fn the_two_fakes_understand_each_other() {
        let controller = FixedController::start().await;
        controller.script(|script| {
            let drain = node_command::Command::Drain(DrainCommand { drain: true });
            script.commands = Box::new(move |_| vec![drain.clone()]);
        });
        let mut client = FixedClient::new(&controller.endpoint());
        assert!(client.join("token").await.expect("joined").accepted);
        let commands = client
            .heartbeat(NodeStatus::Active)
            .await
            .expect("a heartbeat");
        assert_eq!(commands.len(), 1);
        assert!(client.sync_config("1").await.expect("an answer").up_to_date);
        assert!(client.deregister("done").await.expect("an answer").accepted);
        controller.forget();
        let error = client
            .heartbeat(NodeStatus::Active)
            .await
            .expect_err("forgotten");
        assert_eq!(error.code(), tonic::Code::Unauthenticated);
        assert_eq!(controller.seen().len(), 7);
    }
}
