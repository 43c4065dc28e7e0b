//! The command queue: what it is asked for and what it gives.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use aegis_proto::{
    CommandId, GroupId, NodeId,
    worker::v1::{CommandError, CommandState},
};

use super::{CommandFilter, CommandRecord, NewAudit, StoreError};
use crate::{
    command::{FinalState, Step, step},
    outcome,
    time::Millis,
};

/// The command queue.
#[tonic::async_trait]
pub trait Commands: Send + Sync + 'static {
    /// Commits all commands of a submission, or tells that it was made before.
    async fn submit(
        &self,
        submission: Arc<Submission>,
        audit: NewAudit,
    ) -> Result<Submitted, StoreError>;
    /// What came of an earlier submission with this request id, if there was one.
    async fn submitted(
        &self,
        request_id: &str,
        digest: &[u8; 32],
    ) -> Result<Option<Submitted>, StoreError>;
    /// One command without its output.
    async fn command(&self, id: CommandId) -> Result<Option<CommandRecord>, StoreError>;
    /// Up to `limit` ids that begin with this text.
    async fn command_ids(&self, prefix: &str, limit: u32) -> Result<Vec<CommandId>, StoreError>;
    /// The kept output of a finished command.
    async fn output(&self, id: CommandId) -> Result<Vec<u8>, StoreError>;
    /// Newest first, without payload, response and receipt.
    async fn list(&self, filter: &CommandFilter) -> Result<Vec<CommandRecord>, StoreError>;
    /// The commands of a group, oldest first.
    async fn group(&self, group: GroupId) -> Result<Vec<CommandRecord>, StoreError>;
    /// Commands of a node that are not final, oldest first, without payload.
    async fn open(&self, node: NodeId) -> Result<Vec<CommandRecord>, StoreError>;
    /// Those with this name alone.
    async fn open_named(&self, node: NodeId, name: &str) -> Result<Vec<CommandRecord>, StoreError>;
    /// Those that were sent, whatever their name.
    async fn in_hand(&self, node: NodeId) -> Result<Vec<CommandRecord>, StoreError>;
    /// Ids of those that no session has taken.
    async fn queued(&self, node: NodeId) -> Result<HashSet<CommandId>, StoreError>;
    /// What a session of this node has to send now: `limit` commands at the most.
    async fn due(
        &self,
        node: NodeId,
        now: Millis,
        window: &Window,
        limit: usize,
    ) -> Result<Due, StoreError>;
    /// How many commands of a node are not final.
    async fn open_count(&self, node: NodeId) -> Result<u32, StoreError>;
    /// The same of each node that has any.
    async fn open_counts(&self) -> Result<HashMap<NodeId, u32>, StoreError>;
    /// Takes steps. A power failure may undo them, for the session tells them
    /// again; but never a delivery: a command that its node may have is ended
    /// by its node alone, however long that is away. Returns the commands that
    /// the steps changed, as they are after it; with their payload where they
    /// are delivered. Commands of other nodes are left alone.
    async fn advance(
        &self,
        node: NodeId,
        steps: &[(CommandId, Step)],
        at: Millis,
    ) -> Result<Vec<CommandRecord>, StoreError>;
    /// Ends commands for good; one answer for each.
    async fn finish(&self, finishes: Vec<Finish>) -> Result<Vec<Finished>, StoreError>;
    /// Asks for an end: a queued command ends at once. Returns the command;
    /// `None` where there is none.
    async fn request_cancel(
        &self,
        id: CommandId,
        reason: &str,
        at: Millis,
        audit: &NewAudit,
    ) -> Result<Option<CommandRecord>, StoreError>;
    /// Expires up to `limit` queued commands whose `start_by` has passed, and
    /// returns their ids.
    async fn expire(&self, now: Millis, limit: u32) -> Result<Vec<CommandId>, StoreError>;
    /// When the newest of those ended that are more than `keep`; `None` where
    /// there are no more.
    async fn ended_beyond(&self, keep: u32) -> Result<Option<Millis>, StoreError>;
    /// Forgets up to `most` commands that ended before this time, oldest first,
    /// with the request ids of submissions of which nothing is left. Returns how
    /// many.
    async fn prune_commands(&self, before: Millis, most: u32) -> Result<u32, StoreError>;
}

/// The commands of one call.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Made by the caller to make a repeat harmless.
    pub request_id: Option<String>,
    /// Of the content that a repeat must have too.
    pub digest: [u8; 32],
    /// Made by the controller.
    pub group: GroupId,
    /// All queued.
    pub commands: Vec<CommandRecord>,
    /// Open commands that these replace; see [`Finish`].
    pub superseded: Vec<Finish>,
}

/// What came of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// The commands are committed.
    Made,
    /// The same request was made before, as this group.
    Repeated(GroupId),
    /// The request id was used before with another content.
    Reused,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Finish {
    /// Which command.
    pub id: CommandId,
    /// Whose it must be.
    pub node: NodeId,
    /// What it must be called; `None` where that was looked at.
    pub name: Option<String>,
    /// Where it must stand.
    pub seen: Seen,
    /// What came of it.
    pub state: FinalState,
    /// The handler's response.
    pub response: Vec<u8>,
    /// Set unless it succeeded.
    pub error: Option<CommandError>,
    /// The kept output.
    pub output: Vec<u8>,
    /// Bytes that were not kept.
    pub output_cut: u64,
    /// As the node signed it; empty where the controller derived the outcome.
    pub receipt: Vec<u8>,
    /// The node's signature over the receipt.
    pub receipt_signature: Vec<u8>,
    /// The key that verifies it.
    pub receipt_key: Vec<u8>,
    /// When its handler began.
    pub started_at: Option<Millis>,
    /// When the outcome was known, by the clock of whoever derived it.
    pub finished_at: Millis,
    /// When the controller learnt it.
    pub ended_at: Millis,
    /// Of its handler.
    pub attempt: u32,
}

/// Where a command must stand for an outcome to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// In the very state that the outcome was derived from.
    In(CommandState),
    /// Sent, and not final: what was never sent has no outcome to tell.
    InHand,
}

impl Seen {
    /// Whether an open command in this state stands there.
    pub fn fits(self, state: CommandState) -> bool {
        match self {
            Self::In(seen) => state == seen,
            Self::InHand => state != CommandState::Queued,
        }
    }
}

impl Finish {
    /// What becomes of this command of its node, which is not committed yet.
    pub fn settle(&self, mut command: CommandRecord) -> Finished {
        let Some(next) = step(command.state, Step::Finish(self.state)) else {
            return Finished::Already(Box::new(command));
        };
        if !self.seen.fits(command.state) {
            return Finished::Moved(Box::new(command));
        }
        if self.name.as_ref().is_some_and(|name| *name != command.name) {
            return Finished::Misnamed(Box::new(command));
        }
        command.state = next;
        command.started_at = self.started_at.or(command.started_at);
        command.finished_at = Some(self.finished_at);
        command.attempt = self.attempt.max(command.attempt);
        command.response = self.response.clone();
        command.error = self.error.clone();
        command.output_bytes = self.output.len() as u64;
        command.output_cut = self.output_cut;
        command.receipt = self.receipt.clone();
        command.receipt_signature = self.receipt_signature.clone();
        command.receipt_key = self.receipt_key.clone();
        Finished::Committed(Box::new(command))
    }

    /// What is committed in the place of an outcome that was derived from a
    /// state in which this command is no more: it was sent in the meantime, and
    /// may have taken effect.
    pub fn late(&self, moved: &CommandRecord) -> Self {
        Self {
            seen: Seen::InHand,
            state: FinalState::Unknown,
            error: Some(outcome::superseded_late()),
            ..Self::derived(moved, self.state, None, self.ended_at)
        }
    }

    /// An outcome that the controller derived from what the command was: no
    /// response, output or receipt.
    pub fn derived(
        command: &CommandRecord,
        state: FinalState,
        error: Option<CommandError>,
        at: Millis,
    ) -> Self {
        Self {
            id: command.id,
            node: command.node,
            name: None,
            seen: Seen::In(command.state),
            state,
            response: Vec::new(),
            error,
            output: Vec::new(),
            output_cut: 0,
            receipt: Vec::new(),
            receipt_signature: Vec::new(),
            receipt_key: Vec::new(),
            started_at: command.started_at,
            finished_at: at,
            ended_at: at,
            attempt: command.attempt,
        }
    }
}

/// What came of a [`Finish`].
#[derive(Debug)]
pub enum Finished {
    /// It is committed.
    Committed(Box<CommandRecord>),
    /// The command had ended before; nothing was changed.
    Already(Box<CommandRecord>),
    /// The command has another name; nothing was changed.
    Misnamed(Box<CommandRecord>),
    /// The command does not stand where it was seen; nothing was changed.
    Moved(Box<CommandRecord>),
    /// There is no such command, or it is another node's.
    Unknown,
}

/// How many commands of one name a node may have in hand: sent, and not final.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Of each name.
    pub each: usize,
    /// Names that are sent however many there are.
    pub exempt: &'static [&'static str],
}

impl Window {
    /// How many more may be sent.
    pub fn room(&self, name: &str, in_hand: usize) -> usize {
        if self.exempt.contains(&name) {
            usize::MAX
        } else {
            self.each.saturating_sub(in_hand)
        }
    }
}

/// What a session has to send to its node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    /// Queued commands whose time has come and for which there is room, oldest
    /// first.
    pub deliver: Vec<CommandId>,
    /// Whether there are more than were asked for.
    pub more: bool,
    /// Whether others wait for the end of what the node has in hand.
    pub held_back: bool,
    /// Commands in hand whose end was asked for, and why.
    pub cancel: Vec<(CommandId, String)>,
    /// When the next queued command's time comes, beside those held back.
    pub next: Option<Millis>,
}
