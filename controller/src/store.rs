//! What lasts: nodes, enrolment tokens, commands, config layers, allowed
//! plugins, events and the audit log. Liveness is not here; see the directory.
//!
//! A method is one transaction. What an operator changes takes its
//! [`NewAudit`] along, so that the change and its audit entry are committed
//! together.

mod allowed_plugins;
mod error;
mod groups;
mod layers;
mod queue;
mod records;
mod sqlite;

use std::sync::Arc;

use aegis_proto::{
    CommandId, NodeId,
    cluster::v1::{NodeCapabilities, NodeRole},
    worker::v1::{ConfigStatus, Hello},
};

pub use allowed_plugins::{AllowedPlugin, AllowedPluginList, AllowedPlugins};
pub use error::StoreError;
pub use groups::{GroupRecord, Groups};
pub use layers::{
    LayerChange, LayerRecord, LayerScope, Layers, NodeEnd, Pending, Release, RevisionRecord,
    RolloutNodeRecord, RolloutRecord, RolloutState, Steering,
};
pub use queue::{Commands, Due, Finish, Finished, Seen, Submission, Submitted, Window};
pub use records::{
    AuditRecord, CommandFilter, CommandRecord, EventRecord, NewAudit, NewEvent, NodeRecord,
    TokenRecord, TokenRefusal,
};
pub use sqlite::SqliteStore;

use crate::time::Millis;

/// A store that every part of the controller shares.
pub type SharedStore = Arc<dyn Store>;

/// Everything that lasts.
#[tonic::async_trait]
pub trait Store:
    Nodes + EnrolmentTokens + Commands + Groups + Layers + AllowedPlugins + Log
{
    /// Writes something small, to see whether the disk takes it.
    async fn probe(&self) -> Result<(), StoreError>;
    /// Bytes that it fills, without what it has freed.
    async fn size(&self) -> Result<u64, StoreError>;
}

/// Nodes and their pinned keys; small facts about the cluster itself.
#[tonic::async_trait]
pub trait Nodes: Send + Sync + 'static {
    /// The value under this name; `initial` where there was none.
    async fn meta(&self, name: &str, initial: &[u8]) -> Result<Vec<u8>, StoreError>;
    /// All of them.
    async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError>;
    /// What an attestation of a known node may change.
    async fn reattest(
        &self,
        id: NodeId,
        role: NodeRole,
        capabilities: &NodeCapabilities,
        grpc_address: &str,
    ) -> Result<(), StoreError>;
    /// Registers a node, or a deregistered one again.
    async fn register(
        &self,
        id: NodeId,
        capabilities: &NodeCapabilities,
        grpc_address: &str,
        at: Millis,
    ) -> Result<(), StoreError>;
    /// Keeps the node and its key.
    async fn deregister(&self, id: NodeId) -> Result<(), StoreError>;
    /// What a worker says of itself at the start of a session.
    async fn set_facts(&self, id: NodeId, facts: &Hello) -> Result<(), StoreError>;
    /// What a worker says of its config.
    async fn set_config_status(&self, id: NodeId, status: &ConfigStatus) -> Result<(), StoreError>;
    /// Bans with a reason, or unbans with `None`.
    async fn set_banned(
        &self,
        id: NodeId,
        reason: Option<&str>,
        audit: &NewAudit,
    ) -> Result<(), StoreError>;
    /// Forgets the node and its key and ends its open commands, whose ids it returns.
    async fn evict(
        &self,
        id: NodeId,
        at: Millis,
        audit: &NewAudit,
    ) -> Result<Vec<CommandId>, StoreError>;
}

/// Enrolment tokens, of which only the SHA-256 is kept.
#[tonic::async_trait]
pub trait EnrolmentTokens: Send + Sync + 'static {
    /// Adds an open token.
    async fn create_token(
        &self,
        token: &TokenRecord,
        hash: &[u8; 32],
        audit: &NewAudit,
    ) -> Result<(), StoreError>;
    /// Revokes a token that is not spent, and returns it as it was; `None`
    /// where there is none.
    async fn revoke_token(
        &self,
        token_id: &str,
        at: Millis,
        audit: &NewAudit,
    ) -> Result<Option<TokenRecord>, StoreError>;
    /// All of them, oldest first.
    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError>;
    /// Whether `node` could spend the token now. Spends nothing.
    async fn check_token(
        &self,
        hash: &[u8; 32],
        node: NodeId,
        now: Millis,
    ) -> Result<Result<(), TokenRefusal>, StoreError>;
    /// Spends the token and pins the node's key, both or neither.
    async fn enrol(
        &self,
        hash: &[u8; 32],
        node: &NodeRecord,
        now: Millis,
    ) -> Result<Result<(), TokenRefusal>, StoreError>;
}

/// Events and the audit log.
#[tonic::async_trait]
pub trait Log: Send + Sync + 'static {
    /// Adds an event. A crash may lose the last ones.
    async fn append_event(&self, event: &NewEvent) -> Result<(), StoreError>;
    /// Newest last: the first `limit` after `after`, or the newest `limit`
    /// where `after` is 0.
    async fn events(
        &self,
        after: i64,
        limit: u32,
        node: Option<NodeId>,
    ) -> Result<Vec<EventRecord>, StoreError>;
    /// Forgets up to `most` events that are older than this time, or that are
    /// not among the newest `keep`; oldest first. Returns how many.
    async fn prune_events(&self, before: Millis, keep: u32, most: u32) -> Result<u32, StoreError>;
    /// As [`Log::prune_events`].
    async fn prune_audit(&self, before: Millis, keep: u32, most: u32) -> Result<u32, StoreError>;
    /// Adds an audit entry by itself, as for a refused call.
    async fn append_audit(&self, audit: &NewAudit) -> Result<(), StoreError>;
    /// As [`Log::events`].
    async fn audit(&self, after: i64, limit: u32) -> Result<Vec<AuditRecord>, StoreError>;
}
