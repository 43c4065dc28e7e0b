//! Config layers.

use sqlx::{Row, Sqlite, Transaction};

use super::{SqliteStore, commands, log, rows};
use crate::store::{LayerRecord, LayerScope, Layers, NewAudit, StoreError, Submission};

const REVISION: &str = "config-revision";

#[tonic::async_trait]
impl Layers for SqliteStore {
    async fn layers(&self) -> Result<(i64, Vec<LayerRecord>), StoreError> {
        let mut tx = self.read.begin().await?;
        let revision = revision(&mut tx).await?;
        let layers = sqlx::query("SELECT * FROM config_layers ORDER BY scope, name")
            .fetch_all(&mut *tx)
            .await?
            .iter()
            .map(rows::layer)
            .collect::<Result<_, _>>()?;
        Ok((revision, layers))
    }

    async fn set_layer(
        &self,
        expected: i64,
        layer: &LayerRecord,
        submission: &Submission,
        audit: &NewAudit,
    ) -> Result<bool, StoreError> {
        let mut tx = self.durable().await?;
        if revision(&mut tx).await? != expected {
            return Ok(false);
        }
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
            "INSERT INTO meta (name, value) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(REVISION)
        .bind(expected.saturating_add(1).to_be_bytes().to_vec())
        .execute(&mut *tx)
        .await?;
        commands::insert_all(&mut tx, submission).await?;
        log::insert_audit(&mut tx, audit).await?;
        tx.commit().await?;
        Ok(true)
    }
}

async fn revision(tx: &mut Transaction<'_, Sqlite>) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT value FROM meta WHERE name = $1")
        .bind(REVISION)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else { return Ok(0) };
    let bytes: Vec<u8> = row.try_get("value")?;
    let bytes = bytes.try_into().map_err(|_| StoreError::Malformed {
        what: "config revision",
    })?;
    Ok(i64::from_be_bytes(bytes))
}

fn key(scope: &LayerScope) -> (&'static str, String) {
    match scope {
        LayerScope::Global => ("global", String::new()),
        LayerScope::Tag(tag) => ("tag", tag.clone()),
        LayerScope::Node(node) => ("node", node.to_string()),
    }
}
