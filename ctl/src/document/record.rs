//! What the controller keeps a record of: enrolment tokens, events, the audit log.

use aegis_proto::operator::v1;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::{json, some, time};

/// `enrol`: the only time that the token is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewEnrolmentToken {
    pub enrolment_token: String,
    pub token_id: String,
    pub node_id: Option<String>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// One line of `enrol list`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EnrolmentToken {
    pub token_id: String,
    /// "open", "spent", "expired" or "revoked".
    pub state: String,
    /// The only node that may spend it.
    pub node_id: Option<String>,
    pub spent_by: Option<String>,
    pub note: Option<String>,
    pub created_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// One line of `events`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    pub event_id: u64,
    pub at: Option<DateTime<Utc>>,
    pub kind: String,
    pub node_id: Option<String>,
    pub command_id: Option<String>,
    pub message: String,
}

/// One line of `audit`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditEntry {
    pub audit_id: u64,
    pub at: Option<DateTime<Utc>>,
    pub operator: String,
    pub action: String,
    pub detail: Option<Value>,
    pub result: String,
}

impl From<v1::EnrolmentToken> for EnrolmentToken {
    fn from(token: v1::EnrolmentToken) -> Self {
        Self {
            created_at: time(token.created_at.as_ref()),
            expires_at: time(token.expires_at.as_ref()),
            token_id: token.token_id,
            state: token.state,
            node_id: some(token.node_id),
            spent_by: some(token.spent_by),
            note: some(token.note),
        }
    }
}

impl From<v1::Event> for Event {
    fn from(event: v1::Event) -> Self {
        Self {
            event_id: event.event_id,
            at: time(event.at.as_ref()),
            kind: event.kind,
            node_id: some(event.node_id),
            command_id: some(event.command_id),
            message: event.message,
        }
    }
}

impl From<v1::AuditEntry> for AuditEntry {
    fn from(entry: v1::AuditEntry) -> Self {
        Self {
            audit_id: entry.audit_id,
            at: time(entry.at.as_ref()),
            operator: entry.operator,
            action: entry.action,
            detail: json(entry.detail.as_bytes()),
            result: entry.result,
        }
    }
}
