//! SyncConfig and PushConfig.
//!
//! A node may push config to other nodes only where the controller's own
//! config lists its role in `config_push_roles` (by default, none): a role is
//! what a node says of itself when it enrols, and an enrolment token is not
//! meant to hand out the config of a fleet. What is pushed becomes the target
//! node's layer; its version is the merged document's, not the caller's.

use aegis_proto::{
    NodeId,
    cluster::v1::{
        PushConfigInner, PushConfigResponse, SealNodeEnvelope, SyncConfigInner, SyncConfigResponse,
    },
    worker::v1::ConfigStatus,
};
use tonic::Status;

use super::pending::decode_push;
use crate::{
    auth::role_name,
    command::FinalState,
    controller::Controller,
    directory::Node,
    store::{LayerRecord, LayerScope},
    time,
};

impl Controller {
    pub(crate) async fn sync_config(
        &self,
        envelope: Option<SealNodeEnvelope>,
    ) -> Result<SyncConfigResponse, Status> {
        let opened = self.open::<SyncConfigInner>(envelope)?;
        let (node, current) = (opened.node, opened.inner.current_config_version);
        if current.len() > 256 {
            return Err(Status::invalid_argument(
                "the config version is longer than 256 bytes",
            ));
        }
        self.config_in_force(&node, &current).await?;
        let stack = self.layers.load();
        Ok(
            match stack.wanted(node.id, &node.record().capabilities.tags, &current) {
                None => SyncConfigResponse {
                    up_to_date: true,
                    latest_version: current,
                    config_delta: Vec::new(),
                },
                Some(wanted) => SyncConfigResponse {
                    up_to_date: false,
                    latest_version: wanted.version,
                    config_delta: wanted.document,
                },
            },
        )
    }

    /// A node without a session acknowledges a pushed config by naming it.
    async fn config_in_force(&self, node: &Node, version: &str) -> Result<(), Status> {
        if version.is_empty() {
            return Ok(());
        }
        let known = node
            .record()
            .config_status
            .as_ref()
            .is_some_and(|s| s.active_version == version);
        // On a session it tells more, and that must not be overwritten.
        if !known && node.session().is_none() {
            let status = ConfigStatus {
                active_version: version.to_owned(),
                attempted_version: version.to_owned(),
                attempt_succeeded: true,
                attempted_at: Some(time::timestamp(time::now())),
                ..ConfigStatus::default()
            };
            self.store.set_config_status(node.id, &status).await?;
            node.amend(|record| record.config_status = Some(status.clone()));
            self.directory.tell(node.id);
        }
        if node.session().is_some() || !node.may_have_commands() {
            return Ok(());
        }
        for command in self.store.open(node.id).await? {
            if command.name != "push-config" {
                continue;
            }
            let Some(command) = self.store.command(command.id).await? else {
                continue;
            };
            if decode_push(&command.payload).is_some_and(|(pushed, _)| pushed == version) {
                self.derive(&command, FinalState::Succeeded, None).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn push_config(
        &self,
        envelope: Option<SealNodeEnvelope>,
    ) -> Result<PushConfigResponse, Status> {
        let opened = self.open_any::<PushConfigInner>(envelope)?;
        let (sender, inner) = (opened.node, opened.inner);
        let role = sender.record().role;
        if !self.may_push_config(role) {
            return Err(Status::permission_denied(format!(
                "nodes with the role {} may not push config here; list the role in \
                 config_push_roles of the controller's config, or use aegisctl push-config",
                role_name(role)
            )));
        }
        let target: NodeId =
            inner
                .target_node_id
                .parse()
                .map_err(|error: aegis_proto::MalformedId| {
                    Status::invalid_argument(error.to_string())
                })?;
        if self.directory.find(target).is_none() {
            return Err(Status::not_found(format!(
                "node {target} is not known here"
            )));
        }
        let by = format!("node {}", sender.id);
        let layer = LayerRecord {
            scope: LayerScope::Node(target),
            document: inner.config_payload,
            set_by: by.clone(),
            set_at: time::now(),
            pending: None,
        };
        self.set_layer(layer, &by, "PushConfig").await?;
        Ok(PushConfigResponse { accepted: true })
    }
}
