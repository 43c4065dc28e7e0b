//! RegisterNode, DeregisterNode and ListPeers.

use std::time::Instant;

use aegis_proto::{
    cluster::v1::{
        DeregisterNodeInner, DeregisterNodeResponse, ListPeersInner, ListPeersResponse,
        NodeCapabilities, NodeStatus, RegisterNodeInner, RegisterNodeResponse, SealNodeEnvelope,
    },
    worker::v1::CommandState,
};
use tonic::Status;

use super::check_capabilities;
use crate::{command::FinalState, controller::Controller, directory::Node, outcome, time};

impl Controller {
    pub(crate) async fn register(
        &self,
        envelope: Option<SealNodeEnvelope>,
    ) -> Result<RegisterNodeResponse, Status> {
        let opened = self.open::<RegisterNodeInner>(envelope)?;
        let inner = opened.inner;
        let capabilities = check_capabilities(inner.capabilities, &inner.grpc_address)?;
        self.join(&opened.node, &capabilities, &inner.grpc_address)
            .await?;
        Ok(RegisterNodeResponse {
            accepted: true,
            cluster_id: self.cluster_id.clone(),
            message: String::new(),
        })
    }

    pub(crate) async fn join(
        &self,
        node: &Node,
        capabilities: &NodeCapabilities,
        grpc_address: &str,
    ) -> Result<(), Status> {
        let now = time::now();
        self.store
            .register(node.id, capabilities, grpc_address, now)
            .await?;
        let was_registered = node.record().is_registered();
        node.amend(|record| {
            record.capabilities = capabilities.clone();
            record.grpc_address = grpc_address.to_owned();
            record.registered_at = Some(now);
            record.deregistered = false;
        });
        {
            // To register is a sign of life; it says nothing of a drain.
            let mut live = node.live();
            let mut pulse = live.pulse.clone();
            if pulse.status != NodeStatus::Draining {
                pulse.status = NodeStatus::Active;
            }
            live.hear(pulse, Instant::now(), now);
        }
        self.settle_shutdowns(node, false).await?;
        node.wake();
        self.directory.tell(node.id);
        let message = if was_registered {
            "registered again"
        } else {
            "registered"
        };
        self.event("node-registered", Some(node.id), None, message)
            .await;
        Ok(())
    }

    pub(crate) async fn deregister(
        &self,
        envelope: Option<SealNodeEnvelope>,
    ) -> Result<DeregisterNodeResponse, Status> {
        let opened = self.open_registered::<DeregisterNodeInner>(envelope)?;
        self.leave(&opened.node, &opened.inner.reason).await?;
        Ok(DeregisterNodeResponse { accepted: true })
    }

    pub(crate) async fn leave(&self, node: &Node, reason: &str) -> Result<(), Status> {
        self.store.deregister(node.id).await?;
        node.amend(|record| record.deregistered = true);
        self.settle_shutdowns(node, true).await?;
        self.directory.tell(node.id);
        let reason: String = reason.chars().take(500).collect();
        self.event("node-deregistered", Some(node.id), None, reason)
            .await;
        Ok(())
    }

    pub(crate) fn list_peers(
        &self,
        envelope: Option<SealNodeEnvelope>,
    ) -> Result<ListPeersResponse, Status> {
        let inner = self.open_any::<ListPeersInner>(envelope)?.inner;
        let nodes = self
            .directory
            .all()
            .iter()
            .filter(|node| {
                let record = node.record();
                record.is_registered() && record.banned.is_none()
            })
            .map(|node| node.info())
            .filter(|info| {
                (inner.filter_status.is_empty() || inner.filter_status.contains(&info.status))
                    && (inner.filter_role.is_empty() || inner.filter_role.contains(&info.role))
            })
            .collect();
        Ok(ListPeersResponse {
            nodes,
            cluster_id: self.cluster_id.clone(),
        })
    }

    /// A node without a session tells the outcome of a shutdown by what it does
    /// next: it says goodbye, or it is back without having done so.
    async fn settle_shutdowns(&self, node: &Node, said_goodbye: bool) -> Result<(), Status> {
        let delivered = self
            .store
            .open(node.id)
            .await?
            .into_iter()
            .filter(|command| {
                command.name == "shutdown" && command.state == CommandState::Delivered
            });
        for command in delivered {
            if said_goodbye {
                self.derive(&command, FinalState::Succeeded, None).await?;
            } else if node.session().is_none() {
                let error = outcome::unknown(
                    aegis_proto::error_code::WORKER_LOST,
                    "the node registered again without having deregistered",
                );
                self.derive(&command, FinalState::Unknown, Some(error))
                    .await?;
            }
        }
        Ok(())
    }
}
