//! Config layers, what they were before, and rollouts as they are kept.

use std::collections::BTreeSet;

use aegis_proto::{CommandId, NodeId, worker::v1::CommandError, worker::v1::CommandState};
use uuid::Uuid;

use super::{NewAudit, StoreError, Submission};
use crate::{rollout::Terms, time::Millis};

/// Whom a config layer is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LayerScope {
    /// Every node.
    Global,
    /// Nodes with this tag.
    Tag(String),
    /// One node.
    Node(NodeId),
}

/// One config layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRecord {
    /// For whom.
    pub scope: LayerScope,
    /// A JSON object in UTF-8; empty where the layer is on its way out.
    pub document: Vec<u8>,
    /// Who set it.
    pub set_by: String,
    /// When.
    pub set_at: Millis,
    /// The rollout that brings it to the nodes, while it is open.
    pub pending: Option<Pending>,
}

/// A layer that not all of its nodes have yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its rollout.
    pub rollout: Uuid,
    /// What the layer was before; empty where there was none.
    pub previous: Vec<u8>,
    /// The nodes that have the layer's new document.
    pub released: BTreeSet<NodeId>,
}

impl LayerRecord {
    /// The document that this layer has for a node; empty where it has none.
    pub fn document_for(&self, node: NodeId) -> &[u8] {
        match &self.pending {
            Some(pending) if !pending.released.contains(&node) => &pending.previous,
            _ => &self.document,
        }
    }
}

/// One change of the layers, which are all or nothing.
#[derive(Debug, Clone)]
pub enum LayerChange {
    /// All nodes of the layer get its document. An empty one removes it.
    Set(LayerRecord),
    /// The nodes of the layer get its document in batches.
    Begin {
        /// With its new document.
        layer: LayerRecord,
        /// Its revision is that of the change.
        rollout: RolloutRecord,
        /// In the order in which they get it.
        nodes: Vec<NodeId>,
    },
    /// More nodes of a rollout that runs get its document.
    Release {
        /// Which.
        rollout: Uuid,
        /// When.
        at: Millis,
        /// 1 for the first batch.
        batch: u32,
        /// Who.
        nodes: Vec<Release>,
    },
    /// A rollout that runs is over: all nodes of its layer get the document.
    Complete {
        /// Which.
        rollout: Uuid,
        /// When.
        at: Millis,
        /// How its nodes stand.
        ends: Vec<NodeEnd>,
    },
    /// An open rollout is given up: its layer is what it was before.
    Abort {
        /// Which.
        rollout: Uuid,
        /// With the document from before.
        layer: LayerRecord,
        /// Why.
        reason: String,
        /// How its nodes stand.
        ends: Vec<NodeEnd>,
    },
}

/// A node that is released.
#[derive(Debug, Clone)]
pub struct Release {
    /// Which.
    pub node: NodeId,
    /// Whether it is connected.
    pub present: bool,
    /// The push-config that brings it, where one was made.
    pub command: Option<CommandId>,
}

/// How a node stood when its rollout ended.
#[derive(Debug, Clone)]
pub struct NodeEnd {
    /// Which.
    pub node: NodeId,
    /// As operators are told.
    pub state: &'static str,
    /// Of its failure.
    pub step: String,
    /// Why it failed.
    pub reason: String,
}

/// What a layer was set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionRecord {
    /// Grows with each change of any layer.
    pub revision: i64,
    /// As it was set; nothing of it is pending here.
    pub layer: LayerRecord,
    /// The rollout that brought it, if one did.
    pub rollout: Option<Uuid>,
}

/// A rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutRecord {
    /// Its id.
    pub id: Uuid,
    /// The layer it brings.
    pub scope: LayerScope,
    /// And which revision of it.
    pub revision: i64,
    /// What the layer was before; empty where there was none.
    pub previous: Vec<u8>,
    /// Where it stands.
    pub state: RolloutState,
    /// Why it was stopped or aborted.
    pub reason: String,
    /// Who began it.
    pub started_by: String,
    /// When.
    pub started_at: Millis,
    /// When it was completed or aborted.
    pub finished_at: Option<Millis>,
    /// How it goes about it.
    pub terms: Terms,
}

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutState {
    /// Batches are released as they should be.
    Running,
    /// Nothing is released until an operator says so.
    Stopped,
    /// All nodes of the layer get its document.
    Completed,
    /// All nodes of the layer got back what was before.
    Aborted,
}

impl RolloutState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Running, Self::Stopped, Self::Completed, Self::Aborted];

    /// As operators are told, and as it is stored.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Completed => "completed",
            Self::Aborted => "aborted",
        }
    }
}

/// A node of a rollout.
#[derive(Debug, Clone)]
pub struct RolloutNodeRecord {
    /// Which.
    pub node: NodeId,
    /// 1 for the first batch; 0 where it is not released.
    pub batch: u32,
    /// When it was.
    pub released_at: Option<Millis>,
    /// Whether it was connected then.
    pub present: bool,
    /// It failed before an operator resumed the rollout.
    pub forgiven: bool,
    /// The push-config that brings it, with what became of it.
    pub command: Option<CommandId>,
    /// `None` where there is no such command any more.
    pub command_state: Option<CommandState>,
    /// Why the push-config did not succeed.
    pub command_error: Option<CommandError>,
    /// State, step and reason as they were when the rollout ended; the state is
    /// empty before that.
    pub end: (String, String, String),
}

/// A change of a rollout's state that changes no layer.
#[derive(Debug, Clone)]
pub struct Steering {
    /// Which.
    pub rollout: Uuid,
    /// Only from this state.
    pub from: RolloutState,
    /// Running or stopped.
    pub to: RolloutState,
    /// Why.
    pub reason: String,
    /// Nodes whose failures are not counted any more.
    pub forgiven: Vec<NodeId>,
}

/// Config layers and rollouts.
#[tonic::async_trait]
pub trait Layers: Send + Sync + 'static {
    /// All layers, and the revision that they have together.
    async fn layers(&self) -> Result<(i64, Vec<LayerRecord>), StoreError>;
    /// Makes a change and commits the commands that carry it to the nodes.
    /// `false`: the revision is not `expected` any more, or the rollout is not
    /// in a state in which this can happen; nothing was changed.
    async fn change_layers(
        &self,
        expected: i64,
        change: &LayerChange,
        commands: &Submission,
        audit: Option<&NewAudit>,
    ) -> Result<bool, StoreError>;
    /// What layers were set to, newest first, before this revision (0: from the
    /// newest on). `None`: all layers.
    async fn revisions(
        &self,
        scopes: Option<&[LayerScope]>,
        before: i64,
        limit: u32,
    ) -> Result<Vec<RevisionRecord>, StoreError>;
    /// What was set with this revision, if it is still kept.
    async fn revision(&self, revision: i64) -> Result<Option<RevisionRecord>, StoreError>;
    /// Newest first.
    async fn rollouts(&self, limit: u32) -> Result<Vec<RolloutRecord>, StoreError>;
    /// Up to `limit` ids that begin with this text.
    async fn rollout_ids(&self, prefix: &str, limit: u32) -> Result<Vec<Uuid>, StoreError>;
    /// One rollout with its nodes, in the order in which they get it.
    async fn rollout(
        &self,
        id: Uuid,
    ) -> Result<Option<(RolloutRecord, Vec<RolloutNodeRecord>)>, StoreError>;
    /// `false`: the rollout is not in the state `from`; nothing was changed.
    async fn steer_rollout(
        &self,
        steering: &Steering,
        audit: Option<&NewAudit>,
    ) -> Result<bool, StoreError>;
}
