//! The controller as a server: data directory, store, services, sweeper, and
//! an orderly end.

mod data_dir;
mod error;
mod transport;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use aegis_proto::{
    FILE_DESCRIPTOR_SET,
    cluster::v1::node_cluster_service_server::NodeClusterServiceServer,
    limits::MAX_MESSAGE_BYTES,
    operator::v1::operator_service_server::{self, OperatorServiceServer},
    worker::v1::worker_session_server::{self, WorkerSessionServer},
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{service::interceptor::InterceptedService, transport::server::TcpIncoming};
use tonic_health::server::{HealthReporter, health_reporter};

use data_dir::DataDir;
pub use error::StartError;

use crate::{
    auth::OperatorToken,
    cluster::ClusterApi,
    config::Config,
    controller::Controller,
    operator::{Gate, OperatorApi},
    rollout,
    session::SessionApi,
    storage,
    store::SqliteStore,
    sweeper,
};

/// Bytes of one answer to an operator: a list of many nodes is larger than any
/// message between a node and its controller.
const MAX_OPERATOR_ANSWER: usize = 64 * 1024 * 1024;

/// Whose health depends on the disk; the empty name is the controller's own.
const NEED_DISK: [&str; 3] = [
    "",
    worker_session_server::SERVICE_NAME,
    operator_service_server::SERVICE_NAME,
];

/// How long calls that are under way may take at the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A running controller.
pub struct Server {
    controller: Arc<Controller>,
    store: SqliteStore,
    data_dir: DataDir,
    address: SocketAddr,
    endpoint: String,
    listening: CancellationToken,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
    sweeping: JoinHandle<()>,
    driving: JoinHandle<()>,
}

impl Server {
    /// Checks what can be checked of a config without starting anything.
    ///
    /// # Errors
    /// Where it is not safe, or its certificates can't be used.
    pub fn check(config: &Config) -> Result<(), StartError> {
        match transport::tls(config)? {
            Some(tls) => tonic::transport::Server::builder()
                .tls_config(tls)
                .map(drop)
                .map_err(StartError::Tls),
            None => Ok(()),
        }
    }

    /// Starts a controller.
    ///
    /// # Errors
    /// Where the config is not safe, the data directory is in use, the store
    /// can't be opened or the address can't be listened on.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let tls = transport::tls(&config)?;
        let data_dir = DataDir::open(&config.data_dir)?;
        let operator_token = OperatorToken::load(&data_dir.path().join("operator.token"))?;
        let store = SqliteStore::open(&config.database_url()).await?;
        let controller = Controller::new(Arc::new(store.clone()), config.settings.clone()).await?;

        let listener =
            TcpListener::bind(config.listen)
                .await
                .map_err(|source| StartError::Listen {
                    address: config.listen,
                    source,
                })?;
        let address = listener.local_addr().map_err(|source| StartError::Listen {
            address: config.listen,
            source,
        })?;
        let endpoint = transport::endpoint(address, tls.is_some());
        data_dir.announce(&endpoint)?;

        let keepalive = config.settings.heartbeat_interval;
        let mut builder = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(keepalive))
            .http2_keepalive_timeout(Some(keepalive));
        if let Some(tls) = tls {
            builder = builder.tls_config(tls).map_err(StartError::Tls)?;
        }
        let (reporter, health) = health_reporter();
        let router = routes(&mut builder, &controller, operator_token, &reporter)
            .await?
            .add_service(health);
        let watch = storage::watch(Arc::clone(&controller), reporter, NEED_DISK.to_vec());
        controller.tasks.spawn(watch);

        let listening = CancellationToken::new();
        let stopped = listening.clone().cancelled_owned();
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let (ready, is_ready) = oneshot::channel();
        let serving = tokio::spawn(async move {
            // The receiver waits below.
            let _ = ready.send(());
            router.serve_with_incoming_shutdown(incoming, stopped).await
        });
        let sweeping = tokio::spawn(sweeper::run(Arc::clone(&controller)));
        let driving = tokio::spawn(rollout::run(Arc::clone(&controller)));
        // A sender that is gone means that serving ended, which `run` reports.
        let _ = is_ready.await;
        tracing::info!(%address, cluster = controller.cluster_id, "the controller listens");
        Ok(Self {
            controller,
            store,
            data_dir,
            address,
            endpoint,
            listening,
            serving,
            sweeping,
            driving,
        })
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL that nodes and operators on this machine use.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Stops: sessions are told, calls under way end, the store is closed.
    ///
    /// # Errors
    /// Where serving had failed before.
    pub async fn stop(self) -> Result<(), tonic::transport::Error> {
        self.controller.stopping.cancel();
        self.controller.tasks.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.controller.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("some sessions or watches did not end in time");
        }
        self.listening.cancel();
        let mut serving = self.serving;
        let served = match tokio::time::timeout(STOP_TIMEOUT, &mut serving).await {
            Ok(Ok(served)) => served,
            Ok(Err(panic)) => {
                tracing::error!(%panic, "serving ended badly");
                Ok(())
            }
            Err(_) => {
                tracing::warn!("some connections did not end in time; they are cut");
                serving.abort();
                Ok(())
            }
        };
        if let Err(panic) = self.sweeping.await {
            tracing::error!(%panic, "the sweeper ended badly");
        }
        if let Err(panic) = self.driving.await {
            tracing::error!(%panic, "the task that drives rollouts ended badly");
        }
        self.store.close().await;
        self.data_dir.withdraw();
        served
    }
}

async fn routes(
    builder: &mut tonic::transport::Server,
    controller: &Arc<Controller>,
    operator_token: OperatorToken,
    reporter: &HealthReporter,
) -> Result<tonic::transport::server::Router, StartError> {
    let cluster = NodeClusterServiceServer::new(ClusterApi::new(Arc::clone(controller)))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_OPERATOR_ANSWER);
    let session = WorkerSessionServer::new(SessionApi::new(Arc::clone(controller)))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let operator = OperatorServiceServer::new(OperatorApi::new(Arc::clone(controller)))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_OPERATOR_ANSWER);
    let operator = InterceptedService::new(operator, Gate::new(operator_token));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .build_v1()?;
    reporter
        .set_serving::<NodeClusterServiceServer<ClusterApi>>()
        .await;
    reporter
        .set_serving::<WorkerSessionServer<SessionApi>>()
        .await;
    reporter
        .set_serving::<OperatorServiceServer<OperatorApi>>()
        .await;
    Ok(builder
        .add_service(reflection)
        .add_service(cluster)
        .add_service(session)
        .add_service(operator))
}
