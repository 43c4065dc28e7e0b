//! `shutdown`: the shutdown command, then each worker until it has deregistered.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    time::Duration,
};

use aegis_proto::operator::v1::{NodeView, SubmitCommandRequest};
use clap::Args;
use serde_json::json;

use super::{
    Global,
    attach::{detached, exit_of, follow, interrupted, show},
    parse_duration,
};
use crate::{
    connection::Connection,
    document::{CommandList, Node},
    failure::{Exit, Failure},
    fleet,
    follow::{unless_interrupted, watch_nodes},
    output::{self, Format},
    payload,
    render::short,
    selector::{SelectorFlags, Target},
    submit::submit,
};

/// `shutdown SELECTOR --reason TEXT`
#[derive(Debug, Args)]
#[command(override_usage = "aegisctl shutdown <NODE | --all | --tag TAG> --reason TEXT [OPTIONS]")]
pub struct Arguments {
    /// A node id or its beginning
    node: Option<String>,
    #[command(flatten)]
    selector: SelectorFlags,
    /// Why; written to the worker's log and the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// How long running commands may take to end [default: the worker's own]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    drain_timeout: Option<Duration>,
    /// Return once it is submitted
    #[arg(short, long)]
    detach: bool,
}

impl Arguments {
    /// Shuts down.
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let target = self.selector.one(self.node)?;
        let mut payload = json!({ "reason": self.reason });
        if let Some(timeout) = self.drain_timeout {
            payload["drainTimeoutMs"] =
                json!(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        }
        let connection = global.connect().await?;
        let (target, nodes) = fleet::resolve(&connection, target).await?;
        let request = SubmitCommandRequest {
            selector: Some(target.to_proto()),
            name: "shutdown".into(),
            payload: payload::encode(&payload)?,
            ..Default::default()
        };
        let submitted = submit(&connection, request).await?;
        if self.detach {
            return detached(global, submitted);
        }
        let list = match follow(global, &connection, &nodes, submitted).await? {
            Ok(list) => list,
            Err(list) => return Ok(interrupted(&list)),
        };
        let Some(nodes) = gone(&connection, &target, &list, nodes).await? else {
            eprintln!(
                "Detached; the workers go on shutting down. Come back with `aegisctl nodes --watch`."
            );
            return Ok(Exit::Detached);
        };
        report(global, &list, &nodes)?;
        Ok(exit_of(&list))
    }
}

/// Follows each worker that took the command until it has deregistered: each
/// node as it is then, or nothing after Ctrl-C.
async fn gone(
    connection: &Connection,
    target: &Target,
    list: &CommandList,
    nodes: Vec<NodeView>,
) -> Result<Option<Vec<Node>>, Failure> {
    let taken = list
        .commands
        .iter()
        .filter(|it| it.succeeded())
        .map(|it| it.node_id.clone());
    let mut open: BTreeSet<String> = taken.collect();
    let mut ends: BTreeMap<String, Node> = nodes
        .into_iter()
        .map(Node::from)
        .map(|it| (it.node_id.clone(), it))
        .collect();
    if !open.is_empty() {
        let watching = watch_nodes(connection, target, |view| {
            let node = Node::from(view);
            if node.deregistered && open.remove(&node.node_id) {
                eprintln!("{}  deregistered", short(&node.node_id));
            }
            ends.insert(node.node_id.clone(), node);
            Ok(if open.is_empty() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        });
        match unless_interrupted(watching).await {
            Some(result) => result?,
            None => return Ok(None),
        }
    }
    Ok(Some(ends.into_values().collect()))
}

fn report(global: &Global, list: &CommandList, nodes: &[Node]) -> Result<(), Failure> {
    if global.output == Format::Json {
        return output::document(&json!({
            "group_id": list.group_id, "commands": list.commands, "counts": list.counts, "nodes": nodes
        }));
    }
    if list.counts.succeeded < list.counts.total {
        return show(global, list);
    }
    let lines: Vec<String> = list
        .commands
        .iter()
        .map(|it| format!("{} has shut down", short(&it.node_id)))
        .collect();
    output::text(&lines.join("\n"))
}
