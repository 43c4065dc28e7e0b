//! Rollouts and their nodes.

use std::time::Duration;

use aegis_proto::{NodeId, worker::v1::CommandError};
use prost::Message;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use uuid::Uuid;

use super::{layers::key, rows};
use crate::{
    rollout::Terms,
    store::{
        NodeEnd, Pending, Release, RolloutNodeRecord, RolloutRecord, RolloutState, Steering,
        StoreError,
    },
    time::{Millis, duration_millis},
};

/// Rollouts that are kept after their end.
const KEPT_ROLLOUTS: i64 = 100;

/// Ids of the rollouts that have ended, but for the newest ones.
macro_rules! forgotten {
    () => {
        "SELECT rollout_id FROM rollouts WHERE state IN ('completed', 'aborted') \
         ORDER BY rollout_id DESC LIMIT 1000000 OFFSET $1"
    };
}

/// Rollouts that have not ended, with what they keep from whom.
pub(super) async fn open(
    tx: &mut SqliteConnection,
) -> Result<Vec<(RolloutRecord, Pending)>, StoreError> {
    let found = sqlx::query("SELECT * FROM rollouts WHERE state IN ('running', 'stopped')")
        .fetch_all(&mut *tx)
        .await?;
    let mut open = Vec::with_capacity(found.len());
    for row in &found {
        let rollout = rollout(row)?;
        let released =
            sqlx::query("SELECT node_id FROM rollout_nodes WHERE rollout_id = $1 AND batch > 0")
                .bind(rollout.id.to_string())
                .fetch_all(&mut *tx)
                .await?
                .iter()
                .map(|row| rows::node_id(row.try_get("node_id")?))
                .collect::<Result<_, _>>()?;
        let pending = Pending {
            rollout: rollout.id,
            previous: rollout.previous.clone(),
            released,
        };
        open.push((rollout, pending));
    }
    Ok(open)
}

pub(super) async fn insert(
    tx: &mut SqliteConnection,
    revision: i64,
    rollout: &RolloutRecord,
    nodes: &[NodeId],
) -> Result<(), StoreError> {
    let (scope, name) = key(&rollout.scope);
    sqlx::query(
        "INSERT INTO rollouts (rollout_id, scope, name, revision, previous, state, started_by, \
         started_at, batch_nodes, max_failures, node_timeout_ms, pause_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(rollout.id.to_string())
    .bind(scope)
    .bind(name)
    .bind(revision)
    .bind(&rollout.previous)
    .bind(rollout.state.name())
    .bind(&rollout.started_by)
    .bind(rollout.started_at)
    .bind(rollout.terms.batch)
    .bind(rollout.terms.max_failures)
    .bind(duration_millis(rollout.terms.node_timeout))
    .bind(duration_millis(rollout.terms.pause))
    .execute(&mut *tx)
    .await?;
    for (place, node) in nodes.iter().enumerate() {
        sqlx::query("INSERT INTO rollout_nodes (rollout_id, node_id, place) VALUES ($1, $2, $3)")
            .bind(rollout.id.to_string())
            .bind(node.to_string())
            .bind(i64::try_from(place).unwrap_or(i64::MAX))
            .execute(&mut *tx)
            .await?;
    }
    // The nodes first: they are found by their rollout.
    for forget in [
        concat!(
            "DELETE FROM rollout_nodes WHERE rollout_id IN (",
            forgotten!(),
            ")"
        ),
        concat!(
            "DELETE FROM rollouts WHERE rollout_id IN (",
            forgotten!(),
            ")"
        ),
    ] {
        sqlx::query(forget)
            .bind(KEPT_ROLLOUTS)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// `false`: the rollout does not run.
pub(super) async fn release(
    tx: &mut SqliteConnection,
    rollout: Uuid,
    at: Millis,
    batch: u32,
    nodes: &[Release],
) -> Result<bool, StoreError> {
    let running = sqlx::query("SELECT 1 FROM rollouts WHERE rollout_id = $1 AND state = 'running'")
        .bind(rollout.to_string())
        .fetch_optional(&mut *tx)
        .await?;
    if running.is_none() {
        return Ok(false);
    }
    for release in nodes {
        sqlx::query(
            "UPDATE rollout_nodes SET batch = $3, released_at = $4, present = $5, command_id = $6 \
             WHERE rollout_id = $1 AND node_id = $2",
        )
        .bind(rollout.to_string())
        .bind(release.node.to_string())
        .bind(batch)
        .bind(at)
        .bind(release.present)
        .bind(release.command.map(|id| id.to_string()))
        .execute(&mut *tx)
        .await?;
    }
    Ok(true)
}

/// `false`: the rollout does not run.
pub(super) async fn complete(
    tx: &mut SqliteConnection,
    rollout: Uuid,
    at: Millis,
    ends: &[NodeEnd],
) -> Result<bool, StoreError> {
    let completed = sqlx::query(
        "UPDATE rollouts SET state = 'completed', finished_at = $2 \
         WHERE rollout_id = $1 AND state = 'running'",
    )
    .bind(rollout.to_string())
    .bind(at)
    .execute(&mut *tx)
    .await?;
    keep_ends(tx, rollout, ends).await?;
    Ok(completed.rows_affected() == 1)
}

/// `false`: the rollout has ended.
pub(super) async fn abort(
    tx: &mut SqliteConnection,
    rollout: Uuid,
    at: Millis,
    reason: &str,
    ends: &[NodeEnd],
) -> Result<bool, StoreError> {
    let aborted = sqlx::query(
        "UPDATE rollouts SET state = 'aborted', reason = $3, finished_at = $2 \
         WHERE rollout_id = $1 AND state IN ('running', 'stopped')",
    )
    .bind(rollout.to_string())
    .bind(at)
    .bind(reason)
    .execute(&mut *tx)
    .await?;
    keep_ends(tx, rollout, ends).await?;
    Ok(aborted.rows_affected() == 1)
}

async fn keep_ends(
    tx: &mut SqliteConnection,
    rollout: Uuid,
    ends: &[NodeEnd],
) -> Result<(), StoreError> {
    for end in ends {
        sqlx::query(
            "UPDATE rollout_nodes SET end_state = $3, end_step = $4, end_reason = $5 \
             WHERE rollout_id = $1 AND node_id = $2",
        )
        .bind(rollout.to_string())
        .bind(end.node.to_string())
        .bind(end.state)
        .bind(&end.step)
        .bind(&end.reason)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// `false`: the rollout is not in the state that is left.
pub(super) async fn steer(
    tx: &mut SqliteConnection,
    steering: &Steering,
) -> Result<bool, StoreError> {
    let steered = sqlx::query(
        "UPDATE rollouts SET state = $3, reason = $4 WHERE rollout_id = $1 AND state = $2",
    )
    .bind(steering.rollout.to_string())
    .bind(steering.from.name())
    .bind(steering.to.name())
    .bind(&steering.reason)
    .execute(&mut *tx)
    .await?;
    for node in &steering.forgiven {
        sqlx::query(
            "UPDATE rollout_nodes SET forgiven = TRUE WHERE rollout_id = $1 AND node_id = $2",
        )
        .bind(steering.rollout.to_string())
        .bind(node.to_string())
        .execute(&mut *tx)
        .await?;
    }
    Ok(steered.rows_affected() == 1)
}

pub(super) async fn list(
    read: &mut SqliteConnection,
    limit: u32,
) -> Result<Vec<RolloutRecord>, StoreError> {
    sqlx::query("SELECT * FROM rollouts ORDER BY rollout_id DESC LIMIT $1")
        .bind(limit)
        .fetch_all(read)
        .await?
        .iter()
        .map(rollout)
        .collect()
}

pub(super) async fn ids(
    read: &mut SqliteConnection,
    prefix: &str,
    limit: u32,
) -> Result<Vec<Uuid>, StoreError> {
    // 'g' is the first letter behind the hexadecimal digits.
    sqlx::query(
        "SELECT rollout_id FROM rollouts WHERE rollout_id >= $1 AND rollout_id < $1 || 'g' \
         ORDER BY rollout_id DESC LIMIT $2",
    )
    .bind(prefix)
    .bind(limit)
    .fetch_all(read)
    .await?
    .iter()
    .map(|row| id(row.try_get("rollout_id")?))
    .collect()
}

pub(super) async fn one(
    read: &mut SqliteConnection,
    id: Uuid,
) -> Result<Option<(RolloutRecord, Vec<RolloutNodeRecord>)>, StoreError> {
    let found = sqlx::query("SELECT * FROM rollouts WHERE rollout_id = $1")
        .bind(id.to_string())
        .fetch_optional(&mut *read)
        .await?;
    let Some(found) = found else { return Ok(None) };
    let nodes = sqlx::query(
        "SELECT n.*, c.state AS command_state, c.error AS command_error \
         FROM rollout_nodes n LEFT JOIN commands c ON c.command_id = n.command_id \
         WHERE n.rollout_id = $1 ORDER BY n.place",
    )
    .bind(id.to_string())
    .fetch_all(&mut *read)
    .await?;
    let nodes = nodes.iter().map(node).collect::<Result<_, _>>()?;
    Ok(Some((rollout(&found)?, nodes)))
}

fn rollout(row: &SqliteRow) -> Result<RolloutRecord, StoreError> {
    let state: &str = row.try_get("state")?;
    let state = RolloutState::ALL.into_iter().find(|it| it.name() == state);
    let duration = |column| -> Result<Duration, StoreError> {
        let milliseconds: i64 = row.try_get(column)?;
        Ok(Duration::from_millis(
            u64::try_from(milliseconds).unwrap_or(0),
        ))
    };
    Ok(RolloutRecord {
        id: id(row.try_get("rollout_id")?)?,
        scope: rows::scope(row)?,
        revision: row.try_get("revision")?,
        previous: row.try_get("previous")?,
        state: state.ok_or(StoreError::Malformed {
            what: "rollout state",
        })?,
        reason: row.try_get("reason")?,
        started_by: row.try_get("started_by")?,
        started_at: row.try_get("started_at")?,
        finished_at: row.try_get("finished_at")?,
        terms: Terms {
            batch: row.try_get("batch_nodes")?,
            max_failures: row.try_get("max_failures")?,
            node_timeout: duration("node_timeout_ms")?,
            pause: duration("pause_ms")?,
        },
    })
}

fn node(row: &SqliteRow) -> Result<RolloutNodeRecord, StoreError> {
    let command: Option<&str> = row.try_get("command_id")?;
    let state: Option<i32> = row.try_get("command_state")?;
    let error: Option<Vec<u8>> = row.try_get("command_error")?;
    let malformed = |what| move |_| StoreError::Malformed { what };
    Ok(RolloutNodeRecord {
        node: rows::node_id(row.try_get("node_id")?)?,
        batch: row.try_get("batch")?,
        released_at: row.try_get("released_at")?,
        present: row.try_get("present")?,
        forgiven: row.try_get("forgiven")?,
        command: command.map(rows::command_id).transpose()?,
        command_state: state.map(TryInto::try_into).transpose().map_err(|_| {
            StoreError::Malformed {
                what: "command state",
            }
        })?,
        command_error: error
            .map(|error| CommandError::decode(&error[..]))
            .transpose()
            .map_err(malformed("command error"))?,
        end: (
            row.try_get("end_state")?,
            row.try_get("end_step")?,
            row.try_get("end_reason")?,
        ),
    })
}

/// A rollout's id out of a row.
pub(super) fn id(text: &str) -> Result<Uuid, StoreError> {
    Uuid::try_parse(text).map_err(|_| StoreError::Malformed { what: "rollout id" })
}
