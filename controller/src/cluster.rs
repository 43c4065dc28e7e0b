//! `aegis.cluster.v1.NodeClusterService`: the fixed contract.

mod admission;
mod heartbeat;
mod membership;
mod pending;
mod routing;
mod seal;
mod sync_config;

use std::sync::Arc;

use aegis_proto::cluster::v1::{
    AttestNodeRequest, AttestNodeResponse, ChallengeNodeRequest, ChallengeNodeResponse,
    DeregisterNodeRequest, DeregisterNodeResponse, ListPeersRequest, ListPeersResponse,
    NodeHeartbeatRequest, NodeHeartbeatResponse, PushConfigRequest, PushConfigResponse,
    RegisterNodeRequest, RegisterNodeResponse, RouteExecutionRequest, RouteExecutionResponse,
    SyncConfigRequest, SyncConfigResponse, node_cluster_service_server::NodeClusterService,
};
use tonic::{Request, Response, Status};

pub(crate) use pending::{FIXED, decode_push};
use seal::check_capabilities;

use crate::controller::Controller;

/// Serves the fixed contract.
#[derive(Clone)]
pub struct ClusterApi {
    controller: Arc<Controller>,
}

impl ClusterApi {
    /// Over a controller.
    pub fn new(controller: Arc<Controller>) -> Self {
        Self { controller }
    }
}

#[tonic::async_trait]
impl NodeClusterService for ClusterApi {
    async fn attest_node(
        &self,
        request: Request<AttestNodeRequest>,
    ) -> Result<Response<AttestNodeResponse>, Status> {
        let address = request.remote_addr().map(|address| address.ip());
        self.controller
            .attest(request.into_inner(), address)
            .await
            .map(Response::new)
    }

    async fn challenge_node(
        &self,
        request: Request<ChallengeNodeRequest>,
    ) -> Result<Response<ChallengeNodeResponse>, Status> {
        let controller = Arc::clone(&self.controller);
        self.controller
            .to_the_end(async move { controller.answer_challenge(request.into_inner()).await })
            .await
            .map(Response::new)
    }

    async fn register_node(
        &self,
        request: Request<RegisterNodeRequest>,
    ) -> Result<Response<RegisterNodeResponse>, Status> {
        let controller = Arc::clone(&self.controller);
        self.controller
            .to_the_end(async move { controller.register(request.into_inner().envelope).await })
            .await
            .map(Response::new)
    }

    async fn heartbeat(
        &self,
        request: Request<NodeHeartbeatRequest>,
    ) -> Result<Response<NodeHeartbeatResponse>, Status> {
        self.controller
            .heartbeat(request.into_inner().envelope)
            .await
            .map(Response::new)
    }

    async fn deregister_node(
        &self,
        request: Request<DeregisterNodeRequest>,
    ) -> Result<Response<DeregisterNodeResponse>, Status> {
        let controller = Arc::clone(&self.controller);
        self.controller
            .to_the_end(async move { controller.deregister(request.into_inner().envelope).await })
            .await
            .map(Response::new)
    }

    async fn route_execution(
        &self,
        request: Request<RouteExecutionRequest>,
    ) -> Result<Response<RouteExecutionResponse>, Status> {
        self.controller
            .route(request.into_inner().envelope)
            .map(Response::new)
    }

    async fn sync_config(
        &self,
        request: Request<SyncConfigRequest>,
    ) -> Result<Response<SyncConfigResponse>, Status> {
        let controller = Arc::clone(&self.controller);
        self.controller
            .to_the_end(async move { controller.sync_config(request.into_inner().envelope).await })
            .await
            .map(Response::new)
    }

    async fn push_config(
        &self,
        request: Request<PushConfigRequest>,
    ) -> Result<Response<PushConfigResponse>, Status> {
        let controller = Arc::clone(&self.controller);
        self.controller
            .to_the_end(async move { controller.push_config(request.into_inner().envelope).await })
            .await
            .map(Response::new)
    }

    async fn list_peers(
        &self,
        request: Request<ListPeersRequest>,
    ) -> Result<Response<ListPeersResponse>, Status> {
        self.controller
            .list_peers(request.into_inner().envelope)
            .map(Response::new)
    }
}
