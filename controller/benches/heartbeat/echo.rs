//! The bare echo: the same services and messages, with nothing behind them.

use std::net::SocketAddr;

use aegis_controller::config::Tls;
use aegis_proto::{
    cluster::v1::{
        AttestNodeRequest, AttestNodeResponse, ChallengeNodeRequest, ChallengeNodeResponse,
        DeregisterNodeRequest, DeregisterNodeResponse, ListPeersRequest, ListPeersResponse,
        NodeHeartbeatRequest, NodeHeartbeatResponse, PushConfigRequest, PushConfigResponse,
        RegisterNodeRequest, RegisterNodeResponse, RouteExecutionRequest, RouteExecutionResponse,
        SyncConfigRequest, SyncConfigResponse,
        node_cluster_service_server::{NodeClusterService, NodeClusterServiceServer},
    },
    worker::v1::{
        ControllerMessage, ResultAck, WorkerMessage,
        controller_message::Message,
        worker_session_server::{WorkerSession, WorkerSessionServer},
    },
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Identity, ServerTlsConfig, server::TcpIncoming},
};

pub struct Echo {
    pub address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Echo {
    pub async fn stop(self) {
        self.stop.cancel();
        self.serving.abort();
        // It was aborted: how it ended says nothing.
        let _ = self.serving.await;
    }
}

pub async fn serve(tls: &Tls) -> anyhow::Result<Echo> {
    let identity = Identity::from_pem(std::fs::read(&tls.cert)?, std::fs::read(&tls.key)?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let router = tonic::transport::Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))?
        .add_service(NodeClusterServiceServer::new(Bare))
        .add_service(WorkerSessionServer::new(Bare));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving =
        tokio::spawn(async move { router.serve_with_incoming_shutdown(incoming, stopped).await });
    Ok(Echo {
        address,
        stop,
        serving,
    })
}

struct Bare;

#[tonic::async_trait]
impl WorkerSession for Bare {
    type ConnectStream = ReceiverStream<Result<ControllerMessage, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (out, messages) = mpsc::channel(4);
        let mut inbound = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(_)) = inbound.message().await {
                let message = Some(Message::ResultAck(ResultAck::default()));
                if out.send(Ok(ControllerMessage { message })).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

macro_rules! refuse {
    ($($name:ident: $request:ty => $response:ty),* $(,)?) => {
        #[tonic::async_trait]
        impl NodeClusterService for Bare {
            async fn heartbeat(
                &self,
                _: Request<NodeHeartbeatRequest>,
            ) -> Result<Response<NodeHeartbeatResponse>, Status> {
                Ok(Response::new(NodeHeartbeatResponse::default()))
            }
            $(async fn $name(
                &self,
                _: Request<$request>,
            ) -> Result<Response<$response>, Status> {
                Err(Status::unavailable("only an echo"))
            })*
        }
    };
}

refuse! {
    attest_node: AttestNodeRequest => AttestNodeResponse,
    challenge_node: ChallengeNodeRequest => ChallengeNodeResponse,
    register_node: RegisterNodeRequest => RegisterNodeResponse,
    deregister_node: DeregisterNodeRequest => DeregisterNodeResponse,
    route_execution: RouteExecutionRequest => RouteExecutionResponse,
    sync_config: SyncConfigRequest => SyncConfigResponse,
    push_config: PushConfigRequest => PushConfigResponse,
    list_peers: ListPeersRequest => ListPeersResponse,
}
