//! The parts of a transaction over commands, each taking the steps that the
//! state machine allows and no other.

use aegis_proto::{CommandId, NodeId};
use prost::Message;
use sqlx::{Row, SqliteConnection};

use super::super::rows;
use crate::{
    command::Step,
    store::{CommandRecord, Finish, Finished, StoreError, Submission, Submitted},
    time::Millis,
};

pub(super) async fn earlier(
    tx: &mut SqliteConnection,
    request_id: &str,
    digest: &[u8; 32],
) -> Result<Option<Submitted>, StoreError> {
    let row = sqlx::query("SELECT digest, group_id FROM submissions WHERE request_id = $1")
        .bind(request_id)
        .fetch_optional(&mut *tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    if row.try_get::<&[u8], _>("digest")? != digest {
        return Ok(Some(Submitted::Reused));
    }
    Ok(Some(Submitted::Repeated(rows::group_id(
        row.try_get("group_id")?,
    )?)))
}

/// Commits nothing that was submitted before.
pub(in crate::store::sqlite) async fn insert_new(
    tx: &mut SqliteConnection,
    submission: &Submission,
) -> Result<Submitted, StoreError> {
    if let Some(request_id) = &submission.request_id
        && let Some(earlier) = earlier(tx, request_id, &submission.digest).await?
    {
        return Ok(earlier);
    }
    insert_all(tx, submission).await?;
    Ok(Submitted::Made)
}

/// Without output, and without payload, response and receipt unless in full.
pub(super) async fn fetch(
    tx: &mut SqliteConnection,
    id: CommandId,
    in_full: bool,
) -> Result<Option<CommandRecord>, StoreError> {
    const FULL: &str = concat!("SELECT ", full!(), " FROM commands WHERE command_id = $1");
    const SUMMARY: &str = concat!(
        "SELECT ",
        summary!(),
        " FROM commands WHERE command_id = $1"
    );
    let query = if in_full { FULL } else { SUMMARY };
    let row = sqlx::query(query)
        .bind(id.to_string())
        .fetch_optional(&mut *tx)
        .await?;
    let parse = if in_full {
        rows::command
    } else {
        rows::command_summary
    };
    row.as_ref().map(parse).transpose()
}

/// Takes steps. Returns the commands that they changed.
pub(in crate::store::sqlite) async fn advance_all(
    tx: &mut SqliteConnection,
    node: NodeId,
    steps: &[(CommandId, Step)],
    at: Millis,
) -> Result<Vec<CommandRecord>, StoreError> {
    let mut of_each = Vec::<(CommandId, Vec<Step>)>::with_capacity(steps.len());
    for (id, what) in steps {
        // Told one behind the other: a batch is short, and mostly they are.
        match of_each.iter_mut().rev().find(|(one, _)| one == id) {
            Some((_, all)) => all.push(*what),
            None => of_each.push((*id, vec![*what])),
        }
    }
    let mut changed = Vec::with_capacity(of_each.len());
    for (id, steps) in of_each {
        changed.extend(advance_one(tx, node, id, &steps, at).await?);
    }
    Ok(changed)
}

/// Takes steps, one after the other. Returns the command after them, with its
/// payload where it is delivered; `None` where they changed nothing or it is
/// another node's.
async fn advance_one(
    tx: &mut SqliteConnection,
    node: NodeId,
    id: CommandId,
    steps: &[Step],
    at: Millis,
) -> Result<Option<CommandRecord>, StoreError> {
    let found = fetch(tx, id, steps.contains(&Step::Deliver)).await?;
    let Some(mut command) = found.filter(|command| command.node == node) else {
        return Ok(None);
    };
    let mut track = command.track();
    let mut changed = false;
    for what in steps {
        changed |= track.take(*what, at);
    }
    if !changed {
        return Ok(None);
    }
    command.set_track(track);
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
    Ok(Some(command))
}

pub(in crate::store::sqlite) async fn insert_all(
    tx: &mut SqliteConnection,
    submission: &Submission,
) -> Result<(), StoreError> {
    for finish in &submission.superseded {
        if let Finished::Moved(open) = finish_one(tx, finish).await? {
            finish_one(tx, &finish.late(&open)).await?;
        }
    }
    for command in &submission.commands {
        sqlx::query(
            "INSERT INTO commands (command_id, group_id, node_id, name, payload, state, issuer, \
             traceparent, created_at, not_before, start_by, timeout_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(command.id.to_string())
        .bind(command.group.to_string())
        .bind(command.node.to_string())
        .bind(&command.name)
        .bind(&command.payload)
        .bind(command.state as i32)
        .bind(&command.issuer)
        .bind(&command.traceparent)
        .bind(command.created_at)
        .bind(command.not_before)
        .bind(command.start_by)
        .bind(command.timeout_ms)
        .execute(&mut *tx)
        .await?;
    }
    if let (Some(request_id), Some(first)) = (&submission.request_id, submission.commands.first()) {
        sqlx::query(
            "INSERT INTO submissions (request_id, digest, group_id, created_at) \
             VALUES ($1, $2, $3, $4)",
        )
        .bind(request_id)
        .bind(&submission.digest[..])
        .bind(submission.group.to_string())
        .bind(first.created_at)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

pub(in crate::store::sqlite) async fn finish_one(
    tx: &mut SqliteConnection,
    finish: &Finish,
) -> Result<Finished, StoreError> {
    let found = fetch(tx, finish.id, false).await?;
    let Some(command) = found.filter(|command| command.node == finish.node) else {
        return Ok(Finished::Unknown);
    };
    let command = match finish.settle(command) {
        Finished::Committed(command) => command,
        Finished::Already(command) => {
            let ended = fetch(tx, finish.id, true).await?.map(Box::new);
            return Ok(Finished::Already(ended.unwrap_or(command)));
        }
        unchanged => return Ok(unchanged),
    };
    sqlx::query(
        "UPDATE commands SET state = $2, started_at = $3, finished_at = $4, attempt = $5, \
         response = $6, error = $7, output = $8, output_cut = $9, receipt = $10, \
         receipt_signature = $11, receipt_key = $12, ended_at = $13 WHERE command_id = $1",
    )
    .bind(finish.id.to_string())
    .bind(command.state as i32)
    .bind(command.started_at)
    .bind(command.finished_at)
    .bind(command.attempt)
    .bind(&finish.response)
    .bind(finish.error.as_ref().map(Message::encode_to_vec))
    .bind(&finish.output)
    .bind(i64::try_from(finish.output_cut).unwrap_or(i64::MAX))
    .bind(&finish.receipt)
    .bind(&finish.receipt_signature)
    .bind(&finish.receipt_key)
    .bind(finish.ended_at)
    .execute(&mut *tx)
    .await?;
    Ok(Finished::Committed(command))
}

/// Ends all open commands of a node by a step that the controller takes alone.
pub(in crate::store::sqlite) async fn end_all(
    tx: &mut SqliteConnection,
    node: NodeId,
    what: Step,
    at: Millis,
) -> Result<Vec<CommandId>, StoreError> {
    let open = sqlx::query(concat!(
        "SELECT command_id FROM commands WHERE node_id = $1 AND ",
        open!()
    ))
    .bind(node.to_string())
    .fetch_all(&mut *tx)
    .await?;
    let mut ended = Vec::new();
    for row in &open {
        let id = rows::command_id(row.try_get("command_id")?)?;
        if end(tx, id, what, at).await? {
            ended.push(id);
        }
    }
    Ok(ended)
}

pub(super) async fn end(
    tx: &mut SqliteConnection,
    id: CommandId,
    what: Step,
    at: Millis,
) -> Result<bool, StoreError> {
    let Some(mut command) = fetch(tx, id, false).await? else {
        return Ok(false);
    };
    if !command.end(what, at) {
        return Ok(false);
    }
    sqlx::query(
        "UPDATE commands SET state = $2, finished_at = $3, ended_at = $3, error = $4 \
         WHERE command_id = $1",
    )
    .bind(id.to_string())
    .bind(command.state as i32)
    .bind(at)
    .bind(command.error.as_ref().map(Message::encode_to_vec))
    .execute(&mut *tx)
    .await?;
    Ok(true)
}
