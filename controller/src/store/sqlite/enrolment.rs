//! Enrolment tokens.

use aegis_proto::NodeId;
use prost::Message;
use sqlx::sqlite::SqliteRow;

use super::{SqliteStore, log, rows};
use crate::{
    store::{EnrolmentTokens, NewAudit, NodeRecord, StoreError, TokenRecord, TokenRefusal},
    time::Millis,
};

#[tonic::async_trait]
impl EnrolmentTokens for SqliteStore {
    async fn create_token(
        &self,
        token: &TokenRecord,
        hash: &[u8; 32],
        audit: &NewAudit,
    ) -> Result<(), StoreError> {
        let mut tx = self.durable().await?;
        sqlx::query(
            "INSERT INTO enrolment_tokens (token_id, hash, node_id, created_at, expires_at, note) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&token.id)
        .bind(&hash[..])
        .bind(token.node.map(|node| node.to_string()))
        .bind(token.created_at)
        .bind(token.expires_at)
        .bind(&token.note)
        .execute(&mut *tx)
        .await?;
        log::insert_audit(&mut tx, audit).await?;
        Ok(tx.commit().await?)
    }

    async fn revoke_token(
        &self,
        token_id: &str,
        at: Millis,
        audit: &NewAudit,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let mut tx = self.durable().await?;
        let row = sqlx::query("SELECT * FROM enrolment_tokens WHERE token_id = $1")
            .bind(token_id)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(token) = row.as_ref().map(rows::token).transpose()? else {
            return Ok(None);
        };
        if token.spent_by.is_some() {
            return Ok(Some(token));
        }
        sqlx::query(
            "UPDATE enrolment_tokens SET revoked_at = $2 \
             WHERE token_id = $1 AND revoked_at IS NULL AND spent_at IS NULL",
        )
        .bind(token_id)
        .bind(at)
        .execute(&mut *tx)
        .await?;
        log::insert_audit(&mut tx, audit).await?;
        tx.commit().await?;
        Ok(Some(token))
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        sqlx::query("SELECT * FROM enrolment_tokens ORDER BY created_at, token_id")
            .fetch_all(&mut *self.read.lend().await?)
            .await?
            .iter()
            .map(rows::token)
            .collect()
    }

    async fn check_token(
        &self,
        hash: &[u8; 32],
        node: NodeId,
        now: Millis,
    ) -> Result<Result<(), TokenRefusal>, StoreError> {
        let row = sqlx::query("SELECT * FROM enrolment_tokens WHERE hash = $1")
            .bind(&hash[..])
            .fetch_optional(&mut *self.read.lend().await?)
            .await?;
        judge(row.as_ref(), node, now)
    }

    async fn enrol(
        &self,
        hash: &[u8; 32],
        node: &NodeRecord,
        now: Millis,
    ) -> Result<Result<(), TokenRefusal>, StoreError> {
        let mut tx = self.durable().await?;
        let row = sqlx::query("SELECT * FROM enrolment_tokens WHERE hash = $1")
            .bind(&hash[..])
            .fetch_optional(&mut *tx)
            .await?;
        if let Err(refusal) = judge(row.as_ref(), node.id, now)? {
            return Ok(Err(refusal));
        }
        sqlx::query("UPDATE enrolment_tokens SET spent_at = $2, spent_by = $3 WHERE hash = $1")
            .bind(&hash[..])
            .bind(now)
            .bind(node.id.to_string())
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO nodes (node_id, role, public_key, capabilities, grpc_address, enrolled_at) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(node.id.to_string())
        .bind(node.role as i32)
        .bind(&node.public_key.as_bytes()[..])
        .bind(node.capabilities.encode_to_vec())
        .bind(&node.grpc_address)
        .bind(node.enrolled_at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Ok(()))
    }
}

fn judge(
    row: Option<&SqliteRow>,
    node: NodeId,
    now: Millis,
) -> Result<Result<(), TokenRefusal>, StoreError> {
    let token = row.map(rows::token).transpose()?;
    Ok(token.map_or(Err(TokenRefusal::Unknown), |token| token.judge(node, now)))
}
