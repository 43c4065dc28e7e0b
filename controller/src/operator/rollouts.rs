//! ShowRollout, ListRollouts and SteerRollout.

use aegis_proto::operator::v1::{self as api, steer_rollout_request::Action};
use serde_json::json;
use tonic::Status;
use uuid::Uuid;

use super::{OperatorApi, audit::Call, enrolment::short, log::limit, views::scope_view};
use crate::{
    controller::Controller,
    layers::LayerStack,
    rollout::{NodeState, Standing, ends},
    store::{LayerChange, LayerRecord, RolloutNodeRecord, RolloutRecord, RolloutState, Steering},
    time::{self, proto_duration, timestamp},
};

impl OperatorApi {
    pub(super) async fn rollout(
        &self,
        request: api::ShowRolloutRequest,
    ) -> Result<api::ShowRolloutResponse, Status> {
        let controller = &self.controller;
        let id = controller.find_rollout(&request.rollout_id).await?;
        let (rollout, nodes) = controller.existing_rollout(id).await?;
        let nodes = if rollout.finished_at.is_none() {
            let standings =
                controller.standings(&controller.layers.load(), &rollout, nodes, time::now());
            standings.into_iter().map(standing_view).collect()
        } else {
            nodes.into_iter().map(end_view).collect()
        };
        Ok(api::ShowRolloutResponse {
            rollout: Some(rollout_view(rollout)),
            nodes,
        })
    }

    pub(super) async fn rollouts(
        &self,
        request: api::ListRolloutsRequest,
    ) -> Result<api::ListRolloutsResponse, Status> {
        let rollouts = self
            .controller
            .store
            .rollouts(limit(request.limit)?)
            .await?;
        Ok(api::ListRolloutsResponse {
            rollouts: rollouts.into_iter().map(rollout_view).collect(),
        })
    }

    pub(super) async fn steer(
        &self,
        who: &str,
        request: api::SteerRolloutRequest,
    ) -> Result<api::SteerRolloutResponse, Status> {
        let action = request.action();
        let call = Call {
            operator: who.into(),
            action: "SteerRollout",
            detail: json!({
                "rollout_id": short(&request.rollout_id),
                "action": action.as_str_name(),
                "reason": short(&request.reason),
            }),
        };
        let controller = &self.controller;
        controller
            .audited(&call, async {
                if request.rollout_id.is_empty() {
                    return Err(Status::invalid_argument("no rollout was named"));
                }
                let id = controller.find_rollout(&request.rollout_id).await?;
                let reason = said(who, &short(&request.reason));
                match action {
                    Action::Pause => controller.pause(id, reason, &call).await?,
                    Action::Resume => controller.resume(id, &call).await?,
                    Action::Abort => controller.abort(id, reason, &call).await?,
                    Action::Unspecified => {
                        return Err(Status::invalid_argument(
                            "no action was named: pause, resume or abort",
                        ));
                    }
                }
                controller.layers.wake();
                let (rollout, _) = controller.existing_rollout(id).await?;
                Ok(api::SteerRolloutResponse {
                    rollout: Some(rollout_view(rollout)),
                })
            })
            .await
    }
}

impl Controller {
    async fn existing_rollout(
        &self,
        id: Uuid,
    ) -> Result<(RolloutRecord, Vec<RolloutNodeRecord>), Status> {
        let found = self.store.rollout(id).await?;
        found.ok_or_else(|| Status::not_found(format!("there is no rollout {id}")))
    }

    async fn pause(&self, id: Uuid, reason: String, call: &Call) -> Result<(), Status> {
        let steering = Steering {
            rollout: id,
            from: RolloutState::Running,
            to: RolloutState::Stopped,
            reason,
            forgiven: Vec::new(),
        };
        self.steer(steering, call, "rollout-stopped").await
    }

    /// Failures up to now are not counted any more: whoever resumes has seen them.
    async fn resume(&self, id: Uuid, call: &Call) -> Result<(), Status> {
        let (rollout, nodes) = self.existing_rollout(id).await?;
        let standings = self.standings(&self.layers.load(), &rollout, nodes, time::now());
        let failed = standings
            .iter()
            .filter(|it| it.state == NodeState::Failed)
            .map(|it| it.record.node);
        let steering = Steering {
            rollout: id,
            from: RolloutState::Stopped,
            to: RolloutState::Running,
            reason: String::new(),
            forgiven: failed.collect(),
        };
        self.steer(steering, call, "rollout-resumed").await
    }

    async fn steer(
        &self,
        steering: Steering,
        call: &Call,
        event: &'static str,
    ) -> Result<(), Status> {
        let (id, from) = (steering.rollout, steering.from);
        if !self
            .store
            .steer_rollout(&steering, Some(&call.ok()))
            .await?
        {
            let (rollout, _) = self.existing_rollout(id).await?;
            return Err(Status::failed_precondition(format!(
                "rollout {id} is {}, not {}",
                rollout.state.name(),
                from.name()
            )));
        }
        let message = format!("rollout {id}: {}", steering.reason);
        self.event(event, None, None, message.trim_end_matches([':', ' ']))
            .await;
        Ok(())
    }

    /// The layer is what it was before, for every node.
    async fn abort(&self, id: Uuid, reason: String, call: &Call) -> Result<(), Status> {
        let (rollout, nodes) = self.existing_rollout(id).await?;
        let standings = self.standings(&self.layers.load(), &rollout, nodes, time::now());
        let ends = ends(&standings);
        let change = |stack: &LayerStack| {
            if stack.layer_of(id).is_none() {
                return Err(Status::failed_precondition(format!(
                    "rollout {id} has ended; aegisctl config set --revision brings an earlier \
                     document back"
                )));
            }
            Ok(LayerChange::Abort {
                rollout: id,
                layer: LayerRecord {
                    scope: rollout.scope.clone(),
                    document: rollout.previous.clone(),
                    set_by: call.operator.clone(),
                    set_at: time::now(),
                    pending: None,
                },
                reason: reason.clone(),
                ends: ends.clone(),
            })
        };
        let audit = call.ok();
        self.change_layers(&call.operator, Some(&audit), change)
            .await?;
        let message = format!("rollout {id} is given up: {reason}");
        self.event("rollout-aborted", None, None, message).await;
        Ok(())
    }
}

fn said(who: &str, reason: &str) -> String {
    if reason.is_empty() {
        format!("by {who}")
    } else {
        format!("by {who}: {reason}")
    }
}

fn rollout_view(rollout: RolloutRecord) -> api::Rollout {
    let (scope, name) = scope_view(&rollout.scope);
    api::Rollout {
        rollout_id: rollout.id.to_string(),
        scope,
        name,
        revision: rollout.revision,
        state: rollout.state.name().into(),
        reason: rollout.reason,
        started_by: rollout.started_by,
        started_at: Some(timestamp(rollout.started_at)),
        finished_at: rollout.finished_at.map(timestamp),
        batch_nodes: rollout.terms.batch,
        max_failures: rollout.terms.max_failures,
        node_timeout: Some(proto_duration(rollout.terms.node_timeout)),
        pause: Some(proto_duration(rollout.terms.pause)),
    }
}

fn standing_view(standing: Standing) -> api::RolloutNode {
    api::RolloutNode {
        state: standing.state.name().into(),
        step: standing.step,
        reason: standing.reason,
        active_version: standing.active,
        ..node_view(&standing.record)
    }
}

/// As the node stood when the rollout ended.
fn end_view(record: RolloutNodeRecord) -> api::RolloutNode {
    let view = node_view(&record);
    let (state, step, reason) = record.end;
    api::RolloutNode {
        state,
        step,
        reason,
        ..view
    }
}

fn node_view(record: &RolloutNodeRecord) -> api::RolloutNode {
    api::RolloutNode {
        node_id: record.node.to_string(),
        batch: record.batch,
        released_at: record.released_at.map(timestamp),
        command_id: record.command.map(|id| id.to_string()).unwrap_or_default(),
        ..Default::default()
    }
}
