//! Events and the audit log.

use aegis_proto::NodeId;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{SqliteStore, rows};
use crate::{
    store::{AuditRecord, EventRecord, Log, NewAudit, NewEvent, StoreError},
    time::Millis,
};

#[tonic::async_trait]
impl Log for SqliteStore {
    async fn append_event(&self, event: &NewEvent) -> Result<(), StoreError> {
        let mut tx = self.relaxed().await?;
        sqlx::query(
            "INSERT INTO events (at, kind, node_id, command_id, message) \
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(event.at)
        .bind(event.kind)
        .bind(event.node.map(|id| id.to_string()).unwrap_or_default())
        .bind(event.command.map(|id| id.to_string()).unwrap_or_default())
        .bind(&event.message)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    async fn events(
        &self,
        after: i64,
        limit: u32,
        node: Option<NodeId>,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let query = if after > 0 {
            sqlx::query(
                "SELECT * FROM events WHERE event_id > $1 AND ($2 IS NULL OR node_id = $2) \
                 ORDER BY event_id LIMIT $3",
            )
        } else {
            sqlx::query(
                "SELECT * FROM (SELECT * FROM events \
                 WHERE event_id > $1 AND ($2 IS NULL OR node_id = $2) \
                 ORDER BY event_id DESC LIMIT $3) AS newest ORDER BY event_id",
            )
        };
        query
            .bind(after)
            .bind(node.map(|id| id.to_string()))
            .bind(limit)
            .fetch_all(&mut *self.read.lend().await?)
            .await?
            .iter()
            .map(rows::event)
            .collect()
    }

    async fn prune_events(&self, before: Millis, keep: u32, most: u32) -> Result<u32, StoreError> {
        let mut tx = self.relaxed().await?;
        let oldest = sqlx::query(
            "SELECT event_id AS id, at, (SELECT MAX(event_id) FROM events) AS newest \
             FROM events ORDER BY event_id LIMIT $1",
        )
        .bind(most)
        .fetch_all(&mut *tx)
        .await?;
        let Some((last, count)) = over(&oldest, before, keep)? else {
            return Ok(0);
        };
        sqlx::query("DELETE FROM events WHERE event_id <= $1")
            .bind(last)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(count)
    }

    async fn prune_audit(&self, before: Millis, keep: u32, most: u32) -> Result<u32, StoreError> {
        let mut tx = self.relaxed().await?;
        let oldest = sqlx::query(
            "SELECT audit_id AS id, at, (SELECT MAX(audit_id) FROM audit) AS newest \
             FROM audit ORDER BY audit_id LIMIT $1",
        )
        .bind(most)
        .fetch_all(&mut *tx)
        .await?;
        let Some((last, count)) = over(&oldest, before, keep)? else {
            return Ok(0);
        };
        sqlx::query("DELETE FROM audit WHERE audit_id <= $1")
            .bind(last)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(count)
    }

    async fn append_audit(&self, audit: &NewAudit) -> Result<(), StoreError> {
        let mut tx = self.durable().await?;
        insert_audit(&mut tx, audit).await?;
        Ok(tx.commit().await?)
    }

    async fn audit(&self, after: i64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        let query = if after > 0 {
            sqlx::query("SELECT * FROM audit WHERE audit_id > $1 ORDER BY audit_id LIMIT $2")
        } else {
            sqlx::query(
                "SELECT * FROM (SELECT * FROM audit WHERE audit_id > $1 \
                 ORDER BY audit_id DESC LIMIT $2) AS newest ORDER BY audit_id",
            )
        };
        query
            .bind(after)
            .bind(limit)
            .fetch_all(&mut *self.read.lend().await?)
            .await?
            .iter()
            .map(rows::audit)
            .collect()
    }
}

pub(super) async fn insert_audit(
    tx: &mut SqliteConnection,
    audit: &NewAudit,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit (at, operator, action, detail, result) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(audit.at)
    .bind(&audit.operator)
    .bind(audit.action)
    .bind(&audit.detail)
    .bind(audit.result)
    .execute(&mut *tx)
    .await?;
    Ok(())
}

/// Of the oldest lines, the last that is over its bounds, and how many are. A
/// line behind one that stays stays too: the clock may have been set back.
fn over(oldest: &[SqliteRow], before: Millis, keep: u32) -> Result<Option<(i64, u32)>, StoreError> {
    let mut over = None;
    for (count, row) in (1..).zip(oldest) {
        let (id, newest): (i64, i64) = (row.try_get("id")?, row.try_get("newest")?);
        if row.try_get::<Millis, _>("at")? >= before && id > newest.saturating_sub(keep.into()) {
            break;
        }
        over = Some((id, count));
    }
    Ok(over)
}
