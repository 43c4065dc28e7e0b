//! Config layers: setting one sends the merged config to every node it changes.

use std::sync::Arc;

use aegis_proto::{
    CommandId, GroupId,
    limits::MAX_PAYLOAD_BYTES,
    operator::v1::{self as api, selector},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tonic::Status;
use uuid::Uuid;

use super::{OperatorApi, audit::Call, enrolment::short, submit::describe, views::layer_view};
use crate::{
    controller::Controller,
    directory::Node,
    layers::{LayerStack, MAX_MERGED_BYTES, Merged},
    store::{CommandRecord, LayerRecord, LayerScope, Submission},
    time,
};

/// Two operators who set layers at once take turns; this many turns are enough.
const ATTEMPTS: usize = 8;

impl OperatorApi {
    pub(super) async fn set_config_layer(
        &self,
        who: &str,
        request: api::SetConfigRequest,
    ) -> Result<api::SetConfigResponse, Status> {
        let call = Call {
            operator: who.into(),
            action: "SetConfig",
            detail: json!({
                "selector": describe(request.selector.as_ref()),
                "bytes": request.document.len(),
            }),
        };
        let controller = &self.controller;
        let commands = controller
            .audited(&call, async {
                let scope = scope(controller, request.selector.as_ref())?;
                let layer = LayerRecord {
                    scope,
                    document: request.document,
                    set_by: who.into(),
                    set_at: time::now(),
                };
                controller.commit_layer(layer, &call).await
            })
            .await?;
        let group_id = commands
            .first()
            .map(|c| c.group.to_string())
            .unwrap_or_default();
        let commands = commands
            .into_iter()
            .map(|c| controller.command_view(c))
            .collect();
        Ok(api::SetConfigResponse { group_id, commands })
    }

    pub(super) fn config(
        &self,
        request: api::ShowConfigRequest,
    ) -> Result<api::ShowConfigResponse, Status> {
        let stack = self.controller.layers.load();
        let layers = |wanted: &dyn Fn(&LayerScope) -> bool| {
            stack
                .layers
                .iter()
                .filter(|layer| wanted(&layer.scope))
                .map(layer_view)
                .collect()
        };
        let mut response = api::ShowConfigResponse::default();
        match request.selector.and_then(|selector| selector.selector) {
            None => response.layers = layers(&|_| true),
            Some(selector::Selector::All(_)) => {
                response.layers = layers(&|scope| *scope == LayerScope::Global);
            }
            Some(selector::Selector::Tag(tag)) => {
                response.layers = layers(&|scope| *scope == LayerScope::Tag(tag.clone()));
            }
            Some(selector::Selector::Node(node)) => {
                let node = self.controller.find_node(&node)?;
                let record = node.record();
                let tags = &record.capabilities.tags;
                response.layers = layers(&|scope| match scope {
                    LayerScope::Global => true,
                    LayerScope::Tag(tag) => tags.contains(tag),
                    LayerScope::Node(id) => *id == node.id,
                });
                let merged = stack.merged(node.id, tags);
                response.merged = merged
                    .as_ref()
                    .map_or(b"{}".to_vec(), |m| m.document.clone());
                response.merged_version = merged.map(|m| m.version).unwrap_or_default();
                response.status = record.config_status.clone();
            }
        }
        Ok(response)
    }
}

impl Controller {
    /// Sets a layer on behalf of someone other than an operator.
    pub(crate) async fn set_layer(
        &self,
        layer: LayerRecord,
        who: &str,
        action: &'static str,
    ) -> Result<(), Status> {
        let call = Call {
            operator: who.into(),
            action,
            detail: json!({ "scope": format!("{:?}", layer.scope), "bytes": layer.document.len() }),
        };
        self.audited(&call, self.commit_layer(layer, &call)).await?;
        Ok(())
    }

    async fn commit_layer(
        &self,
        layer: LayerRecord,
        call: &Call,
    ) -> Result<Vec<CommandRecord>, Status> {
        check_document(&layer.document)?;
        for _ in 0..ATTEMPTS {
            let before = self.layers.load();
            let after = before.with(layer.clone());
            let (submission, nodes) = self.pushes(&before, &after, &call.operator).await?;
            let expected = before.revision;
            if self
                .store
                .set_layer(expected, &layer, &submission, &call.ok())
                .await?
            {
                self.layers.replace(after);
                let ended: Vec<_> = submission
                    .superseded
                    .iter()
                    .map(|finish| finish.id)
                    .collect();
                self.ended_in_store(&ended).await;
                for node in nodes {
                    node.wake();
                    self.directory.tell(node.id);
                }
                return Ok(submission.commands);
            }
            let (revision, layers) = self.store.layers().await?;
            self.layers.replace(LayerStack { revision, layers });
        }
        Err(Status::aborted(
            "others change the config at the same time; try again",
        ))
    }

    /// A `push-config` for every node whose merged config changes; those that
    /// are still open are superseded.
    async fn pushes(
        &self,
        before: &LayerStack,
        after: &LayerStack,
        who: &str,
    ) -> Result<(Submission, Vec<Arc<Node>>), Status> {
        let group = GroupId::from_uuid(Uuid::now_v7());
        let mut commands = Vec::new();
        let mut superseded = Vec::new();
        let mut nodes = Vec::new();
        for node in self.directory.all() {
            let record = node.record();
            let tags = &record.capabilities.tags;
            let old = before.merged(node.id, tags);
            let Some(new) = after.merged(node.id, tags).or_else(|| {
                // The last layer of this node went away.
                after.wanted(node.id, tags, old.as_ref().map_or("", |old| &old.version))
            }) else {
                continue;
            };
            if old.as_ref().is_some_and(|old| old.version == new.version) {
                continue;
            }
            if new.document.len() > MAX_MERGED_BYTES {
                return Err(Status::invalid_argument(format!(
                    "the merged config of node {} would have {} bytes; the limit is {MAX_MERGED_BYTES}",
                    node.id,
                    new.document.len()
                )));
            }
            if record.banned.is_some() || !record.is_registered() {
                // It asks for its config when it is back.
                continue;
            }
            for open in self.store.open(node.id).await? {
                if open.name == "push-config" {
                    superseded.push(Self::superseded_by(&new.version, &open));
                }
            }
            commands.push(push(&node, group, &new, who));
            nodes.push(node);
        }
        let submission = Submission {
            request_id: None,
            digest: [0; 32],
            group,
            commands,
            superseded,
        };
        Ok((submission, nodes))
    }
}

fn push(node: &Node, group: GroupId, config: &Merged, who: &str) -> CommandRecord {
    let payload = json!({
        "configVersion": config.version,
        "configPayload": BASE64_STANDARD.encode(&config.document),
    });
    CommandRecord::queued(
        CommandId::from_uuid(Uuid::now_v7()),
        group,
        node.id,
        "push-config".into(),
        payload.to_string().into_bytes(),
        who.into(),
    )
}

fn check_document(document: &[u8]) -> Result<(), Status> {
    if document.is_empty() {
        return Ok(());
    }
    if document.len() > MAX_PAYLOAD_BYTES {
        return Err(Status::invalid_argument(format!(
            "the config has {} bytes; the limit is {MAX_PAYLOAD_BYTES}",
            document.len()
        )));
    }
    match serde_json::from_slice::<Value>(document) {
        Ok(Value::Object(_)) => Ok(()),
        Ok(_) => Err(Status::invalid_argument(
            "the config is JSON, but no object",
        )),
        Err(error) => Err(Status::invalid_argument(format!(
            "the config is no JSON: {error}"
        ))),
    }
}

fn scope(controller: &Controller, selector: Option<&api::Selector>) -> Result<LayerScope, Status> {
    match selector.and_then(|selector| selector.selector.as_ref()) {
        Some(selector::Selector::All(true)) => Ok(LayerScope::Global),
        Some(selector::Selector::Tag(tag)) if !tag.is_empty() && tag.len() <= 128 => {
            Ok(LayerScope::Tag(tag.clone()))
        }
        Some(selector::Selector::Tag(tag)) => Err(Status::invalid_argument(format!(
            "{:?} can't be a tag",
            short(tag)
        ))),
        // In full, a node that has not come yet can be named too.
        Some(selector::Selector::Node(node)) => match node.parse() {
            Ok(id) => Ok(LayerScope::Node(id)),
            Err(_) => Ok(LayerScope::Node(controller.find_node(node)?.id)),
        },
        _ => Err(Status::invalid_argument(
            "no layer was selected; name a node, a tag or all",
        )),
    }
}
