//! What the store takes and gives.

use aegis_proto::{
    CommandId, GroupId, NodeId,
    cluster::v1::{NodeCapabilities, NodeRole},
    worker::v1::{CommandError, CommandState, ConfigStatus, Hello},
};
use ed25519_dalek::VerifyingKey;

use crate::{
    command::{Step, Track, is_final, step},
    outcome,
    time::{self, Millis},
};

/// A node with its pinned key.
#[derive(Debug, Clone)]
pub struct NodeRecord {
    /// Its id.
    pub id: NodeId,
    /// As it last attested.
    pub role: NodeRole,
    /// Pinned at enrolment.
    pub public_key: VerifyingKey,
    /// As it last registered or attested.
    pub capabilities: NodeCapabilities,
    /// `host:port`, or empty.
    pub grpc_address: String,
    /// When its key was pinned.
    pub enrolled_at: Millis,
    /// When it last registered.
    pub registered_at: Option<Millis>,
    /// It said goodbye and has not registered since.
    pub deregistered: bool,
    /// Why it is banned, where it is.
    pub banned: Option<String>,
    /// Its last hello; `None` where it never opened a session.
    pub facts: Option<Hello>,
    /// The last word on its config.
    pub config_status: Option<ConfigStatus>,
}

impl NodeRecord {
    /// Whether it is a member now, whatever its health.
    pub fn is_registered(&self) -> bool {
        self.registered_at.is_some() && !self.deregistered
    }
}

/// An enrolment token, without its secret.
#[derive(Debug, Clone)]
pub struct TokenRecord {
    /// Names it without revealing it.
    pub id: String,
    /// Who alone may spend it.
    pub node: Option<NodeId>,
    /// When it was made.
    pub created_at: Millis,
    /// From when on it is refused.
    pub expires_at: Millis,
    /// When it was revoked.
    pub revoked_at: Option<Millis>,
    /// Who spent it.
    pub spent_by: Option<NodeId>,
    /// The operator's.
    pub note: String,
}

impl TokenRecord {
    /// Whether this node can spend it now.
    ///
    /// # Errors
    /// Why it can't.
    pub fn judge(&self, node: NodeId, now: Millis) -> Result<(), TokenRefusal> {
        match self.state(now) {
            "spent" => Err(TokenRefusal::Spent),
            "revoked" => Err(TokenRefusal::Revoked),
            "expired" => Err(TokenRefusal::Expired),
            _ if self.node.is_some_and(|bound| bound != node) => Err(TokenRefusal::WrongNode),
            _ => Ok(()),
        }
    }

    /// `open`, `spent`, `revoked` or `expired`.
    pub fn state(&self, now: Millis) -> &'static str {
        if self.spent_by.is_some() {
            "spent"
        } else if self.revoked_at.is_some() {
            "revoked"
        } else if self.expires_at <= now {
            "expired"
        } else {
            "open"
        }
    }
}

/// Why an enrolment token was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefusal {
    /// There is none such.
    Unknown,
    /// It is too old.
    Expired,
    /// It was used before.
    Spent,
    /// An operator revoked it.
    Revoked,
    /// Another node's.
    WrongNode,
}

/// A command as it is kept.
#[derive(Debug, Clone)]
pub struct CommandRecord {
    /// A UUIDv7.
    pub id: CommandId,
    /// Of one submission.
    pub group: GroupId,
    /// For whom.
    pub node: NodeId,
    /// Which handler.
    pub name: String,
    /// JSON in UTF-8; empty in lists.
    pub payload: Vec<u8>,
    /// Where it stands.
    pub state: CommandState,
    /// Who gave it.
    pub issuer: String,
    /// W3C trace context, or empty.
    pub traceparent: String,
    /// When it was committed.
    pub created_at: Millis,
    /// Not run earlier.
    pub not_before: Option<Millis>,
    /// Not run later.
    pub start_by: Option<Millis>,
    /// From the start of the handler.
    pub timeout_ms: Option<i64>,
    /// How often it was sent.
    pub delivery: u32,
    /// When it was first sent.
    pub delivered_at: Option<Millis>,
    /// When its handler began.
    pub started_at: Option<Millis>,
    /// When it ended.
    pub finished_at: Option<Millis>,
    /// Of its handler.
    pub attempt: u32,
    /// An operator asked for its end.
    pub cancel_requested: bool,
    /// Why.
    pub cancel_reason: String,
    /// The handler's response; empty in lists.
    pub response: Vec<u8>,
    /// Why it did not succeed.
    pub error: Option<CommandError>,
    /// Bytes of the output that are kept, once it has ended.
    pub output_bytes: u64,
    /// Bytes of output that were not kept.
    pub output_cut: u64,
    /// As the node signed it; empty in lists.
    pub receipt: Vec<u8>,
    /// The node's signature over it; empty in lists.
    pub receipt_signature: Vec<u8>,
    /// The key that verifies it; empty in lists.
    pub receipt_key: Vec<u8>,
}

impl CommandRecord {
    /// A new command without limits in time.
    pub fn queued(
        id: CommandId,
        group: GroupId,
        node: NodeId,
        name: String,
        payload: Vec<u8>,
        issuer: String,
    ) -> Self {
        Self {
            id,
            group,
            node,
            name,
            payload,
            state: CommandState::Queued,
            issuer,
            traceparent: String::new(),
            created_at: time::now(),
            not_before: None,
            start_by: None,
            timeout_ms: None,
            delivery: 0,
            delivered_at: None,
            started_at: None,
            finished_at: None,
            attempt: 0,
            cancel_requested: false,
            cancel_reason: String::new(),
            response: Vec::new(),
            error: None,
            output_bytes: 0,
            output_cut: 0,
            receipt: Vec::new(),
            receipt_signature: Vec::new(),
            receipt_key: Vec::new(),
        }
    }

    /// Asks for its end. What no session has taken ends at once; what has
    /// ended stays as it is. Returns whether that changed anything.
    pub fn cancel(&mut self, reason: &str, at: Millis) -> bool {
        if is_final(self.state) {
            return false;
        }
        self.cancel_requested = true;
        self.cancel_reason = reason.to_owned();
        if let Some(next) = step(self.state, Step::Cancel) {
            self.state = next;
            self.finished_at = Some(at);
            self.error = Some(outcome::cancelled(reason));
        }
        true
    }

    /// Ends it by a step that the controller takes alone. Returns whether that
    /// changed anything.
    pub fn end(&mut self, what: Step, at: Millis) -> bool {
        let Some(next) = step(self.state, what) else {
            return false;
        };
        self.state = next;
        self.finished_at = Some(at);
        self.error = outcome::ended_by(what, next);
        true
    }

    /// How far it has come.
    pub fn track(&self) -> Track {
        Track {
            state: self.state,
            delivery: self.delivery,
            delivered_at: self.delivered_at,
            started_at: self.started_at,
            attempt: self.attempt,
        }
    }

    /// Repeats how far it has come.
    pub fn set_track(&mut self, track: Track) {
        self.state = track.state;
        self.delivery = track.delivery;
        self.delivered_at = track.delivered_at;
        self.started_at = track.started_at;
        self.attempt = track.attempt;
    }
}

/// Which commands to list.
#[derive(Debug, Clone, Default)]
pub struct CommandFilter {
    /// `None`: of all nodes.
    pub nodes: Option<Vec<NodeId>>,
    /// Empty: all states.
    pub states: Vec<CommandState>,
    /// Of this group.
    pub group: Option<GroupId>,
    /// Older than this one.
    pub before: Option<CommandId>,
    /// At the most.
    pub limit: u32,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// When.
    pub at: Millis,
    /// As `node-registered`.
    pub kind: &'static str,
    /// Of which node, if of one.
    pub node: Option<NodeId>,
    /// Of which command, if of one.
    pub command: Option<CommandId>,
    /// For a person.
    pub message: String,
}

/// An event as it is kept.
#[derive(Debug, Clone)]
pub struct EventRecord {
    /// Grows.
    pub id: i64,
    /// When.
    pub at: Millis,
    /// As `node-registered`.
    pub kind: String,
    /// Empty where it is of no node.
    pub node: String,
    /// Empty where it is of no command.
    pub command: String,
    /// For a person.
    pub message: String,
}

/// Who did what.
#[derive(Debug, Clone)]
pub struct NewAudit {
    /// When.
    pub at: Millis,
    /// Who.
    pub operator: String,
    /// The RPC.
    pub action: &'static str,
    /// A JSON object without secrets or payloads.
    pub detail: String,
    /// `ok`, or the gRPC status code by name.
    pub result: &'static str,
}

/// An audit entry as it is kept.
#[derive(Debug, Clone)]
pub struct AuditRecord {
    /// Grows.
    pub id: i64,
    /// When.
    pub at: Millis,
    /// Who.
    pub operator: String,
    /// The RPC.
    pub action: String,
    /// A JSON object.
    pub detail: String,
    /// `ok`, or the gRPC status code by name.
    pub result: String,
}
