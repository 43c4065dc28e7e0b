//! `ban`, `unban`, `evict`: who may be part of the cluster.

use aegis_proto::operator::v1::{BanNodeRequest, EvictNodeRequest, UnbanNodeRequest};
use clap::Args;
use serde_json::json;

use super::Global;
use crate::{
    connection::Connection,
    failure::{Exit, Failure},
    fleet,
    output::{self, Format},
    selector::Target,
};

/// A node, and why.
#[derive(Debug, Args)]
pub struct Reasoned {
    /// A node id or a unique beginning of one
    node: String,
    /// Why; written to the audit log
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// A node.
#[derive(Debug, Args)]
pub struct Plain {
    /// A node id or a unique beginning of one
    node: String,
}

impl Reasoned {
    /// Bans.
    pub async fn ban(self, global: &Global) -> Result<Exit, Failure> {
        let (connection, node) = find(global, self.node).await?;
        let request = BanNodeRequest {
            node: node.clone(),
            reason: self.reason,
        };
        connection
            .call("ban the node", request, |mut client, request| async move {
                client.ban_node(request).await
            })
            .await?;
        let said = format!("Node {node} is banned; `aegisctl unban {node}` admits it again.");
        report(global, &node, "banned", &said)
    }

    /// Evicts.
    pub async fn evict(self, global: &Global) -> Result<Exit, Failure> {
        let (connection, node) = find(global, self.node).await?;
        let request = EvictNodeRequest {
            node: node.clone(),
            reason: self.reason,
        };
        connection
            .call(
                "evict the node",
                request,
                |mut client, request| async move { client.evict_node(request).await },
            )
            .await?;
        let said = format!(
            "Node {node} and its key are forgotten; it needs a new enrolment token to come back."
        );
        report(global, &node, "evicted", &said)
    }
}

impl Plain {
    /// Unbans.
    pub async fn unban(self, global: &Global) -> Result<Exit, Failure> {
        let (connection, node) = find(global, self.node).await?;
        let request = UnbanNodeRequest { node: node.clone() };
        connection
            .call(
                "unban the node",
                request,
                |mut client, request| async move { client.unban_node(request).await },
            )
            .await?;
        let said =
            format!("Node {node} is admitted again; a worker that gave up must be started anew.");
        report(global, &node, "unbanned", &said)
    }
}

async fn find(global: &Global, node: String) -> Result<(Connection, String), Failure> {
    let connection = global.connect().await?;
    let (_, nodes) = fleet::resolve(&connection, Target::Node(node)).await?;
    let id = nodes.first().map(fleet::id).unwrap_or_default().to_owned();
    Ok((connection, id))
}

fn report(global: &Global, node: &str, done: &str, said: &str) -> Result<Exit, Failure> {
    match global.output {
        Format::Json => output::document(&json!({ "node_id": node, done: true }))?,
        Format::Table => output::text(said)?,
    }
    Ok(Exit::Success)
}
