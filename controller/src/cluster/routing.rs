//! RouteExecution: the fitting node with the most preferred tags, among equals
//! the least loaded. Where none fits, the answer is NOT_FOUND.

use std::{cmp::Reverse, sync::Arc};

use aegis_proto::cluster::v1::{
    NodeCapabilities, NodeRole, NodeStatus, RouteExecutionInner, RouteExecutionResponse,
    SealNodeEnvelope,
};
use tonic::Status;

use crate::{controller::Controller, directory::Node};

impl Controller {
    pub(crate) fn route(
        &self,
        envelope: Option<SealNodeEnvelope>,
    ) -> Result<RouteExecutionResponse, Status> {
        let inner = self.open_any::<RouteExecutionInner>(envelope)?.inner;
        let required = inner.required_capabilities.unwrap_or_default();
        let best = self
            .directory
            .all()
            .into_iter()
            .filter(|node| fits(node, &required))
            .min_by_key(|node| {
                let record = node.record();
                let preferred =
                    inner.preferred_tags.iter().filter(|tag| record.capabilities.tags.contains(tag));
                (Reverse(preferred.count()), load(node), node.id)
            })
            .ok_or_else(|| {
                Status::not_found(
                    "no active node has the required capabilities; see aegisctl nodes for what there is",
                )
            })?;
        // Until its next heartbeat, what was routed to it counts as its load.
        best.live().routed += 1;
        Ok(RouteExecutionResponse {
            target_node_id: best.id.to_string(),
            worker_grpc_address: best.record().grpc_address.clone(),
        })
    }
}

fn load(node: &Arc<Node>) -> u32 {
    let live = node.live();
    live.pulse.active_executions.saturating_add(live.routed)
}

fn fits(node: &Arc<Node>, required: &NodeCapabilities) -> bool {
    let record = node.record();
    let free = {
        let live = node.live();
        if live.status() != NodeStatus::Active {
            return false;
        }
        match live.pulse.available_memory_gb {
            0 => record.capabilities.available_memory_gb,
            told => told,
        }
    };
    let have = &record.capabilities;
    record.is_registered()
        && record.banned.is_none()
        && matches!(
            record.role,
            NodeRole::Worker | NodeRole::Hybrid | NodeRole::Edge
        )
        && have.gpu_count >= required.gpu_count
        && have.vram_gb >= required.vram_gb
        && have.cpu_cores >= required.cpu_cores
        && free >= required.available_memory_gb
        && required
            .supported_runtimes
            .iter()
            .all(|one| have.supported_runtimes.contains(one))
        && required.tags.iter().all(|tag| have.tags.contains(tag))
}
