//! Commands of one submission, counted by what became of them.

use aegis_proto::{GroupId, worker::v1::CommandState};

use super::StoreError;
use crate::time::Millis;

/// A submission as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRecord {
    /// Its id.
    pub id: GroupId,
    /// Of the command that each of its nodes was given.
    pub name: String,
    /// Who gave it.
    pub issuer: String,
    /// When it was committed.
    pub created_at: Millis,
    /// How many commands are in each state; states without any are left out.
    pub counts: Vec<(CommandState, u32)>,
    /// When the last command ended; `None` while one is open.
    pub finished_at: Option<Millis>,
}

/// Submissions.
#[tonic::async_trait]
pub trait Groups: Send + Sync + 'static {
    /// Up to `limit` ids that begin with this text.
    async fn group_ids(&self, prefix: &str, limit: u32) -> Result<Vec<GroupId>, StoreError>;
    /// One group; `None` where it has no commands.
    async fn group_counts(&self, id: GroupId) -> Result<Option<GroupRecord>, StoreError>;
}
