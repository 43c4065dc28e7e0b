//! Nodes: list, show, watch, ban, evict.

use std::{collections::HashSet, sync::Arc};

use aegis_proto::{
    NodeId,
    operator::v1::{self as api, Selector},
    worker::v1::bye,
};
use serde_json::json;
use tokio::sync::{broadcast::error::RecvError, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Events, OperatorApi, audit::Call, enrolment::short};
use crate::{controller::Controller, time};

/// Views on their way to a watcher.
const WATCH_QUEUE: usize = 64;

impl OperatorApi {
    pub(super) async fn nodes(
        &self,
        request: api::ListNodesRequest,
    ) -> Result<api::ListNodesResponse, Status> {
        let chosen = self.controller.select_to_list(request.selector.as_ref())?;
        let open = self.controller.store.open_counts().await?;
        let count = |id: &NodeId| open.get(id).copied().unwrap_or(0);
        let nodes = chosen
            .iter()
            .map(|node| self.controller.node_view(node, count(&node.id)))
            .collect();
        Ok(api::ListNodesResponse { nodes })
    }

    pub(super) async fn node(
        &self,
        request: api::ShowNodeRequest,
    ) -> Result<api::ShowNodeResponse, Status> {
        let node = self.controller.find_node(&request.node)?;
        let open = self.controller.store.open(node.id).await?.len();
        let facts = node.record().facts.clone().unwrap_or_default();
        Ok(api::ShowNodeResponse {
            node: Some(
                self.controller
                    .node_view(&node, u32::try_from(open).unwrap_or(u32::MAX)),
            ),
            plugins: facts.plugins,
            handlers: facts.handlers,
        })
    }

    pub(super) fn node_changes(
        &self,
        request: api::WatchNodesRequest,
    ) -> Result<Events<api::NodeView>, Status> {
        self.controller.select_to_list(request.selector.as_ref())?;
        let (out, views) = mpsc::channel(WATCH_QUEUE);
        let controller = Arc::clone(&self.controller);
        self.controller.tasks.spawn(async move {
            tokio::select! {
                () = controller.stopping.cancelled() => {}
                () = out.closed() => {}
                ended = watch_nodes(&controller, request.selector, &out) => {
                    if let Err(status) = ended {
                        // The watcher may be gone already.
                        let _ = out.send(Err(status)).await;
                    }
                }
            }
        });
        Ok(Box::pin(ReceiverStream::new(views)))
    }

    pub(super) async fn ban(
        &self,
        who: &str,
        request: api::BanNodeRequest,
    ) -> Result<api::BanNodeResponse, Status> {
        let call = Call {
            operator: who.into(),
            action: "BanNode",
            detail: json!({ "node": short(&request.node), "reason": short(&request.reason) }),
        };
        let controller = &self.controller;
        controller
            .audited(&call, async {
                let node = controller.find_node(&request.node)?;
                let reason = short(&request.reason);
                controller
                    .store
                    .set_banned(node.id, Some(&reason), &call.ok())
                    .await?;
                node.amend(|record| record.banned = Some(reason.clone()));
                if let Some(session) = node.session() {
                    session.end(bye::Reason::Banned, &reason, None);
                }
                controller.directory.tell(node.id);
                controller
                    .event("node-banned", Some(node.id), None, reason)
                    .await;
                Ok(api::BanNodeResponse {})
            })
            .await
    }

    pub(super) async fn unban(
        &self,
        who: &str,
        request: api::UnbanNodeRequest,
    ) -> Result<api::UnbanNodeResponse, Status> {
        let call = Call {
            operator: who.into(),
            action: "UnbanNode",
            detail: json!({ "node": short(&request.node) }),
        };
        let controller = &self.controller;
        controller
            .audited(&call, async {
                let node = controller.find_node(&request.node)?;
                controller
                    .store
                    .set_banned(node.id, None, &call.ok())
                    .await?;
                node.amend(|record| record.banned = None);
                controller.directory.tell(node.id);
                controller
                    .event("node-unbanned", Some(node.id), None, "")
                    .await;
                Ok(api::UnbanNodeResponse {})
            })
            .await
    }

    pub(super) async fn evict(
        &self,
        who: &str,
        request: api::EvictNodeRequest,
    ) -> Result<api::EvictNodeResponse, Status> {
        let call = Call {
            operator: who.into(),
            action: "EvictNode",
            detail: json!({ "node": short(&request.node), "reason": short(&request.reason) }),
        };
        let controller = &self.controller;
        controller
            .audited(&call, async {
                let node = controller.find_node(&request.node)?;
                let ended = controller
                    .store
                    .evict(node.id, time::now(), &call.ok())
                    .await?;
                controller.directory.remove(node.id);
                let reason = short(&request.reason);
                if let Some(session) = node.session() {
                    session.end(bye::Reason::Evicted, &reason, None);
                }
                controller.ended_in_store(&ended).await;
                controller
                    .event("node-evicted", Some(node.id), None, reason)
                    .await;
                Ok(api::EvictNodeResponse {})
            })
            .await
    }
}

async fn watch_nodes(
    controller: &Controller,
    selector: Option<Selector>,
    out: &mpsc::Sender<Result<api::NodeView, Status>>,
) -> Result<(), Status> {
    // Subscribed before the first look, so that nothing falls in between.
    let mut changes = controller.directory.changes();
    let mut wanted: Option<HashSet<NodeId>> = None;
    loop {
        let chosen = match controller.select_to_list(selector.as_ref()) {
            Ok(chosen) => chosen,
            // The last one with the tag may be gone, or the node evicted.
            Err(status) if status.code() == tonic::Code::NotFound => Vec::new(),
            Err(status) => return Err(status),
        };
        let open = controller.store.open_counts().await?;
        for node in chosen {
            if wanted.as_ref().is_none_or(|ids| ids.contains(&node.id)) {
                let open = open.get(&node.id).copied().unwrap_or(0);
                if out
                    .send(Ok(controller.node_view(&node, open)))
                    .await
                    .is_err()
                {
                    return Ok(());
                }
            }
        }
        let mut ids = HashSet::new();
        let mut all = false;
        match changes.recv().await {
            Ok(id) => drop(ids.insert(id)),
            Err(RecvError::Lagged(_)) => all = true,
            Err(RecvError::Closed) => return Ok(()),
        }
        // Everything that has changed by now is told once.
        while let Ok(id) = changes.try_recv() {
            ids.insert(id);
        }
        wanted = (!all).then_some(ids);
    }
}
