//! A controller that serves `aegis.cluster.v1` and nothing else.

mod service;
mod state;

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use aegis_proto::cluster::v1::{node_cluster_service_server::NodeClusterServiceServer, *};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;

use crate::PATIENCE;
use state::Shared;

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
    pub commands: Commands,
    /// Whether each heartbeat also carries a command without a variant.
    pub sends_empty_command: bool,
}

/// Chooses the commands in the answer to a heartbeat.
pub type Commands = Box<dyn FnMut(&NodeHeartbeatInner) -> Vec<node_command::Command> + Send>;

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
        let shared = Arc::new(Shared::new(script));
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
        self.shared.lock().forget();
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
