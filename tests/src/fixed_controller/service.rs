//! The calls.

use aegis_proto::cluster::v1::{node_cluster_service_server::NodeClusterService, *};
use tonic::{Request, Response, Status};

use super::{Rpc, Seen, state::Shared};

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
