//! The command queue.

use std::collections::HashMap;

use aegis_proto::{CommandId, GroupId, NodeId, worker::v1::CommandState};
use prost::Message;
use sqlx::Row;

use super::{SqliteStore, log, rows};
use crate::{
    command::{Step, is_final, step},
    store::{
        CommandFilter, CommandRecord, Commands, Due, Finish, Finished, NewAudit, StoreError,
        Submission, Submitted,
    },
    time::Millis,
};

/// Everything but payload, response, output and receipt.
macro_rules! summary {
    () => {
        "command_id, group_id, node_id, name, state, issuer, traceparent, created_at, not_before, \
         start_by, timeout_ms, delivery, delivered_at, started_at, finished_at, attempt, \
         cancel_requested, cancel_reason, error, output_cut"
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

mod parts;

use parts::{earlier, end, fetch, finish_one};
pub(super) use parts::{end_all, insert_all};

#[tonic::async_trait]
impl Commands for SqliteStore {
    async fn submit(
        &self,
        submission: &Submission,
        audit: &NewAudit,
    ) -> Result<Submitted, StoreError> {
        let mut tx = self.durable().await?;
        if let Some(request_id) = &submission.request_id {
            let earlier = earlier(&mut tx, request_id, &submission.digest).await?;
            if let Some(earlier) = earlier {
                return Ok(earlier);
            }
        }
        insert_all(&mut tx, submission).await?;
        log::insert_audit(&mut tx, audit).await?;
        tx.commit().await?;
        Ok(Submitted::Made)
    }

    async fn submitted(
        &self,
        request_id: &str,
        digest: &[u8; 32],
    ) -> Result<Option<Submitted>, StoreError> {
        let mut tx = self.read.begin().await?;
        earlier(&mut tx, request_id, digest).await
    }

    async fn command(&self, id: CommandId) -> Result<Option<CommandRecord>, StoreError> {
        sqlx::query(concat!(
            "SELECT ",
            full!(),
            " FROM commands WHERE command_id = $1"
        ))
        .bind(id.to_string())
        .fetch_optional(&self.read)
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
        .fetch_all(&self.read)
        .await?
        .iter()
        .map(|row| rows::command_id(row.try_get("command_id")?))
        .collect()
    }

    async fn output(&self, id: CommandId) -> Result<Vec<u8>, StoreError> {
        let row = sqlx::query("SELECT output FROM commands WHERE command_id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.read)
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
            .fetch_all(&self.read)
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
        .fetch_all(&self.read)
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
        .fetch_all(&self.read)
        .await?
        .iter()
        .map(rows::command_summary)
        .collect()
    }

    async fn due(&self, node: NodeId, now: Millis, limit: u32) -> Result<Due, StoreError> {
        let mut due = Due::default();
        let queued = sqlx::query(
            "SELECT command_id, not_before FROM commands \
             WHERE node_id = $1 AND state = $2 AND (start_by IS NULL OR start_by > $3) \
             ORDER BY CASE WHEN not_before > $3 THEN not_before ELSE 0 END, command_id LIMIT $4",
        )
        .bind(node.to_string())
        .bind(CommandState::Queued as i32)
        .bind(now)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        for row in &queued {
            match row
                .try_get::<Option<Millis>, _>("not_before")?
                .filter(|at| *at > now)
            {
                None => due
                    .deliver
                    .push(rows::command_id(row.try_get("command_id")?)?),
                Some(later) => due.next = Some(due.next.map_or(later, |next| next.min(later))),
            }
        }
        let cancelled = sqlx::query(concat!(
            "SELECT command_id, cancel_reason FROM commands WHERE node_id = $1 AND ",
            open!(),
            " AND cancel_requested"
        ))
        .bind(node.to_string())
        .fetch_all(&self.read)
        .await?;
        for row in &cancelled {
            let id = rows::command_id(row.try_get("command_id")?)?;
            due.cancel.push((id, row.try_get("cancel_reason")?));
        }
        Ok(due)
    }

    async fn open_counts(&self) -> Result<HashMap<NodeId, u32>, StoreError> {
        sqlx::query(concat!(
            "SELECT node_id, COUNT(*) AS open FROM commands WHERE ",
            open!(),
            " GROUP BY node_id"
        ))
        .fetch_all(&self.read)
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
        id: CommandId,
        what: Step,
        at: Millis,
        attempt: u32,
    ) -> Result<Option<CommandRecord>, StoreError> {
        let mut tx = self.relaxed().await?;
        let Some(mut command) = fetch(&mut tx, id).await?.filter(|c| c.node == node) else {
            return Ok(None);
        };
        let redelivered = what == Step::Deliver && !is_final(command.state);
        let next = match step(command.state, what) {
            Some(next) => next,
            None if redelivered => command.state,
            None => return Ok(None),
        };
        command.state = next;
        match what {
            Step::Deliver => {
                command.delivery = command.delivery.saturating_add(1);
                command.delivered_at.get_or_insert(at);
            }
            Step::Start => {
                command.started_at = Some(at);
                command.attempt = attempt;
            }
            _ => {}
        }
        sqlx::query(
            "UPDATE commands SET state = $2, delivery = $3, delivered_at = $4, started_at = $5, \
             attempt = $6 WHERE command_id = $1",
        )
        .bind(id.to_string())
        .bind(command.state as i32)
        .bind(command.delivery)
        .bind(command.delivered_at)
        .bind(command.started_at)
        .bind(command.attempt)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Some(command))
    }

    async fn finish(&self, finish: &Finish) -> Result<Finished, StoreError> {
        let mut tx = self.durable().await?;
        let finished = finish_one(&mut tx, finish).await?;
        if matches!(finished, Finished::Committed(_)) {
            tx.commit().await?;
        }
        Ok(finished)
    }

    async fn request_cancel(
        &self,
        id: CommandId,
        reason: &str,
        at: Millis,
        audit: &NewAudit,
    ) -> Result<Option<CommandRecord>, StoreError> {
        let mut tx = self.durable().await?;
        let Some(mut command) = fetch(&mut tx, id).await? else {
            return Ok(None);
        };
        if !is_final(command.state) {
            command.cancel_requested = true;
            command.cancel_reason = reason.to_owned();
            if let Some(next) = step(command.state, Step::Cancel) {
                command.state = next;
                command.finished_at = Some(at);
                command.error = Some(crate::outcome::cancelled(reason));
            }
            sqlx::query(
                "UPDATE commands SET state = $2, cancel_requested = TRUE, cancel_reason = $3, \
                 finished_at = $4, error = $5 WHERE command_id = $1",
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
        tx.commit().await?;
        Ok(Some(command))
    }

    async fn expire(&self, now: Millis) -> Result<Vec<CommandId>, StoreError> {
        let due = sqlx::query(
            "SELECT command_id FROM commands WHERE state = $1 AND start_by <= $2 LIMIT 1000",
        )
        .bind(CommandState::Queued as i32)
        .bind(now)
        .fetch_all(&self.read)
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
        tx.commit().await?;
        Ok(expired)
    }
}
