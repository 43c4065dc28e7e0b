//! `aegis.operator.v1.OperatorService`: what operators and their tools call.

mod audit;
mod commands;
mod config;
mod enrolment;
mod gate;
mod groups;
mod log;
mod nodes;
mod plugins;
mod rollouts;
mod select;
mod submit;
mod views;
mod watch;

use std::{pin::Pin, sync::Arc};

use aegis_proto::operator::v1 as api;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

pub use gate::Gate;

use crate::controller::Controller;

/// What the gate found out about a caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller(&'static str);

/// Serves operators.
#[derive(Clone)]
pub struct OperatorApi {
    controller: Arc<Controller>,
}

impl OperatorApi {
    /// Over a controller. It has to stand behind a [`Gate`].
    pub fn new(controller: Arc<Controller>) -> Self {
        Self { controller }
    }
}

type Answer<T> = Result<Response<T>, Status>;
type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn caller<T>(request: &Request<T>) -> Result<&'static str, Status> {
    let caller = request.extensions().get::<Caller>();
    caller
        .map(|caller| caller.0)
        .ok_or_else(|| Status::unauthenticated("no operator token was sent"))
}

#[tonic::async_trait]
impl api::operator_service_server::OperatorService for OperatorApi {
    type WatchNodesStream = Events<api::NodeView>;
    type WatchCommandsStream = Events<api::CommandEvent>;

    async fn create_enrolment_token(
        &self,
        request: Request<api::CreateEnrolmentTokenRequest>,
    ) -> Answer<api::CreateEnrolmentTokenResponse> {
        let (api, who) = (self.clone(), caller(&request)?);
        let request = request.into_inner();
        self.controller
            .to_the_end(async move { api.create_token(who, request).await })
            .await
            .map(Response::new)
    }

    async fn revoke_enrolment_token(
        &self,
        request: Request<api::RevokeEnrolmentTokenRequest>,
    ) -> Answer<api::RevokeEnrolmentTokenResponse> {
        let (api, who) = (self.clone(), caller(&request)?);
        let request = request.into_inner();
        self.controller
            .to_the_end(async move { api.revoke_token(who, request).await })
            .await
            .map(Response::new)
    }

    async fn list_enrolment_tokens(
        &self,
        _: Request<api::ListEnrolmentTokensRequest>,
    ) -> Answer<api::ListEnrolmentTokensResponse> {
        self.tokens().await.map(Response::new)
    }

    async fn list_nodes(
        &self,
        request: Request<api::ListNodesRequest>,
    ) -> Answer<api::ListNodesResponse> {
        self.nodes(request.into_inner()).await.map(Response::new)
    }

    async fn show_node(
        &self,
        request: Request<api::ShowNodeRequest>,
    ) -> Answer<api::ShowNodeResponse> {
        self.node(request.into_inner()).await.map(Response::new)
    }

    async fn watch_nodes(
        &self,
        request: Request<api::WatchNodesRequest>,
    ) -> Answer<Self::WatchNodesStream> {
        Ok(Response::new(self.node_changes(request.into_inner())?))
    }

    async fn submit_command(
        &self,
        request: Request<api::SubmitCommandRequest>,
    ) -> Answer<api::SubmitCommandResponse> {
        let (api, who) = (self.clone(), caller(&request)?);
        let request = request.into_inner();
        self.controller
            .to_the_end(async move { api.submit(who, request).await })
            .await
            .map(Response::new)
    }

    async fn watch_commands(
        &self,
        request: Request<api::WatchCommandsRequest>,
    ) -> Answer<Self::WatchCommandsStream> {
        Ok(Response::new(
            self.command_events(request.into_inner()).await?,
        ))
    }

    async fn show_command(
        &self,
        request: Request<api::ShowCommandRequest>,
    ) -> Answer<api::ShowCommandResponse> {
        self.command(request.into_inner()).await.map(Response::new)
    }

    async fn list_commands(
        &self,
        request: Request<api::ListCommandsRequest>,
    ) -> Answer<api::ListCommandsResponse> {
        self.commands(request.into_inner()).await.map(Response::new)
    }

    async fn show_group(
        &self,
        request: Request<api::ShowGroupRequest>,
    ) -> Answer<api::ShowGroupResponse> {
        self.group(request.into_inner()).await.map(Response::new)
    }

    async fn cancel_command(
        &self,
        request: Request<api::CancelCommandRequest>,
    ) -> Answer<api::CancelCommandResponse> {
        let (api, who) = (self.clone(), caller(&request)?);
        let request = request.into_inner();
        self.controller
            .to_the_end(async move { api.cancel(who, request).await })
            .await
            .map(Response::new)
    }

    async fn set_config(
        &self,
        request: Request<api::SetConfigRequest>,
    ) -> Answer<api::SetConfigResponse> {
        let (api, who) = (self.clone(), caller(&request)?);
        let request = request.into_inner();
        self.controller
            .to_the_end(async move { api.set_config_layer(who, request).await })
            .await
            .map(Response::new)
    }

    async fn show_config(
        &self,
        request: Request<api::ShowConfigRequest>,
    ) -> Answer<api::ShowConfigResponse> {
        self.config(request.into_inner()).map(Response::new)
    }

    async fn list_config_revisions(
        &self,
        request: Request<api::ListConfigRevisionsRequest>,
    ) -> Answer<api::ListConfigRevisionsResponse> {
        self.config_revisions(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn show_rollout(
        &self,
        request: Request<api::ShowRolloutRequest>,
    ) -> Answer<api::ShowRolloutResponse> {
        self.rollout(request.into_inner()).await.map(Response::new)
    }

    async fn list_rollouts(
        &self,
        request: Request<api::ListRolloutsRequest>,
    ) -> Answer<api::ListRolloutsResponse> {
        self.rollouts(request.into_inner()).await.map(Response::new)
    }

    async fn steer_rollout(
        &self,
        request: Request<api::SteerRolloutRequest>,
    ) -> Answer<api::SteerRolloutResponse> {
        let (api, who) = (self.clone(), caller(&request)?);
        let request = request.into_inner();
        self.controller
            .to_the_end(async move { api.steer(who, request).await })
            .await
            .map(Response::new)
    }

    async fn ban_node(
        &self,
        request: Request<api::BanNodeRequest>,
    ) -> Answer<api::BanNodeResponse> {
        let (api, who) = (self.clone(), caller(&request)?);
        let request = request.into_inner();
        self.controller
            .to_the_end(async move { api.ban(who, request).await })
            .await
            .map(Response::new)
    }

    async fn unban_node(
        &self,
        request: Request<api::UnbanNodeRequest>,
    ) -> Answer<api::UnbanNodeResponse> {
        let (api, who) = (self.clone(), caller(&request)?);
        let request = request.into_inner();
        self.controller
            .to_the_end(async move { api.unban(who, request).await })
            .await
            .map(Response::new)
    }

    async fn evict_node(
        &self,
        request: Request<api::EvictNodeRequest>,
    ) -> Answer<api::EvictNodeResponse> {
        let (api, who) = (self.clone(), caller(&request)?);
        let request = request.into_inner();
        self.controller
            .to_the_end(async move { api.evict(who, request).await })
            .await
            .map(Response::new)
    }

    async fn list_plugins(
        &self,
        request: Request<api::ListPluginsRequest>,
    ) -> Answer<api::ListPluginsResponse> {
        self.plugins(request.into_inner()).await.map(Response::new)
    }

    async fn allow_plugin(
        &self,
        request: Request<api::AllowPluginRequest>,
    ) -> Answer<api::AllowPluginResponse> {
        let (api, who) = (self.clone(), caller(&request)?);
        let request = request.into_inner();
        self.controller
            .to_the_end(async move { api.allow(who, request).await })
            .await
            .map(Response::new)
    }

    async fn disallow_plugin(
        &self,
        request: Request<api::DisallowPluginRequest>,
    ) -> Answer<api::DisallowPluginResponse> {
        let (api, who) = (self.clone(), caller(&request)?);
        let request = request.into_inner();
        self.controller
            .to_the_end(async move { api.disallow(who, request).await })
            .await
            .map(Response::new)
    }

    async fn list_events(
        &self,
        request: Request<api::ListEventsRequest>,
    ) -> Answer<api::ListEventsResponse> {
        self.events(request.into_inner()).await.map(Response::new)
    }

    async fn list_audit(
        &self,
        request: Request<api::ListAuditRequest>,
    ) -> Answer<api::ListAuditResponse> {
        self.audit_log(request.into_inner())
            .await
            .map(Response::new)
    }
}
