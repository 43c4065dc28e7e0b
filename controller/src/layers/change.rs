//! Changing layers: the change, the push-config of every node whose merged
//! config it changes, and its audit entry are committed together.

use std::sync::Arc;

use aegis_proto::{CommandId, GroupId};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;
use tonic::Status;
use uuid::Uuid;

use super::{LayerStack, MAX_MERGED_BYTES, Merged};
use crate::{
    controller::Controller,
    directory::Node,
    store::{CommandRecord, LayerChange, LayerScope, NewAudit, Submission},
};

/// Two who change layers at once take turns; this many turns are enough.
const ATTEMPTS: usize = 8;

impl Controller {
    /// Makes a change, which `plan` makes anew for the layers as they then are:
    /// the change as it was made, with the commands that carry it.
    pub(crate) async fn change_layers(
        &self,
        who: &str,
        audit: Option<&NewAudit>,
        plan: impl Fn(&LayerStack) -> Result<LayerChange, Status>,
    ) -> Result<(LayerChange, Vec<CommandRecord>), Status> {
        for _ in 0..ATTEMPTS {
            let before = self.layers.load();
            let mut change = plan(&before)?;
            let after = before.changed(&change);
            let (submission, nodes) = self.pushes(&before, &after, who).await?;
            if let LayerChange::Release { nodes, .. } = &mut change {
                for release in nodes {
                    let mut commands = submission.commands.iter();
                    let push = commands.find(|it| it.node == release.node);
                    release.command = push.map(|it| it.id);
                }
            }
            let store = &self.store;
            if store
                .change_layers(before.revision, &change, &submission, audit)
                .await?
            {
                self.layers.replace(after);
                let ended: Vec<_> = submission.superseded.iter().map(|it| it.id).collect();
                self.ended_in_store(&ended).await;
                for node in nodes {
                    node.wake();
                    self.directory.tell(node.id);
                }
                return Ok((change, submission.commands));
            }
            let (revision, layers) = store.layers().await?;
            self.layers.replace(LayerStack { revision, layers });
        }
        Err(Status::aborted(
            "others change the config at the same time; try again",
        ))
    }

    /// The nodes that a change gives another merged config, with that config.
    /// Those that are banned or not registered ask for it when they are back.
    pub(crate) fn changed_by(
        &self,
        before: &LayerStack,
        after: &LayerStack,
    ) -> Result<Vec<(Arc<Node>, Merged)>, Status> {
        let mut changed = Vec::new();
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
            if record.banned.is_none() && record.is_registered() {
                changed.push((node, new));
            }
        }
        Ok(changed)
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
        for (node, new) in self.changed_by(before, after)? {
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

impl LayerStack {
    /// Refuses to change a layer that a rollout is bringing to its nodes.
    pub(crate) fn require_settled(&self, scope: &LayerScope) -> Result<(), Status> {
        let pending = self.layer(scope).and_then(|it| it.pending.as_ref());
        match pending {
            None => Ok(()),
            Some(pending) => Err(Status::failed_precondition(format!(
                "rollout {id} is bringing this layer to its nodes; wait for its end or give it up \
                 with aegisctl config rollout abort {id}",
                id = pending.rollout
            ))),
        }
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
