//! Nodes, and small facts about the cluster.

use aegis_proto::{
    CommandId, NodeId,
    cluster::v1::{NodeCapabilities, NodeRole},
    worker::v1::{ConfigStatus, Hello},
};
use prost::Message;
use sqlx::Row;

use super::{SqliteStore, commands, log, rows};
use crate::{
    command::Step,
    store::{NewAudit, NodeRecord, Nodes, StoreError},
    time::Millis,
};

#[tonic::async_trait]
impl Nodes for SqliteStore {
    async fn meta(&self, name: &str, initial: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut tx = self.durable().await?;
        sqlx::query("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .bind(initial)
            .execute(&mut *tx)
            .await?;
        let value = sqlx::query("SELECT value FROM meta WHERE name = $1")
            .bind(name)
            .fetch_one(&mut *tx)
            .await?
            .try_get("value")?;
        tx.commit().await?;
        Ok(value)
    }

    async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        sqlx::query("SELECT * FROM nodes ORDER BY node_id")
            .fetch_all(&mut *self.read.lend().await?)
            .await?
            .iter()
            .map(rows::node)
            .collect()
    }

    async fn reattest(
        &self,
        id: NodeId,
        role: NodeRole,
        capabilities: &NodeCapabilities,
        grpc_address: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.relaxed().await?;
        sqlx::query(
            "UPDATE nodes SET role = $2, capabilities = $3, grpc_address = $4 WHERE node_id = $1",
        )
        .bind(id.to_string())
        .bind(role as i32)
        .bind(capabilities.encode_to_vec())
        .bind(grpc_address)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    async fn register(
        &self,
        id: NodeId,
        capabilities: &NodeCapabilities,
        grpc_address: &str,
        at: Millis,
    ) -> Result<(), StoreError> {
        let mut tx = self.durable().await?;
        sqlx::query(
            "UPDATE nodes SET capabilities = $2, grpc_address = $3, registered_at = $4, \
             deregistered = FALSE WHERE node_id = $1",
        )
        .bind(id.to_string())
        .bind(capabilities.encode_to_vec())
        .bind(grpc_address)
        .bind(at)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    async fn deregister(&self, id: NodeId) -> Result<(), StoreError> {
        let mut tx = self.durable().await?;
        sqlx::query("UPDATE nodes SET deregistered = TRUE WHERE node_id = $1")
            .bind(id.to_string())
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    async fn set_facts(&self, id: NodeId, facts: &Hello) -> Result<(), StoreError> {
        let mut tx = self.relaxed().await?;
        sqlx::query("UPDATE nodes SET facts = $2 WHERE node_id = $1")
            .bind(id.to_string())
            .bind(facts.encode_to_vec())
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    async fn set_config_status(&self, id: NodeId, status: &ConfigStatus) -> Result<(), StoreError> {
        let mut tx = self.relaxed().await?;
        sqlx::query("UPDATE nodes SET config_status = $2 WHERE node_id = $1")
            .bind(id.to_string())
            .bind(status.encode_to_vec())
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    async fn set_banned(
        &self,
        id: NodeId,
        reason: Option<&str>,
        audit: &NewAudit,
    ) -> Result<(), StoreError> {
        let mut tx = self.durable().await?;
        sqlx::query("UPDATE nodes SET banned = $2, ban_reason = $3 WHERE node_id = $1")
            .bind(id.to_string())
            .bind(reason.is_some())
            .bind(reason.unwrap_or_default())
            .execute(&mut *tx)
            .await?;
        log::insert_audit(&mut tx, audit).await?;
        Ok(tx.commit().await?)
    }

    async fn evict(
        &self,
        id: NodeId,
        at: Millis,
        audit: &NewAudit,
    ) -> Result<Vec<CommandId>, StoreError> {
        let mut tx = self.durable().await?;
        let ended = commands::end_all(&mut tx, id, Step::Orphan, at).await?;
        sqlx::query("DELETE FROM nodes WHERE node_id = $1")
            .bind(id.to_string())
            .execute(&mut *tx)
            .await?;
        log::insert_audit(&mut tx, audit).await?;
        tx.commit().await?;
        Ok(ended)
    }
}
