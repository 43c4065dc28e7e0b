//! Forgetting commands that are over.

use std::collections::HashSet;

use sqlx::Row;

use super::super::transaction::Write;
use crate::{store::StoreError, time::Millis};

/// Forgets up to `most` commands that ended before this time, oldest first, and
/// the request ids of submissions of which nothing is left.
pub(super) async fn prune(mut tx: Write, before: Millis, most: u32) -> Result<u32, StoreError> {
    let rows = sqlx::query(
        "SELECT command_id, group_id FROM commands WHERE ended_at < $1 AND state >= 5 \
         ORDER BY ended_at LIMIT $2",
    )
    .bind(before)
    .bind(most)
    .fetch_all(&mut *tx)
    .await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let mut groups = HashSet::new();
    for row in &rows {
        groups.insert(row.try_get::<&str, _>("group_id")?);
        sqlx::query("DELETE FROM commands WHERE command_id = $1")
            .bind(row.try_get::<&str, _>("command_id")?)
            .execute(&mut *tx)
            .await?;
    }
    for group in groups {
        sqlx::query(
            "DELETE FROM submissions WHERE group_id = $1 \
             AND NOT EXISTS (SELECT 1 FROM commands WHERE commands.group_id = $1)",
        )
        .bind(group)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(u32::try_from(rows.len()).unwrap_or(u32::MAX))
}
