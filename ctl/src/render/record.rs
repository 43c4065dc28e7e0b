//! Enrolment tokens, events, the audit log.

use chrono::{DateTime, Utc};

use super::{ago, dash, prefix, short, table::table};
use crate::document::{AuditEntry, EnrolmentToken, Event};

/// `enrol list`.
pub fn tokens(tokens: &[EnrolmentToken], now: DateTime<Utc>) -> String {
    if tokens.is_empty() {
        return "No enrolment tokens.".into();
    }
    table(
        [
            "TOKEN ID", "STATE", "FOR NODE", "SPENT BY", "CREATED", "EXPIRES", "NOTE",
        ],
        tokens.iter().map(|token| {
            [
                token.token_id.clone(),
                token.state.clone(),
                token.node_id.clone().unwrap_or_else(|| "any".into()),
                dash(token.spent_by.as_deref()),
                ago(now, token.created_at),
                ago(now, token.expires_at),
                token.note.clone().unwrap_or_default(),
            ]
        }),
    )
}

/// `events`.
pub fn events(events: &[Event], now: DateTime<Utc>) -> String {
    if events.is_empty() {
        return "No events.".into();
    }
    table(
        ["ID", "AT", "EVENT", "NODE", "COMMAND", "MESSAGE"],
        events.iter().map(|event| {
            [
                event.event_id.to_string(),
                ago(now, event.at),
                event.kind.clone(),
                event.node_id.as_deref().map_or_else(|| "-".into(), short),
                event
                    .command_id
                    .as_deref()
                    .map_or_else(|| "-".into(), |id| prefix(id, 13)),
                event.message.clone(),
            ]
        }),
    )
}

/// `audit`.
pub fn audit(entries: &[AuditEntry], now: DateTime<Utc>) -> String {
    if entries.is_empty() {
        return "The audit log is empty.".into();
    }
    table(
        ["ID", "AT", "OPERATOR", "ACTION", "RESULT", "DETAIL"],
        entries.iter().map(|entry| {
            [
                entry.audit_id.to_string(),
                ago(now, entry.at),
                entry.operator.clone(),
                entry.action.clone(),
                entry.result.clone(),
                entry
                    .detail
                    .as_ref()
                    .map_or_else(String::new, ToString::to_string),
            ]
        }),
    )
}
