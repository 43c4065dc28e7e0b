//! Nodes and enrolment tokens.

use std::sync::Arc;

use aegis_controller::{
    command::{Step, is_final},
    store::{EnrolmentTokens, NewAudit, NodeRecord, Nodes, StoreError, TokenRecord, TokenRefusal},
    time::Millis,
};
use aegis_proto::{
    CommandId, NodeId,
    cluster::v1::{NodeCapabilities, NodeRole},
    worker::v1::{ConfigStatus, Hello},
};
use tonic::async_trait;

use super::{Memory, Tables};

impl Tables {
    fn amend(&mut self, id: NodeId, change: impl FnOnce(&mut NodeRecord)) {
        if let Some(node) = self.nodes.get_mut(&id) {
            change(Arc::make_mut(node));
        }
    }
}

#[async_trait]
impl Nodes for Memory {
    async fn meta(&self, name: &str, initial: &[u8]) -> Result<Vec<u8>, StoreError> {
        let value = self.durable(|tables| {
            let entry = tables.meta.entry(name.to_owned());
            entry.or_insert_with(|| initial.to_vec()).clone()
        });
        Ok(value.await)
    }

    async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        let nodes = |tables: &Tables| {
            let nodes = tables.nodes.values();
            nodes.map(|node| NodeRecord::clone(node)).collect()
        };
        Ok(self.read(nodes).await)
    }

    async fn reattest(
        &self,
        id: NodeId,
        role: NodeRole,
        capabilities: &NodeCapabilities,
        grpc_address: &str,
    ) -> Result<(), StoreError> {
        self.relaxed(|tables| {
            tables.amend(id, |node| {
                node.role = role;
                node.capabilities = capabilities.clone();
                node.grpc_address = grpc_address.to_owned();
            });
        })
        .await;
        Ok(())
    }

    async fn register(
        &self,
        id: NodeId,
        capabilities: &NodeCapabilities,
        grpc_address: &str,
        at: Millis,
    ) -> Result<(), StoreError> {
        self.durable(|tables| {
            tables.amend(id, |node| {
                node.capabilities = capabilities.clone();
                node.grpc_address = grpc_address.to_owned();
                node.registered_at = Some(at);
                node.deregistered = false;
            });
        })
        .await;
        Ok(())
    }

    async fn deregister(&self, id: NodeId) -> Result<(), StoreError> {
        self.durable(|tables| tables.amend(id, |node| node.deregistered = true))
            .await;
        Ok(())
    }

    async fn set_facts(&self, id: NodeId, facts: &Hello) -> Result<(), StoreError> {
        self.relaxed(|tables| tables.amend(id, |node| node.facts = Some(facts.clone())))
            .await;
        Ok(())
    }

    async fn set_config_status(&self, id: NodeId, status: &ConfigStatus) -> Result<(), StoreError> {
        self.relaxed(|tables| tables.amend(id, |node| node.config_status = Some(status.clone())))
            .await;
        Ok(())
    }

    async fn set_banned(
        &self,
        id: NodeId,
        reason: Option<&str>,
        audit: &NewAudit,
    ) -> Result<(), StoreError> {
        self.durable(|tables| tables.amend(id, |node| node.banned = reason.map(str::to_owned)))
            .await;
        self.note(audit);
        Ok(())
    }

    async fn evict(
        &self,
        id: NodeId,
        at: Millis,
        audit: &NewAudit,
    ) -> Result<Vec<CommandId>, StoreError> {
        let ended = self.durable(|tables| {
            tables.nodes.remove(&id);
            let rows = tables.commands.values();
            let open = rows.filter(|row| row.command.node == id && !is_final(row.command.state));
            let open: Vec<_> = open.map(|row| row.command.id).collect();
            open.into_iter()
                .filter(|id| tables.end(*id, Step::Orphan, at))
                .collect()
        });
        let ended = ended.await;
        self.note(audit);
        Ok(ended)
    }
}

#[async_trait]
impl EnrolmentTokens for Memory {
    async fn create_token(
        &self,
        token: &TokenRecord,
        hash: &[u8; 32],
        audit: &NewAudit,
    ) -> Result<(), StoreError> {
        self.durable(|tables| tables.tokens.insert(*hash, token.clone()))
            .await;
        self.note(audit);
        Ok(())
    }

    async fn revoke_token(
        &self,
        token_id: &str,
        at: Millis,
        audit: &NewAudit,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let found = self.durable(|tables| {
            let mut all = tables.tokens.values_mut();
            let token = all.find(|token| token.id == token_id)?;
            let before = token.clone();
            if token.spent_by.is_none() {
                token.revoked_at.get_or_insert(at);
            }
            Some(before)
        });
        let found = found.await;
        if found.as_ref().is_some_and(|token| token.spent_by.is_none()) {
            self.note(audit);
        }
        Ok(found)
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        let mut all: Vec<_> = self
            .read(|tables| tables.tokens.values().cloned().collect())
            .await;
        all.sort_by(|one: &TokenRecord, other| {
            (one.created_at, &one.id).cmp(&(other.created_at, &other.id))
        });
        Ok(all)
    }

    async fn check_token(
        &self,
        hash: &[u8; 32],
        node: NodeId,
        now: Millis,
    ) -> Result<Result<(), TokenRefusal>, StoreError> {
        let judge = |tables: &Tables| match tables.tokens.get(hash) {
            Some(token) => token.judge(node, now),
            None => Err(TokenRefusal::Unknown),
        };
        Ok(self.read(judge).await)
    }

    async fn enrol(
        &self,
        hash: &[u8; 32],
        node: &NodeRecord,
        now: Millis,
    ) -> Result<Result<(), TokenRefusal>, StoreError> {
        let spend = |tables: &mut Tables| {
            let token = tables.tokens.get_mut(hash);
            let token = token.ok_or(TokenRefusal::Unknown)?;
            token.judge(node.id, now)?;
            token.spent_by = Some(node.id);
            let fresh = NodeRecord {
                registered_at: None,
                deregistered: false,
                banned: None,
                facts: None,
                config_status: None,
                ..node.clone()
            };
            tables.nodes.insert(node.id, Arc::new(fresh));
            Ok(())
        };
        Ok(self.durable(spend).await)
    }
}
