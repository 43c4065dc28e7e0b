//! Heartbeat: liveness in, pending commands out.

use std::{sync::Arc, time::Instant};

use aegis_proto::cluster::v1::{NodeHeartbeatInner, NodeHeartbeatResponse, SealNodeEnvelope};
use tonic::Status;

use crate::{
    controller::Controller,
    directory::{Node, Pulse},
    time,
};

impl Controller {
    pub(crate) async fn heartbeat(
        self: &Arc<Self>,
        envelope: Option<SealNodeEnvelope>,
    ) -> Result<NodeHeartbeatResponse, Status> {
        let opened = self.open_registered::<NodeHeartbeatInner>(envelope)?;
        let (node, inner) = (opened.node, opened.inner);
        self.heard(&node, Pulse::from(&inner)).await;
        if !node.may_have_commands() || node.session().is_some() {
            return Ok(NodeHeartbeatResponse::default());
        }
        let controller = Arc::clone(self);
        let pending_commands = self
            .to_the_end(async move {
                let pending = controller.pending(&node, inner.status()).await;
                if pending.is_err() {
                    // Nobody looked to the end.
                    node.wake();
                }
                pending
            })
            .await?;
        Ok(NodeHeartbeatResponse { pending_commands })
    }

    /// Takes in a heartbeat of either kind.
    pub(crate) async fn heard(&self, node: &Node, pulse: Pulse) {
        let (healed, changed) = node.live().hear(pulse, Instant::now(), time::now());
        if changed {
            self.directory.tell(node.id);
        }
        if healed {
            self.event(
                "node-healthy",
                Some(node.id),
                None,
                "heartbeats have come back",
            )
            .await;
        }
    }
}
