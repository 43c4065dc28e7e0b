//! Between rows and records.

use aegis_proto::{CommandId, GroupId, NodeId, cluster::v1::NodeRole, worker::v1::CommandState};
use ed25519_dalek::VerifyingKey;
use prost::Message;
use sqlx::{Row, sqlite::SqliteRow};

use crate::store::{
    AuditRecord, CommandRecord, EventRecord, LayerRecord, LayerScope, NodeRecord, StoreError,
    TokenRecord,
};

pub(super) fn node_id(text: &str) -> Result<NodeId, StoreError> {
    text.parse()
        .map_err(|_| StoreError::Malformed { what: "node id" })
}

pub(super) fn command_id(text: &str) -> Result<CommandId, StoreError> {
    text.parse()
        .map_err(|_| StoreError::Malformed { what: "command id" })
}

pub(super) fn group_id(text: &str) -> Result<GroupId, StoreError> {
    text.parse()
        .map_err(|_| StoreError::Malformed { what: "group id" })
}

pub(super) fn state(row: &SqliteRow) -> Result<CommandState, StoreError> {
    CommandState::try_from(row.try_get::<i32, _>("state")?).map_err(|_| StoreError::Malformed {
        what: "command state",
    })
}

fn message<M: Message + Default>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<Option<M>, StoreError> {
    let bytes: Option<Vec<u8>> = row.try_get(column)?;
    bytes
        .map(|bytes| M::decode(&bytes[..]))
        .transpose()
        .map_err(|_| StoreError::Malformed { what: column })
}

fn unsigned(row: &SqliteRow, column: &'static str) -> Result<u64, StoreError> {
    u64::try_from(row.try_get::<i64, _>(column)?)
        .map_err(|_| StoreError::Malformed { what: column })
}

fn small(row: &SqliteRow, column: &'static str) -> Result<u32, StoreError> {
    u32::try_from(unsigned(row, column)?).map_err(|_| StoreError::Malformed { what: column })
}

pub(super) fn node(row: &SqliteRow) -> Result<NodeRecord, StoreError> {
    let key: Vec<u8> = row.try_get("public_key")?;
    let malformed_key = StoreError::Malformed { what: "public key" };
    let banned: bool = row.try_get("banned")?;
    Ok(NodeRecord {
        id: node_id(row.try_get("node_id")?)?,
        role: NodeRole::try_from(row.try_get::<i32, _>("role")?).unwrap_or(NodeRole::Unspecified),
        public_key: VerifyingKey::try_from(&key[..]).map_err(|_| malformed_key)?,
        capabilities: message(row, "capabilities")?.unwrap_or_default(),
        grpc_address: row.try_get("grpc_address")?,
        enrolled_at: row.try_get("enrolled_at")?,
        registered_at: row.try_get("registered_at")?,
        deregistered: row.try_get("deregistered")?,
        banned: banned.then(|| row.try_get("ban_reason")).transpose()?,
        facts: message(row, "facts")?,
        config_status: message(row, "config_status")?,
    })
}

pub(super) fn token(row: &SqliteRow) -> Result<TokenRecord, StoreError> {
    let id_column = |column| -> Result<Option<NodeId>, StoreError> {
        row.try_get::<Option<&str>, _>(column)?
            .map(node_id)
            .transpose()
    };
    Ok(TokenRecord {
        id: row.try_get("token_id")?,
        node: id_column("node_id")?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        revoked_at: row.try_get("revoked_at")?,
        spent_by: id_column("spent_by")?,
        note: row.try_get("note")?,
    })
}

/// Without payload, response and receipt.
pub(super) fn command_summary(row: &SqliteRow) -> Result<CommandRecord, StoreError> {
    Ok(CommandRecord {
        id: command_id(row.try_get("command_id")?)?,
        group: group_id(row.try_get("group_id")?)?,
        node: node_id(row.try_get("node_id")?)?,
        name: row.try_get("name")?,
        payload: Vec::new(),
        state: state(row)?,
        issuer: row.try_get("issuer")?,
        traceparent: row.try_get("traceparent")?,
        created_at: row.try_get("created_at")?,
        not_before: row.try_get("not_before")?,
        start_by: row.try_get("start_by")?,
        timeout_ms: row.try_get("timeout_ms")?,
        delivery: small(row, "delivery")?,
        delivered_at: row.try_get("delivered_at")?,
        started_at: row.try_get("started_at")?,
        finished_at: row.try_get("finished_at")?,
        attempt: small(row, "attempt")?,
        cancel_requested: row.try_get("cancel_requested")?,
        cancel_reason: row.try_get("cancel_reason")?,
        response: Vec::new(),
        error: message(row, "error")?,
        output_bytes: unsigned(row, "output_bytes")?,
        output_cut: unsigned(row, "output_cut")?,
        receipt: Vec::new(),
        receipt_signature: Vec::new(),
        receipt_key: Vec::new(),
    })
}

/// In full, but for the output.
pub(super) fn command(row: &SqliteRow) -> Result<CommandRecord, StoreError> {
    let bytes = |column| -> Result<Vec<u8>, StoreError> {
        Ok(row
            .try_get::<Option<Vec<u8>>, _>(column)?
            .unwrap_or_default())
    };
    Ok(CommandRecord {
        payload: bytes("payload")?,
        response: bytes("response")?,
        receipt: bytes("receipt")?,
        receipt_signature: bytes("receipt_signature")?,
        receipt_key: bytes("receipt_key")?,
        ..command_summary(row)?
    })
}

/// Nothing of it is pending.
pub(super) fn layer(row: &SqliteRow) -> Result<LayerRecord, StoreError> {
    Ok(LayerRecord {
        scope: scope(row)?,
        document: row.try_get("document")?,
        set_by: row.try_get("set_by")?,
        set_at: row.try_get("set_at")?,
        pending: None,
    })
}

pub(super) fn scope(row: &SqliteRow) -> Result<LayerScope, StoreError> {
    let name: String = row.try_get("name")?;
    match row.try_get::<&str, _>("scope")? {
        "global" => Ok(LayerScope::Global),
        "tag" => Ok(LayerScope::Tag(name)),
        "node" => Ok(LayerScope::Node(node_id(&name)?)),
        _ => Err(StoreError::Malformed {
            what: "config scope",
        }),
    }
}

pub(super) fn event(row: &SqliteRow) -> Result<EventRecord, StoreError> {
    Ok(EventRecord {
        id: row.try_get("event_id")?,
        at: row.try_get("at")?,
        kind: row.try_get("kind")?,
        node: row.try_get("node_id")?,
        command: row.try_get("command_id")?,
        message: row.try_get("message")?,
    })
}

pub(super) fn audit(row: &SqliteRow) -> Result<AuditRecord, StoreError> {
    Ok(AuditRecord {
        id: row.try_get("audit_id")?,
        at: row.try_get("at")?,
        operator: row.try_get("operator")?,
        action: row.try_get("action")?,
        detail: row.try_get("detail")?,
        result: row.try_get("result")?,
    })
}
