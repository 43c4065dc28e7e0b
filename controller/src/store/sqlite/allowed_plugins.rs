//! Which plugin files may be sent commands.

use sqlx::{Connection, Row, SqliteConnection};

use super::{SqliteStore, log};
use crate::store::{AllowedPlugin, AllowedPluginList, AllowedPlugins, NewAudit, StoreError};

#[tonic::async_trait]
impl AllowedPlugins for SqliteStore {
    async fn allowed_plugins(&self) -> Result<AllowedPluginList, StoreError> {
        // One transaction, so that revision and list belong together.
        let mut connection = self.read.lend().await?;
        let mut tx = connection.begin().await?;
        list(&mut tx).await
    }

    async fn allow_plugin(
        &self,
        allowed: &AllowedPlugin,
        audit: &NewAudit,
    ) -> Result<AllowedPluginList, StoreError> {
        let mut tx = self.durable().await?;
        sqlx::query(
            "INSERT INTO allowed_plugins (plugin, sha256, note, operator, allowed_at) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (plugin, sha256) DO UPDATE SET \
             note = excluded.note, operator = excluded.operator, allowed_at = excluded.allowed_at",
        )
        .bind(&allowed.plugin)
        .bind(&allowed.sha256[..])
        .bind(&allowed.note)
        .bind(&allowed.operator)
        .bind(allowed.allowed_at)
        .execute(&mut *tx)
        .await?;
        let list = changed(&mut tx).await?;
        log::insert_audit(&mut tx, audit).await?;
        tx.commit().await?;
        Ok(list)
    }

    async fn disallow_plugin(
        &self,
        plugin: &str,
        sha256: &[u8; 32],
        audit: &NewAudit,
    ) -> Result<Option<AllowedPluginList>, StoreError> {
        let mut tx = self.durable().await?;
        let removed = sqlx::query("DELETE FROM allowed_plugins WHERE plugin = $1 AND sha256 = $2")
            .bind(plugin)
            .bind(&sha256[..])
            .execute(&mut *tx)
            .await?
            .rows_affected();
        if removed == 0 {
            return Ok(None);
        }
        let list = changed(&mut tx).await?;
        log::insert_audit(&mut tx, audit).await?;
        tx.commit().await?;
        Ok(Some(list))
    }
}

async fn changed(connection: &mut SqliteConnection) -> Result<AllowedPluginList, StoreError> {
    sqlx::query("UPDATE allow_list SET revision = revision + 1")
        .execute(&mut *connection)
        .await?;
    list(connection).await
}

async fn list(connection: &mut SqliteConnection) -> Result<AllowedPluginList, StoreError> {
    let revision = sqlx::query("SELECT revision FROM allow_list")
        .fetch_one(&mut *connection)
        .await?
        .try_get("revision")?;
    let rows = sqlx::query("SELECT * FROM allowed_plugins ORDER BY plugin, sha256")
        .fetch_all(connection)
        .await?;
    let mut plugins = Vec::with_capacity(rows.len());
    for row in &rows {
        let sha256: Vec<u8> = row.try_get("sha256")?;
        plugins.push(AllowedPlugin {
            plugin: row.try_get("plugin")?,
            sha256: sha256.try_into().map_err(|_| StoreError::Malformed {
                what: "digest of an allowed plugin",
            })?,
            note: row.try_get("note")?,
            operator: row.try_get("operator")?,
            allowed_at: row.try_get("allowed_at")?,
        });
    }
    Ok(AllowedPluginList { revision, plugins })
}
