//! Config layers and what they were before.

use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteRow};
use uuid::Uuid;

use super::{SqliteStore, commands, log, rollouts, rows};
use crate::{
    kill_point::kill_point,
    store::{
        LayerChange, LayerRecord, LayerScope, Layers, NewAudit, RevisionRecord, RolloutNodeRecord,
        RolloutRecord, Steering, StoreError, Submission,
    },
};

const REVISION: &str = "config-revision";

/// Revisions that are kept of each layer.
const KEPT_REVISIONS: i64 = 100;

#[tonic::async_trait]
impl Layers for SqliteStore {
    async fn layers(&self) -> Result<(i64, Vec<LayerRecord>), StoreError> {
        let mut connection = self.read.lend().await?;
        let mut tx = connection.begin().await?;
        let revision = revision(&mut tx).await?;
        let mut layers = sqlx::query("SELECT * FROM config_layers ORDER BY scope, name")
            .fetch_all(&mut *tx)
            .await?
            .iter()
            .map(rows::layer)
            .collect::<Result<Vec<_>, _>>()?;
        for (rollout, pending) in rollouts::open(&mut tx).await? {
            match layers.iter_mut().find(|it| it.scope == rollout.scope) {
                Some(layer) => layer.pending = Some(pending),
                // A layer that is being removed.
                None => layers.push(LayerRecord {
                    scope: rollout.scope,
                    document: Vec::new(),
                    set_by: rollout.started_by,
                    set_at: rollout.started_at,
                    pending: Some(pending),
                }),
            }
        }
        Ok((revision, layers))
    }

    async fn change_layers(
        &self,
        expected: i64,
        change: &LayerChange,
        submission: &Submission,
        audit: Option<&NewAudit>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.durable().await?;
        if revision(&mut tx).await? != expected {
            return Ok(false);
        }
        let next = expected.saturating_add(1);
        let changed = match change {
            LayerChange::Set(layer) => {
                set(&mut tx, next, layer, None).await?;
                true
            }
            LayerChange::Begin {
                layer,
                rollout,
                nodes,
            } => {
                set(&mut tx, next, layer, Some(rollout.id)).await?;
                rollouts::insert(&mut tx, next, rollout, nodes).await?;
                true
            }
            LayerChange::Release {
                rollout,
                at,
                batch,
                nodes,
            } => rollouts::release(&mut tx, *rollout, *at, *batch, nodes).await?,
            LayerChange::Complete { rollout, at, ends } => {
                rollouts::complete(&mut tx, *rollout, *at, ends).await?
            }
            LayerChange::Abort {
                rollout,
                layer,
                reason,
                ends,
            } => {
                set(&mut tx, next, layer, None).await?;
                rollouts::abort(&mut tx, *rollout, layer.set_at, reason, ends).await?
            }
        };
        if !changed {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO meta (name, value) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(REVISION)
        .bind(next.to_be_bytes().to_vec())
        .execute(&mut *tx)
        .await?;
        commands::insert_all(&mut tx, submission).await?;
        if let Some(audit) = audit {
            log::insert_audit(&mut tx, audit).await?;
        }
        kill_point!("config.committing");
        tx.commit().await?;
        kill_point!("config.committed");
        Ok(true)
    }

    async fn revisions(
        &self,
        scopes: Option<&[LayerScope]>,
        before: i64,
        limit: u32,
    ) -> Result<Vec<RevisionRecord>, StoreError> {
        let before = if before > 0 { before } else { i64::MAX };
        let Some(scopes) = scopes else {
            return sqlx::query(
                "SELECT * FROM config_revisions WHERE revision < $1 ORDER BY revision DESC LIMIT $2",
            )
            .bind(before)
            .bind(limit)
            .fetch_all(&mut *self.read.lend().await?)
            .await?
            .iter()
            .map(revision_of)
            .collect();
        };
        // One after another, as no portable statement takes a list of pairs.
        let mut found = Vec::new();
        for scope in scopes {
            let (scope, name) = key(scope);
            let rows = sqlx::query(
                "SELECT * FROM config_revisions WHERE scope = $1 AND name = $2 AND revision < $3 \
                 ORDER BY revision DESC LIMIT $4",
            )
            .bind(scope)
            .bind(name)
            .bind(before)
            .bind(limit)
            .fetch_all(&mut *self.read.lend().await?)
            .await?;
            for row in &rows {
                found.push(revision_of(row)?);
            }
        }
        found.sort_by_key(|it| std::cmp::Reverse(it.revision));
        found.truncate(limit as usize);
        Ok(found)
    }

    async fn revision(&self, revision: i64) -> Result<Option<RevisionRecord>, StoreError> {
        sqlx::query("SELECT * FROM config_revisions WHERE revision = $1")
            .bind(revision)
            .fetch_optional(&mut *self.read.lend().await?)
            .await?
            .as_ref()
            .map(revision_of)
            .transpose()
    }

    async fn rollouts(&self, limit: u32) -> Result<Vec<RolloutRecord>, StoreError> {
        rollouts::list(&mut *self.read.lend().await?, limit).await
    }

    async fn rollout_ids(&self, prefix: &str, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        rollouts::ids(&mut *self.read.lend().await?, prefix, limit).await
    }

    async fn rollout(
        &self,
        id: Uuid,
    ) -> Result<Option<(RolloutRecord, Vec<RolloutNodeRecord>)>, StoreError> {
        rollouts::one(&mut *self.read.lend().await?, id).await
    }

    async fn steer_rollout(
        &self,
        steering: &Steering,
        audit: Option<&NewAudit>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.durable().await?;
        if !rollouts::steer(&mut tx, steering).await? {
            return Ok(false);
        }
        if let Some(audit) = audit {
            log::insert_audit(&mut tx, audit).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

/// Sets a layer, or removes it where its document is empty, and keeps what it
/// was set to.
async fn set(
    tx: &mut SqliteConnection,
    revision: i64,
    layer: &LayerRecord,
    rollout: Option<Uuid>,
) -> Result<(), StoreError> {
    let (scope, name) = key(&layer.scope);
    sqlx::query("DELETE FROM config_layers WHERE scope = $1 AND name = $2")
        .bind(scope)
        .bind(&name)
        .execute(&mut *tx)
        .await?;
    if !layer.document.is_empty() {
        sqlx::query(
            "INSERT INTO config_layers (scope, name, document, set_by, set_at) \
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(scope)
        .bind(&name)
        .bind(&layer.document)
        .bind(&layer.set_by)
        .bind(layer.set_at)
        .execute(&mut *tx)
        .await?;
    }
    sqlx::query(
        "INSERT INTO config_revisions (revision, scope, name, document, set_by, set_at, rollout_id) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(revision)
    .bind(scope)
    .bind(&name)
    .bind(&layer.document)
    .bind(&layer.set_by)
    .bind(layer.set_at)
    .bind(rollout.map(|id| id.to_string()).unwrap_or_default())
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "DELETE FROM config_revisions WHERE scope = $1 AND name = $2 AND revision <= \
         (SELECT revision FROM config_revisions WHERE scope = $1 AND name = $2 \
          ORDER BY revision DESC LIMIT 1 OFFSET $3)",
    )
    .bind(scope)
    .bind(&name)
    .bind(KEPT_REVISIONS)
    .execute(&mut *tx)
    .await?;
    Ok(())
}

fn revision_of(row: &SqliteRow) -> Result<RevisionRecord, StoreError> {
    let rollout: &str = row.try_get("rollout_id")?;
    Ok(RevisionRecord {
        revision: row.try_get("revision")?,
        layer: rows::layer(row)?,
        rollout: rollouts::id(rollout).ok(),
    })
}

async fn revision(tx: &mut SqliteConnection) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT value FROM meta WHERE name = $1")
        .bind(REVISION)
        .fetch_optional(&mut *tx)
        .await?;
    let Some(row) = row else { return Ok(0) };
    let bytes: Vec<u8> = row.try_get("value")?;
    let bytes = bytes.try_into().map_err(|_| StoreError::Malformed {
        what: "config revision",
    })?;
    Ok(i64::from_be_bytes(bytes))
}

/// A layer as its rows name it.
pub(super) fn key(scope: &LayerScope) -> (&'static str, String) {
    match scope {
        LayerScope::Global => ("global", String::new()),
        LayerScope::Tag(tag) => ("tag", tag.clone()),
        LayerScope::Node(node) => ("node", node.to_string()),
    }
}
