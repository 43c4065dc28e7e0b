//! Config layers: setting one sends the merged config to every node it
//! changes, at once or in batches.

use std::time::Duration;

use aegis_proto::{
    NodeId,
    limits::MAX_PAYLOAD_BYTES,
    operator::v1::{self as api, selector},
};
use serde_json::{Value, json};
use tonic::Status;
use uuid::Uuid;

use super::{
    OperatorApi, audit::Call, enrolment::short, log::limit, submit::describe, views::layer_view,
};
use crate::{
    controller::Controller,
    layers::{LayerStack, Merged, is_for},
    rollout::Terms,
    store::{
        CommandRecord, LayerChange, LayerRecord, LayerScope, RevisionRecord, RolloutRecord,
        RolloutState,
    },
    time::{self, from_proto_duration},
};

const NODE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How many nodes get a config at once.
#[derive(Debug, Clone, Copy)]
enum Batch {
    Nodes(u32),
    Percent(u32),
}

/// How a layer is to be rolled out; its batch is counted once its nodes are known.
#[derive(Debug, Clone, Copy)]
struct Plan {
    batch: Batch,
    max_failures: u32,
    node_timeout: Duration,
    pause: Duration,
}

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
                "revision": request.revision,
                "rollout": request.rollout.is_some(),
            }),
        };
        let controller = &self.controller;
        let (rollout, commands) = controller
            .audited(&call, async {
                let scope = scope(controller, request.selector.as_ref())?;
                let plan = request.rollout.as_ref().map(Plan::read).transpose()?;
                let document = match request.revision {
                    0 => request.document,
                    revision if request.document.is_empty() => {
                        controller.document_at(&scope, revision).await?
                    }
                    _ => {
                        return Err(Status::invalid_argument(
                            "both a document and a revision were given; give one of them",
                        ));
                    }
                };
                let layer = LayerRecord {
                    scope,
                    document,
                    set_by: who.into(),
                    set_at: time::now(),
                    pending: None,
                };
                controller.commit_layer(layer, plan, &call).await
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
        Ok(api::SetConfigResponse {
            group_id,
            commands,
            rollout_id: rollout.map(|id| id.to_string()).unwrap_or_default(),
        })
    }

    pub(super) async fn config_revisions(
        &self,
        request: api::ListConfigRevisionsRequest,
    ) -> Result<api::ListConfigRevisionsResponse, Status> {
        let limit = limit(request.limit)?;
        let chosen = request.selector.and_then(|selector| selector.selector);
        let scopes = match chosen {
            None => None,
            Some(selector::Selector::All(_)) => Some(vec![LayerScope::Global]),
            Some(selector::Selector::Tag(tag)) => Some(vec![LayerScope::Tag(tag)]),
            Some(selector::Selector::Node(node)) => {
                let node = self.controller.find_node(&node)?;
                let tags = node.record().capabilities.tags.clone();
                let mut scopes: Vec<_> = tags.into_iter().map(LayerScope::Tag).collect();
                scopes.extend([LayerScope::Global, LayerScope::Node(node.id)]);
                Some(scopes)
            }
        };
        let store = &self.controller.store;
        let revisions = store
            .revisions(scopes.as_deref(), request.before, limit)
            .await?;
        Ok(api::ListConfigRevisionsResponse {
            revisions: revisions.into_iter().map(revision_view).collect(),
        })
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
                response.layers = as_they_are_for(&stack, node.id, tags);
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
        self.audited(&call, self.commit_layer(layer, None, &call))
            .await?;
        Ok(())
    }

    /// The id of the rollout that brings it, if one does, and the commands that do.
    async fn commit_layer(
        &self,
        layer: LayerRecord,
        plan: Option<Plan>,
        call: &Call,
    ) -> Result<(Option<Uuid>, Vec<CommandRecord>), Status> {
        check_document(&layer.document)?;
        let audit = call.ok();
        let change = |stack: &LayerStack| {
            stack.require_settled(&layer.scope)?;
            match plan {
                Some(plan) => self.beginning(stack, &layer, plan),
                None => Ok(LayerChange::Set(layer.clone())),
            }
        };
        let (change, commands) = self
            .change_layers(&call.operator, Some(&audit), change)
            .await?;
        let rollout = match change {
            LayerChange::Begin { rollout, .. } => Some(rollout.id),
            _ => None,
        };
        Ok((rollout, commands))
    }

    /// The beginning of a rollout to all nodes whose config the layer changes,
    /// connected ones first; without any, the layer is just set.
    fn beginning(
        &self,
        stack: &LayerStack,
        layer: &LayerRecord,
        plan: Plan,
    ) -> Result<LayerChange, Status> {
        let set = LayerChange::Set(layer.clone());
        let mut nodes = self.changed_by(stack, &stack.changed(&set))?;
        nodes.sort_by_key(|(node, _)| !self.is_present(node));
        let nodes: Vec<NodeId> = nodes.into_iter().map(|(node, _)| node.id).collect();
        let Some(batch) = plan.batch.of(nodes.len()) else {
            return Ok(set);
        };
        let previous = stack.layer(&layer.scope).map(|it| it.document.clone());
        let rollout = RolloutRecord {
            id: Uuid::now_v7(),
            scope: layer.scope.clone(),
            revision: stack.revision + 1,
            previous: previous.unwrap_or_default(),
            state: RolloutState::Running,
            reason: String::new(),
            started_by: layer.set_by.clone(),
            started_at: layer.set_at,
            finished_at: None,
            terms: Terms {
                batch,
                max_failures: plan.max_failures,
                node_timeout: plan.node_timeout,
                pause: plan.pause,
            },
        };
        Ok(LayerChange::Begin {
            layer: layer.clone(),
            rollout,
            nodes,
        })
    }

    /// What a layer was set to with a revision.
    async fn document_at(&self, scope: &LayerScope, revision: i64) -> Result<Vec<u8>, Status> {
        let found = self.store.revision(revision).await?;
        let found = found.filter(|it| it.layer.scope == *scope);
        found.map(|it| it.layer.document).ok_or_else(|| {
            Status::not_found(format!(
                "revision {revision} is none of this layer, or is not kept any more; see aegisctl \
                 config history"
            ))
        })
    }
}

impl Plan {
    fn read(plan: &api::RolloutPlan) -> Result<Self, Status> {
        let invalid = Status::invalid_argument;
        let batch = match (plan.batch_nodes, plan.batch_percent) {
            (nodes @ 1.., 0) => Batch::Nodes(nodes),
            (0, percent @ 1..=100) => Batch::Percent(percent),
            _ => {
                return Err(invalid(
                    "a batch is one node at least, or from 1 to 100 percent of the nodes",
                ));
            }
        };
        let node_timeout = match &plan.node_timeout {
            None => NODE_TIMEOUT,
            Some(timeout) => from_proto_duration(timeout)
                .filter(|it| (Duration::from_secs(1)..=LONGEST).contains(it))
                .ok_or_else(|| invalid("a node's timeout has to be from 1 s to 1 day"))?,
        };
        let pause = match &plan.pause {
            None => Duration::ZERO,
            Some(pause) => from_proto_duration(pause)
                .filter(|it| *it <= LONGEST)
                .ok_or_else(|| invalid("a pause between batches has 1 day at the most"))?,
        };
        Ok(Self {
            batch,
            max_failures: plan.max_failures,
            node_timeout,
            pause,
        })
    }
}

impl Batch {
    /// Of so many nodes; `None` of none.
    fn of(self, nodes: usize) -> Option<u32> {
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        let batch = match self {
            Self::Nodes(batch) => batch.min(nodes),
            Self::Percent(percent) => {
                let share = (u64::from(nodes) * u64::from(percent)).div_ceil(100);
                u32::try_from(share).unwrap_or(nodes)
            }
        };
        (nodes > 0).then_some(batch)
    }
}

/// The layers for a node, each with the document that it has for this one.
fn as_they_are_for(stack: &LayerStack, node: NodeId, tags: &[String]) -> Vec<api::ConfigLayer> {
    let layers = stack.layers.iter();
    layers
        .filter(|layer| is_for(&layer.scope, node, tags))
        .map(|layer| api::ConfigLayer {
            document: layer.document_for(node).to_vec(),
            ..layer_view(layer)
        })
        .collect()
}

fn revision_view(revision: RevisionRecord) -> api::ConfigRevision {
    let version = Merged::of_layer(&revision.layer.document).map(|it| it.version);
    let rollout = revision.rollout.map(|id| id.to_string());
    api::ConfigRevision {
        revision: revision.revision,
        layer: Some(api::ConfigLayer {
            rollout_id: rollout.unwrap_or_default(),
            ..layer_view(&revision.layer)
        }),
        version: version.unwrap_or_default(),
    }
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
