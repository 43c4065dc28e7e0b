//! Groups, read from their commands.

use aegis_proto::GroupId;
use sqlx::Row;

use super::{SqliteStore, rows};
use crate::{
    command::is_final,
    store::{GroupRecord, Groups, StoreError},
    time::Millis,
};

#[tonic::async_trait]
impl Groups for SqliteStore {
    async fn group_ids(&self, prefix: &str, limit: u32) -> Result<Vec<GroupId>, StoreError> {
        // 'g' is the first letter behind the hexadecimal digits.
        sqlx::query(
            "SELECT DISTINCT group_id FROM commands WHERE group_id >= $1 AND group_id < $1 || 'g' \
             ORDER BY group_id LIMIT $2",
        )
        .bind(prefix)
        .bind(limit)
        .fetch_all(&mut *self.read.lend().await?)
        .await?
        .iter()
        .map(|row| rows::group_id(row.try_get("group_id")?))
        .collect()
    }

    async fn group_counts(&self, id: GroupId) -> Result<Option<GroupRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT state, COUNT(*) AS commands, MIN(name) AS name, MIN(issuer) AS issuer, \
             MIN(created_at) AS created_at, MAX(finished_at) AS finished_at \
             FROM commands WHERE group_id = $1 GROUP BY state ORDER BY state",
        )
        .bind(id.to_string())
        .fetch_all(&mut *self.read.lend().await?)
        .await?;
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        let mut group = GroupRecord {
            id,
            name: first.try_get("name")?,
            issuer: first.try_get("issuer")?,
            created_at: first.try_get("created_at")?,
            counts: Vec::with_capacity(rows.len()),
            finished_at: None,
        };
        for row in &rows {
            let commands = u32::try_from(row.try_get::<i64, _>("commands")?).unwrap_or(u32::MAX);
            group.counts.push((rows::state(row)?, commands));
            let ended: Option<Millis> = row.try_get("finished_at")?;
            group.finished_at = group.finished_at.max(ended);
        }
        if !group.counts.iter().all(|(state, _)| is_final(*state)) {
            group.finished_at = None;
        }
        Ok(Some(group))
    }
}
