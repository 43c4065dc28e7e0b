//! What a session has to send, at a cost that does not grow with the queue.

use std::collections::HashMap;

use aegis_proto::{CommandId, NodeId};
use sqlx::{Row, SqliteConnection};

use super::super::rows;
use crate::{
    store::{Due, StoreError, Window},
    time::Millis,
};

/// What the node has in hand; then, without an id, the names that have queued
/// commands, each found behind the one before it without a look at what lies
/// between. One statement: each costs two changes of thread.
const HELD_AND_NAMES: &str = concat!(
    "WITH RECURSIVE names (name) AS (
        SELECT MIN(name) FROM commands WHERE node_id = $1 AND ",
    queued!(),
    " UNION ALL
        SELECT (SELECT MIN(name) FROM commands WHERE node_id = $1 AND ",
    queued!(),
    " AND commands.name > names.name) FROM names WHERE names.name IS NOT NULL
    ) SELECT command_id, name, cancel_requested, cancel_reason FROM commands
        WHERE node_id = $1 AND ",
    in_hand!(),
    " UNION ALL SELECT NULL, name, FALSE, '' FROM names WHERE name IS NOT NULL"
);

/// Of one name: the oldest without a time, those whose time came first, and the
/// next whose time will come.
const CANDIDATES: &str = concat!(
    "SELECT * FROM (SELECT command_id, not_before FROM commands WHERE node_id = $1 AND ",
    queued!(),
    " AND name = $2 AND not_before IS NULL AND (start_by IS NULL OR start_by > $3)
        ORDER BY command_id LIMIT $4) AS prompt
    UNION ALL SELECT * FROM (SELECT command_id, not_before FROM commands WHERE node_id = $1 AND ",
    queued!(),
    " AND name = $2 AND not_before <= $3 AND (start_by IS NULL OR start_by > $3)
        ORDER BY not_before, command_id LIMIT $4) AS ripe
    UNION ALL SELECT * FROM (SELECT command_id, not_before FROM commands WHERE node_id = $1 AND ",
    queued!(),
    " AND name = $2 AND not_before > $3 ORDER BY not_before LIMIT 1) AS later"
);

pub(super) async fn due(
    connection: &mut SqliteConnection,
    node: NodeId,
    now: Millis,
    window: &Window,
    limit: usize,
) -> Result<Due, StoreError> {
    let mut due = Due::default();
    let rows = sqlx::query(HELD_AND_NAMES)
        .bind(node.to_string())
        .fetch_all(&mut *connection)
        .await?;
    let (mut in_hand, mut names) = (HashMap::<&str, usize>::new(), Vec::new());
    for row in &rows {
        let name = row.try_get("name")?;
        let Some(id) = row.try_get::<Option<&str>, _>("command_id")? else {
            names.push(name);
            continue;
        };
        *in_hand.entry(name).or_default() += 1;
        if row.try_get("cancel_requested")? {
            let id = rows::command_id(id)?;
            due.cancel.push((id, row.try_get("cancel_reason")?));
        }
    }
    for name in names {
        let room = window.room(name, in_hand.get(name).copied().unwrap_or(0));
        if room == 0 {
            due.held_back = true;
            continue;
        }
        let mut ripe = candidates(connection, node, name, now, limit.min(room), &mut due).await?;
        if ripe.len() > room {
            due.held_back = true;
            ripe.truncate(room);
        }
        due.deliver.extend(ripe);
    }
    // Ids grow with time.
    due.deliver.sort_unstable();
    due.more = due.deliver.len() > limit;
    due.deliver.truncate(limit);
    Ok(due)
}

/// One more than `most`, where there are as many.
async fn candidates(
    connection: &mut SqliteConnection,
    node: NodeId,
    name: &str,
    now: Millis,
    most: usize,
    due: &mut Due,
) -> Result<Vec<CommandId>, StoreError> {
    let rows = sqlx::query(CANDIDATES)
        .bind(node.to_string())
        .bind(name)
        .bind(now)
        .bind(i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1))
        .fetch_all(connection)
        .await?;
    let mut ripe = Vec::with_capacity(rows.len());
    for row in &rows {
        let not_before: Option<Millis> = row.try_get("not_before")?;
        match not_before.filter(|at| *at > now) {
            None => ripe.push(rows::command_id(row.try_get("command_id")?)?),
            Some(later) => due.next = Some(due.next.map_or(later, |next| next.min(later))),
        }
    }
    ripe.sort_unstable();
    ripe.truncate(most.saturating_add(1));
    Ok(ripe)
}
