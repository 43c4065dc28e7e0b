//! The fake's RPCs.

use std::{pin::Pin, sync::MutexGuard};

use aegis_proto::{
    operator::v1::{operator_service_server::OperatorService, selector::Selector as By, *},
    worker::v1::CommandState,
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::{Fake, Script, TOKEN, command, plugin};

type Answer<T> = Result<Response<T>, Status>;
type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Fake {
    fn enter<T>(&self, request: &Request<T>) -> Result<MutexGuard<'_, Script>, Status> {
        let token = request
            .metadata()
            .get("authorization")
            .and_then(|it| it.to_str().ok());
        match token {
            Some(token) if token == format!("Bearer {TOKEN}") => Ok(self.script.lock().unwrap()),
            _ => Err(Status::unauthenticated("the operator token is not known")),
        }
    }
}

fn id(node: &NodeView) -> &str {
    &node.info.as_ref().unwrap().node_id
}

fn select(script: &Script, selector: Option<&Selector>) -> Result<Vec<NodeView>, Status> {
    let nodes = script.nodes.iter();
    let nodes: Vec<NodeView> = match selector.and_then(|it| it.selector.as_ref()) {
        None | Some(By::All(_)) => nodes.cloned().collect(),
        Some(By::Tag(tag)) => {
            let tagged = |node: &&NodeView| {
                node.info
                    .as_ref()
                    .unwrap()
                    .capabilities
                    .as_ref()
                    .unwrap()
                    .tags
                    .contains(tag)
            };
            nodes.filter(tagged).cloned().collect()
        }
        Some(By::Node(prefix)) => {
            let found: Vec<NodeView> = nodes
                .filter(|node| id(node).starts_with(prefix))
                .cloned()
                .collect();
            if found.len() != 1 {
                return Err(Status::not_found("no such node"));
            }
            found
        }
    };
    Ok(nodes)
}

/// The events, then a stream that stays open where the last one is no error.
fn stream<T: Send + 'static>(events: Vec<Result<T, Status>>, stays_open: bool) -> Events<T> {
    let events = tokio_stream::iter(events);
    if stays_open {
        Box::pin(events.chain(tokio_stream::pending()))
    } else {
        Box::pin(events)
    }
}

#[tonic::async_trait]
impl OperatorService for Fake {
    type WatchNodesStream = Events<NodeView>;
    type WatchCommandsStream = Events<CommandEvent>;

    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Answer<ListNodesResponse> {
        let script = self.enter(&request)?;
        let nodes = select(&script, request.get_ref().selector.as_ref())?;
        Ok(Response::new(ListNodesResponse { nodes }))
    }

    async fn show_node(&self, request: Request<ShowNodeRequest>) -> Answer<ShowNodeResponse> {
        let script = self.enter(&request)?;
        let node = script
            .nodes
            .iter()
            .find(|node| id(node) == request.get_ref().node);
        let node = node.ok_or_else(|| Status::not_found("no such node"))?;
        Ok(Response::new(ShowNodeResponse {
            node: Some(node.clone()),
            plugins: vec![plugin()],
            handlers: script.handlers.clone(),
        }))
    }

    async fn watch_nodes(&self, request: Request<WatchNodesRequest>) -> Answer<Events<NodeView>> {
        let script = self.enter(&request)?;
        let changes = script.node_changes.iter().cloned().map(Ok).collect();
        Ok(Response::new(stream(changes, true)))
    }

    async fn submit_command(
        &self,
        request: Request<SubmitCommandRequest>,
    ) -> Answer<SubmitCommandResponse> {
        let mut script = self.enter(&request)?;
        let request = request.into_inner();
        let nodes = select(&script, request.selector.as_ref())?;
        let commands: Vec<CommandView> = nodes
            .iter()
            .map(|node| CommandView {
                name: request.name.clone(),
                ..command(id(node), CommandState::Queued)
            })
            .collect();
        script.submitted.push(request);
        Ok(Response::new(SubmitCommandResponse {
            group_id: commands[0].group_id.clone(),
            commands,
        }))
    }

    async fn watch_commands(
        &self,
        request: Request<WatchCommandsRequest>,
    ) -> Answer<Events<CommandEvent>> {
        let mut script = self.enter(&request)?;
        let events = script.streams.pop_front();
        let stays_open =
            events.is_none() || script.streams.is_empty() && ends_open(events.as_deref());
        Ok(Response::new(stream(
            events.unwrap_or_default(),
            stays_open,
        )))
    }

    async fn show_command(
        &self,
        request: Request<ShowCommandRequest>,
    ) -> Answer<ShowCommandResponse> {
        let script = self.enter(&request)?;
        let prefix = &request.get_ref().command_id;
        let mut commands = script.commands.iter();
        match commands.find(|it| it.command_id.starts_with(prefix)) {
            Some(command) => Ok(Response::new(ShowCommandResponse {
                command: Some(command.clone()),
                output: script.kept_output.clone(),
            })),
            None => Err(Status::not_found(format!(
                "no command has an id that begins with {prefix:?}"
            ))),
        }
    }

    async fn set_config(&self, request: Request<SetConfigRequest>) -> Answer<SetConfigResponse> {
        let mut script = self.enter(&request)?;
        let request = request.into_inner();
        let nodes = select(&script, request.selector.as_ref())?;
        let in_batches = request.rollout.is_some();
        script.configs.push(request);
        if in_batches {
            let rollout = script.rollouts.front().and_then(|it| it.rollout.as_ref());
            return Ok(Response::new(SetConfigResponse {
                rollout_id: rollout.unwrap().rollout_id.clone(),
                ..Default::default()
            }));
        }
        let commands: Vec<CommandView> = nodes
            .iter()
            .map(|node| command(id(node), CommandState::Queued))
            .collect();
        Ok(Response::new(SetConfigResponse {
            group_id: commands[0].group_id.clone(),
            commands,
            rollout_id: String::new(),
        }))
    }

    async fn show_config(&self, request: Request<ShowConfigRequest>) -> Answer<ShowConfigResponse> {
        Ok(Response::new(self.enter(&request)?.config.clone()))
    }

    async fn list_config_revisions(
        &self,
        request: Request<ListConfigRevisionsRequest>,
    ) -> Answer<ListConfigRevisionsResponse> {
        let revisions = self.enter(&request)?.revisions.clone();
        Ok(Response::new(ListConfigRevisionsResponse { revisions }))
    }

    async fn show_rollout(
        &self,
        request: Request<ShowRolloutRequest>,
    ) -> Answer<ShowRolloutResponse> {
        let mut script = self.enter(&request)?;
        let shown = if script.rollouts.len() > 1 {
            script.rollouts.pop_front()
        } else {
            script.rollouts.front().cloned()
        };
        let shown = shown.ok_or_else(|| Status::not_found("there is no such rollout"))?;
        Ok(Response::new(shown))
    }

    async fn list_rollouts(
        &self,
        request: Request<ListRolloutsRequest>,
    ) -> Answer<ListRolloutsResponse> {
        let script = self.enter(&request)?;
        let rollouts = script.rollouts.iter();
        let rollouts = rollouts.filter_map(|it| it.rollout.clone()).collect();
        Ok(Response::new(ListRolloutsResponse { rollouts }))
    }

    async fn steer_rollout(
        &self,
        request: Request<SteerRolloutRequest>,
    ) -> Answer<SteerRolloutResponse> {
        let mut script = self.enter(&request)?;
        script.steered.push(request.into_inner());
        let rollout = script.rollouts.front().and_then(|it| it.rollout.clone());
        Ok(Response::new(SteerRolloutResponse { rollout }))
    }

    async fn list_audit(&self, request: Request<ListAuditRequest>) -> Answer<ListAuditResponse> {
        drop(self.enter(&request)?);
        Err(Status::permission_denied(
            "the operator \"reader\" may not read the audit log",
        ))
    }

    async fn create_enrolment_token(
        &self,
        request: Request<CreateEnrolmentTokenRequest>,
    ) -> Answer<CreateEnrolmentTokenResponse> {
        drop(self.enter(&request)?);
        Ok(Response::new(CreateEnrolmentTokenResponse {
            enrolment_token: "aegis-enrol-secret".into(),
            token_id: "token-1".into(),
            expires_at: None,
        }))
    }

    async fn revoke_enrolment_token(
        &self,
        _: Request<RevokeEnrolmentTokenRequest>,
    ) -> Answer<RevokeEnrolmentTokenResponse> {
        Err(Status::unimplemented("not played"))
    }

    async fn list_enrolment_tokens(
        &self,
        _: Request<ListEnrolmentTokensRequest>,
    ) -> Answer<ListEnrolmentTokensResponse> {
        Err(Status::unimplemented("not played"))
    }

    async fn list_commands(
        &self,
        request: Request<ListCommandsRequest>,
    ) -> Answer<ListCommandsResponse> {
        let commands = self.enter(&request)?.commands.clone();
        Ok(Response::new(ListCommandsResponse { commands }))
    }

    async fn show_group(&self, request: Request<ShowGroupRequest>) -> Answer<ShowGroupResponse> {
        let script = self.enter(&request)?;
        Ok(Response::new(ShowGroupResponse {
            group: script.group.clone(),
        }))
    }

    async fn cancel_command(
        &self,
        _: Request<CancelCommandRequest>,
    ) -> Answer<CancelCommandResponse> {
        Err(Status::unimplemented("not played"))
    }

    async fn ban_node(&self, _: Request<BanNodeRequest>) -> Answer<BanNodeResponse> {
        Err(Status::unimplemented("not played"))
    }

    async fn unban_node(&self, _: Request<UnbanNodeRequest>) -> Answer<UnbanNodeResponse> {
        Err(Status::unimplemented("not played"))
    }

    async fn evict_node(&self, _: Request<EvictNodeRequest>) -> Answer<EvictNodeResponse> {
        Err(Status::unimplemented("not played"))
    }

    async fn list_plugins(
        &self,
        request: Request<ListPluginsRequest>,
    ) -> Answer<ListPluginsResponse> {
        Ok(Response::new(self.enter(&request)?.plugins.clone()))
    }

    async fn allow_plugin(
        &self,
        request: Request<AllowPluginRequest>,
    ) -> Answer<AllowPluginResponse> {
        drop(self.enter(&request)?);
        Ok(Response::new(AllowPluginResponse { refused_nodes: 1 }))
    }

    async fn disallow_plugin(
        &self,
        request: Request<DisallowPluginRequest>,
    ) -> Answer<DisallowPluginResponse> {
        drop(self.enter(&request)?);
        Ok(Response::new(DisallowPluginResponse::default()))
    }

    async fn list_events(&self, _: Request<ListEventsRequest>) -> Answer<ListEventsResponse> {
        Err(Status::unimplemented("not played"))
    }
}

/// Whether a stream's last event leaves its command without an outcome.
fn ends_open(events: Option<&[Result<CommandEvent, Status>]>) -> bool {
    match events.and_then(<[_]>::last) {
        Some(Ok(CommandEvent {
            event: Some(command_event::Event::Command(view)),
            ..
        })) => view.state() < CommandState::Succeeded,
        _ => false,
    }
}
