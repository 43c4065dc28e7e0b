//! The task that drives rollouts. It keeps nothing: after a restart it goes on
//! from what the store has.

use std::{sync::Arc, time::Duration};

use tokio::sync::broadcast::error::RecvError;
use tonic::{Code, Status};
use uuid::Uuid;

use super::{Decision, decide, progress::Standing};
use crate::{
    controller::Controller,
    directory::Node,
    store::{LayerChange, NodeEnd, Release, RolloutRecord, RolloutState, Steering},
    time,
};

/// How often nodes are looked at that may have run out of time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Changes that come closer together are looked at once.
const PAUSE: Duration = Duration::from_millis(100);

/// Drives rollouts until the controller stops.
pub async fn run(controller: Arc<Controller>) {
    let mut changes = controller.directory.changes();
    loop {
        let open: Vec<Uuid> = controller.layers.load().rollouts().collect();
        for rollout in &open {
            if let Err(status) = controller.drive(*rollout).await {
                tracing::error!(%rollout, error = status.message(), "a rollout can't go on; it is tried again");
            }
        }
        tokio::select! {
            () = controller.stopping.cancelled() => return,
            () = controller.layers.changed() => {}
            changed = changes.recv(), if !open.is_empty() => {
                if let Err(RecvError::Closed) = changed {
                    return;
                }
            }
            () = tokio::time::sleep(LOOK_EVERY), if !open.is_empty() => {}
        }
        tokio::select! {
            () = controller.stopping.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
        // All that has changed by now is looked at once. What is lost here is
        // found in the nodes themselves.
        changes = changes.resubscribe();
    }
}

impl Controller {
    /// Does what is to be done for one rollout now.
    async fn drive(&self, id: Uuid) -> Result<(), Status> {
        let Some((rollout, nodes)) = self.store.rollout(id).await? else {
            return Ok(());
        };
        if rollout.state != RolloutState::Running {
            return Ok(());
        }
        let now = time::now();
        let stack = self.layers.load();
        let standings = self.standings(&stack, &rollout, nodes, now);
        let progress: Vec<_> = standings.iter().map(|it| it.progress).collect();
        match decide(&rollout.terms, &progress, now) {
            Decision::Wait => Ok(()),
            Decision::Release(next) => self.release(&rollout, &standings, &next).await,
            Decision::Stop(failed) => self.stop(&rollout, failed).await,
            Decision::Complete => self.complete(&rollout, &standings).await,
        }
    }

    async fn release(
        &self,
        rollout: &RolloutRecord,
        standings: &[Standing],
        next: &[usize],
    ) -> Result<(), Status> {
        let earlier = standings.iter().map(|it| it.record.batch).max();
        let batch = earlier.unwrap_or(0) + 1;
        let next: Vec<_> = next.iter().filter_map(|at| standings.get(*at)).collect();
        let releases = next.iter().map(|standing| {
            let node = self.directory.find(standing.record.node);
            Release {
                node: standing.record.node,
                present: node.is_some_and(|node| self.is_present(&node)),
                command: None,
            }
        });
        let change = LayerChange::Release {
            rollout: rollout.id,
            at: time::now(),
            batch,
            nodes: releases.collect(),
        };
        let plan = |_: &_| Ok(change.clone());
        if settled(self.change_layers(&rollout.started_by, None, plan).await)? {
            let nodes = next.len();
            let message = format!("rollout {}: batch {batch}, {nodes} nodes", rollout.id);
            self.event("rollout-released", None, None, message).await;
        }
        Ok(())
    }

    async fn stop(&self, rollout: &RolloutRecord, failed: usize) -> Result<(), Status> {
        let reason = format!(
            "{failed} of its nodes failed, {} may",
            rollout.terms.max_failures
        );
        let message = format!("rollout {} stopped: {reason}", rollout.id);
        let steering = Steering {
            rollout: rollout.id,
            from: RolloutState::Running,
            to: RolloutState::Stopped,
            reason,
            forgiven: Vec::new(),
        };
        if self.store.steer_rollout(&steering, None).await? {
            self.event("rollout-stopped", None, None, message).await;
        }
        Ok(())
    }

    async fn complete(
        &self,
        rollout: &RolloutRecord,
        standings: &[Standing],
    ) -> Result<(), Status> {
        let change = LayerChange::Complete {
            rollout: rollout.id,
            at: time::now(),
            ends: ends(standings),
        };
        let plan = |_: &_| Ok(change.clone());
        if settled(self.change_layers(&rollout.started_by, None, plan).await)? {
            let message = format!("rollout {} is completed", rollout.id);
            self.event("rollout-completed", None, None, message).await;
        }
        Ok(())
    }

    /// Whether a node can be expected to take a config now. After a start every
    /// node is, until it has been missing for too long: a node that the config
    /// takes away must not pass for one that was away before.
    pub(crate) fn is_present(&self, node: &Node) -> bool {
        let live = node.live();
        let unheard = live.heard.is_none() || live.pulse.unary;
        live.session.is_some() || (unheard && !live.missing)
    }
}

/// How the nodes stand, to be kept when their rollout ends.
pub(crate) fn ends(standings: &[Standing]) -> Vec<NodeEnd> {
    let ends = standings.iter().map(|standing| NodeEnd {
        node: standing.record.node,
        state: standing.state.name(),
        step: standing.step.clone(),
        reason: standing.reason.clone(),
    });
    ends.collect()
}

/// Whether the change was made. A rollout that was steered at the same moment
/// is looked at again.
fn settled<T>(changed: Result<T, Status>) -> Result<bool, Status> {
    match changed {
        Ok(_) => Ok(true),
        Err(status) if status.code() == Code::Aborted => Ok(false),
        Err(status) => Err(status),
    }
}
