//! The command queue.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use aegis_proto::{CommandId, GroupId, NodeId, worker::v1::CommandState};
use prost::Message;
use sqlx::{Connection, Row};

use super::{SqliteStore, log, rows};
use crate::{
    command::Step,
    kill_point::kill_point,
    store::{
        CommandFilter, CommandRecord, Commands, Due, Finish, Finished, NewAudit, StoreError,
        Submission, Submitted, Window,
    },
    time::Millis,
};

/// Everything but payload, response, output and receipt.
macro_rules! summary {
    () => {
        "command_id, group_id, node_id, name, state, issuer, traceparent, created_at, not_before, \
         start_by, timeout_ms, delivery, delivered_at, started_at, finished_at, attempt, \
         cancel_requested, cancel_reason, error, output_cut, \
         COALESCE(LENGTH(output), 0) AS output_bytes"
    };
}

/// Everything but the output.
macro_rules! full {
    () => {
        concat!(
            summary!(),
            ", payload, response, receipt, receipt_signature, receipt_key"
        )
    };
}

/// The states from 5 on are final; see `aegis.worker.v1.CommandState`.
macro_rules! open {
    () => {
        "state < 5"
    };
}

/// Sent, and not final.
macro_rules! in_hand {
    () => {
        "state < 5 AND state > 1"
    };
}

/// Not sent. The index of open commands serves it because it says so.
macro_rules! queued {
    () => {
        "state < 5 AND state = 1"
    };
}

mod due;
mod parts;
mod prune;

pub(super) use parts::{advance_all, end_all, finish_one, insert_all, insert_new};
use parts::{earlier, end, fetch};

#[tonic::async_trait]
impl Commands for SqliteStore {
    async fn submit(
        &self,
        submission: Arc<Submission>,
        audit: NewAudit,
    ) -> Result<Submitted, StoreError> {
        self.committer.submit(submission, audit).await
    }

    async fn submitted(
        &self,
        request_id: &str,
        digest: &[u8; 32],
    ) -> Result<Option<Submitted>, StoreError> {
        let mut connection = self.read.lend().await?;
        let mut tx = connection.begin().await?;
        earlier(&mut tx, request_id, digest).await
    }

    async fn command(&self, id: CommandId) -> Result<Option<CommandRecord>, StoreError> {
        sqlx::query(concat!(
            "SELECT ",
            full!(),
            " FROM commands WHERE command_id = $1"
        ))
        .bind(id.to_string())
        .fetch_optional(&mut *self.read.lend().await?)
        .await?
        .as_ref()
        .map(rows::command)
        .transpose()
    }

    async fn command_ids(&self, prefix: &str, limit: u32) -> Result<Vec<CommandId>, StoreError> {
        // "g" sorts after every character of an id.
        sqlx::query(
            "SELECT command_id FROM commands WHERE command_id >= $1 AND command_id < $1 || 'g' \
             ORDER BY command_id LIMIT $2",
        )
        .bind(prefix)
        .bind(limit)
        .fetch_all(&mut *self.read.lend().await?)
        .await?
        .iter()
        .map(|row| rows::command_id(row.try_get("command_id")?))
        .collect()
    }

    async fn output(&self, id: CommandId) -> Result<Vec<u8>, StoreError> {
        let row = sqlx::query("SELECT output FROM commands WHERE command_id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *self.read.lend().await?)
            .await?;
        let output: Option<Vec<u8>> = row.map(|row| row.try_get("output")).transpose()?.flatten();
        Ok(output.unwrap_or_default())
    }

    async fn list(&self, filter: &CommandFilter) -> Result<Vec<CommandRecord>, StoreError> {
        let states: i64 = filter
            .states
            .iter()
            .fold(0, |bits, state| bits | (1 << *state as i64));
        let mut found = Vec::new();
        // Nodes are chosen here, page by page, as no portable statement takes a list.
        let one = match filter.nodes.as_deref() {
            Some([]) => return Ok(found),
            Some([node]) => Some(node.to_string()),
            _ => None,
        };
        let mut before = filter.before.map(|id| id.to_string());
        let page = filter.limit.max(1).saturating_mul(2).min(1000);
        while found.len() < filter.limit as usize {
            let rows = sqlx::query(concat!(
                "SELECT ",
                summary!(),
                " FROM commands WHERE ($1 IS NULL OR node_id = $1) \
                 AND ($2 = 0 OR (($2 >> state) & 1) = 1) \
                 AND ($3 IS NULL OR group_id = $3) \
                 AND ($4 IS NULL OR command_id < $4) \
                 ORDER BY command_id DESC LIMIT $5"
            ))
            .bind(&one)
            .bind(states)
            .bind(filter.group.map(|group| group.to_string()))
            .bind(&before)
            .bind(page)
            .fetch_all(&mut *self.read.lend().await?)
            .await?;
            let end = rows.len() < page as usize;
            for row in &rows {
                let record = rows::command_summary(row)?;
                before = Some(record.id.to_string());
                let wanted = filter
                    .nodes
                    .as_ref()
                    .is_none_or(|ids| ids.contains(&record.node));
                if wanted && found.len() < filter.limit as usize {
                    found.push(record);
                }
            }
            if end {
                break;
            }
        }
        Ok(found)
    }

    async fn group(&self, group: GroupId) -> Result<Vec<CommandRecord>, StoreError> {
        sqlx::query(concat!(
            "SELECT ",
            full!(),
            " FROM commands WHERE group_id = $1 ORDER BY command_id"
        ))
        .bind(group.to_string())
        .fetch_all(&mut *self.read.lend().await?)
        .await?
        .iter()
        .map(rows::command)
        .collect()
    }

    async fn open(&self, node: NodeId) -> Result<Vec<CommandRecord>, StoreError> {
        sqlx::query(concat!(
            "SELECT ",
            summary!(),
            " FROM commands WHERE node_id = $1 AND ",
            open!(),
            " ORDER BY command_id"
        ))
        .bind(node.to_string())
        .fetch_all(&mut *self.read.lend().await?)
        .await?
        .iter()
        .map(rows::command_summary)
        .collect()
    }

    async fn open_named(&self, node: NodeId, name: &str) -> Result<Vec<CommandRecord>, StoreError> {
        sqlx::query(concat!(
            "SELECT ",
            summary!(),
            " FROM commands WHERE node_id = $1 AND ",
            open!(),
            " AND name = $2 ORDER BY command_id"
        ))
        .bind(node.to_string())
        .bind(name)
        .fetch_all(&mut *self.read.lend().await?)
        .await?
        .iter()
        .map(rows::command_summary)
        .collect()
    }

    async fn in_hand(&self, node: NodeId) -> Result<Vec<CommandRecord>, StoreError> {
        sqlx::query(concat!(
            "SELECT ",
            summary!(),
            " FROM commands WHERE node_id = $1 AND ",
            in_hand!(),
            " ORDER BY command_id"
        ))
        .bind(node.to_string())
        .fetch_all(&mut *self.read.lend().await?)
        .await?
        .iter()
        .map(rows::command_summary)
        .collect()
    }

    async fn queued(&self, node: NodeId) -> Result<HashSet<CommandId>, StoreError> {
        sqlx::query(concat!(
            "SELECT command_id FROM commands WHERE node_id = $1 AND ",
            queued!()
        ))
        .bind(node.to_string())
        .fetch_all(&mut *self.read.lend().await?)
        .await?
        .iter()
        .map(|row| rows::command_id(row.try_get("command_id")?))
        .collect()
    }

    async fn due(
        &self,
        node: NodeId,
        now: Millis,
        window: &Window,
        limit: usize,
    ) -> Result<Due, StoreError> {
        due::due(&mut *self.read.lend().await?, node, now, window, limit).await
    }

    async fn open_count(&self, node: NodeId) -> Result<u32, StoreError> {
        let row = sqlx::query(concat!(
            "SELECT COUNT(*) AS open FROM commands WHERE node_id = $1 AND ",
            open!()
        ))
        .bind(node.to_string())
        .fetch_one(&mut *self.read.lend().await?)
        .await?;
        Ok(u32::try_from(row.try_get::<i64, _>("open")?).unwrap_or(u32::MAX))
    }

    async fn open_counts(&self) -> Result<HashMap<NodeId, u32>, StoreError> {
        sqlx::query(concat!(
            "SELECT node_id, COUNT(*) AS open FROM commands WHERE ",
            open!(),
            " GROUP BY node_id"
        ))
        .fetch_all(&mut *self.read.lend().await?)
        .await?
        .iter()
        .map(|row| {
            let open = u32::try_from(row.try_get::<i64, _>("open")?).unwrap_or(u32::MAX);
            Ok((rows::node_id(row.try_get("node_id")?)?, open))
        })
        .collect()
    }

    async fn advance(
        &self,
        node: NodeId,
        steps: &[(CommandId, Step)],
        at: Millis,
    ) -> Result<Vec<CommandRecord>, StoreError> {
        if steps.iter().any(|(_, step)| *step == Step::Deliver) {
            return self.committer.advance(node, steps.to_vec(), at).await;
        }
        let mut tx = self.relaxed().await?;
        let changed = advance_all(&mut tx, node, steps, at).await?;
        if !changed.is_empty() {
            tx.commit().await?;
        }
        Ok(changed)
    }

    async fn finish(&self, finishes: Vec<Finish>) -> Result<Vec<Finished>, StoreError> {
        self.committer.finish(finishes).await
    }

    async fn request_cancel(
        &self,
        id: CommandId,
        reason: &str,
        at: Millis,
        audit: &NewAudit,
    ) -> Result<Option<CommandRecord>, StoreError> {
        let mut tx = self.durable().await?;
        let Some(mut command) = fetch(&mut tx, id, false).await? else {
            return Ok(None);
        };
        if command.cancel(reason, at) {
            sqlx::query(
                "UPDATE commands SET state = $2, cancel_requested = TRUE, cancel_reason = $3, \
                 finished_at = $4, ended_at = $4, error = $5 WHERE command_id = $1",
            )
            .bind(id.to_string())
            .bind(command.state as i32)
            .bind(reason)
            .bind(command.finished_at)
            .bind(command.error.as_ref().map(Message::encode_to_vec))
            .execute(&mut *tx)
            .await?;
        }
        log::insert_audit(&mut tx, audit).await?;
        kill_point!("cancel.committing");
        tx.commit().await?;
        kill_point!("cancel.committed");
        Ok(Some(command))
    }

    async fn expire(&self, now: Millis, limit: u32) -> Result<Vec<CommandId>, StoreError> {
        let due = sqlx::query(
            "SELECT command_id FROM commands WHERE state = $1 AND start_by <= $2 LIMIT $3",
        )
        .bind(CommandState::Queued as i32)
        .bind(now)
        .bind(limit)
        .fetch_all(&mut *self.read.lend().await?)
        .await?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.durable().await?;
        let mut expired = Vec::new();
        for row in &due {
            let id = rows::command_id(row.try_get("command_id")?)?;
            if end(&mut tx, id, Step::Expire, now).await? {
                expired.push(id);
            }
        }
        kill_point!("expire.committing");
        tx.commit().await?;
        kill_point!("expire.committed");
        Ok(expired)
    }

    async fn ended_beyond(&self, keep: u32) -> Result<Option<Millis>, StoreError> {
        let row = sqlx::query(
            "SELECT ended_at FROM commands WHERE ended_at IS NOT NULL \
             ORDER BY ended_at DESC LIMIT 1 OFFSET $1",
        )
        .bind(keep)
        .fetch_optional(&mut *self.read.lend().await?)
        .await?;
        Ok(row.map(|row| row.try_get("ended_at")).transpose()?)
    }

    async fn prune_commands(&self, before: Millis, most: u32) -> Result<u32, StoreError> {
        prune::prune(self.relaxed().await?, before, most).await
    }
}
