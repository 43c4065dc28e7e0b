//! `drain`: the drain command, then each node's drain to its end.

use std::{collections::BTreeMap, ops::ControlFlow, time::Duration};

use aegis_proto::operator::v1::{NodeView, SubmitCommandRequest};
use chrono::Utc;
use clap::Args;
use serde_json::{Value, json};

use super::{
    Global, exit_of, parse_duration,
    run::{detached, follow, interrupted, show},
};
use crate::{
    connection::Connection,
    document::{CommandList, Node},
    failure::{Exit, Failure},
    fleet,
    follow::{unless_interrupted, watch_nodes},
    output::{self, Format},
    payload,
    render::{self, short},
    selector::{SelectorFlags, Target},
    submit::submit,
};

/// `drain SELECTOR`
#[derive(Debug, Args)]
#[command(override_usage = "aegisctl drain <NODE | --all | --tag TAG> [OPTIONS]")]
pub struct Arguments {
    /// A node id or its beginning
    node: Option<String>,
    #[command(flatten)]
    selector: SelectorFlags,
    /// When the drain is to be over, from now [default: none]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "undo")]
    deadline: Option<Duration>,
    /// Why; shown with the node while it drains
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Take new work again
    #[arg(long)]
    undo: bool,
    /// Return once it is submitted
    #[arg(short, long)]
    detach: bool,
}

impl Arguments {
    /// Drains, or undoes it.
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let payload = self.payload();
        let target = self.selector.one(self.node)?;
        let connection = global.connect().await?;
        let (target, nodes) = fleet::resolve(&connection, target).await?;
        let request = SubmitCommandRequest {
            selector: Some(target.to_proto()),
            name: "drain".into(),
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
        let Some(ends) = ends(&connection, &target, &list, nodes, self.undo).await? else {
            eprintln!(
                "Detached; the nodes go on draining. Come back with `aegisctl nodes --watch`, take work again with `aegisctl drain {target} --undo`."
            );
            return Ok(Exit::Detached);
        };
        report(global, &list, &ends, self.undo)?;
        Ok(exit_of(&list))
    }

    fn payload(&self) -> Value {
        let mut payload = json!({ "drain": !self.undo });
        if let Some(deadline) = self.deadline {
            payload["deadlineMs"] = json!(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX));
        }
        if let Some(reason) = &self.reason {
            payload["reason"] = json!(reason);
        }
        payload
    }
}

/// Follows the drain of each node that took the command: each node as it is
/// then, or nothing after Ctrl-C.
async fn ends(
    connection: &Connection,
    target: &Target,
    list: &CommandList,
    nodes: Vec<NodeView>,
    undo: bool,
) -> Result<Option<Vec<Node>>, Failure> {
    let taken = list
        .commands
        .iter()
        .filter(|it| it.succeeded())
        .map(|it| it.node_id.clone());
    let mut open: BTreeMap<String, Shown> = taken.map(|id| (id, Shown::default())).collect();
    let mut undone = Vec::new();
    let mut ends: BTreeMap<String, Node> = nodes
        .into_iter()
        .map(Node::from)
        .map(|it| (it.node_id.clone(), it))
        .collect();
    if !open.is_empty() {
        let watching = watch_nodes(connection, target, |view| {
            let node = Node::from(view);
            let Some(shown) = open.get_mut(&node.node_id) else {
                return Ok(ControlFlow::Continue(()));
            };
            let line = render::drain_line(&node, Utc::now());
            let blocking = what_blocks(&node);
            // A line for each change, and not for each second that passes.
            if shown.blocking != blocking {
                eprintln!("{}  {line}", short(&node.node_id));
                shown.blocking = blocking;
            }
            let drains = node.drain.is_some() || node.status == "draining";
            shown.drained |= drains;
            if is_over(&node, undo) {
                open.remove(&node.node_id);
            } else if !undo && shown.drained && !drains {
                open.remove(&node.node_id);
                undone.push(short(&node.node_id));
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
    if undone.is_empty() {
        return Ok(Some(ends.into_values().collect()));
    }
    Err(Failure::new(
        Exit::Failed,
        format!(
            "the drain of {} was undone by someone else before it was over",
            undone.join(", ")
        ),
    )
    .next("`aegisctl audit` shows by whom."))
}

/// What was last seen of a node.
#[derive(Default)]
struct Shown {
    blocking: String,
    drained: bool,
}

/// What a drain waits for, without the times that change by themselves.
fn what_blocks(node: &Node) -> String {
    let commands = node.drain.iter().flat_map(|drain| &drain.in_flight);
    let commands: Vec<&str> = commands.map(|it| it.command_id.as_str()).collect();
    format!("{} {}", node.state, commands.join(" "))
}

fn is_over(node: &Node, undo: bool) -> bool {
    if undo {
        return node.drain.is_none() && node.status != "draining";
    }
    match &node.drain {
        Some(drain) => drain.finished_at.is_some(),
        // A worker of the fixed contract says that it drains, and how many run.
        None => node.status == "draining" && node.running_commands == 0,
    }
}

fn report(global: &Global, list: &CommandList, nodes: &[Node], undo: bool) -> Result<(), Failure> {
    if global.output == Format::Json {
        return output::document(&json!({
            "group_id": list.group_id, "commands": list.commands, "counts": list.counts, "nodes": nodes
        }));
    }
    if list.counts.succeeded < list.counts.total {
        return show(global, list);
    }
    let done = if undo {
        "takes work again"
    } else {
        "is drained"
    };
    let lines: Vec<String> = list
        .commands
        .iter()
        .map(|it| format!("{} {done}", short(&it.node_id)))
        .collect();
    output::text(&lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Drain;

    fn node(status: &str, drain: Option<Drain>, running: u32) -> Node {
        Node {
            status: status.into(),
            drain,
            running_commands: running,
            ..NodeView::default().into()
        }
    }

    fn drain(finished: bool) -> Option<Drain> {
        Some(Drain {
            started_at: None,
            deadline: None,
            finished_at: finished.then(Utc::now),
            reason: None,
            in_flight: Vec::new(),
        })
    }

    #[test]
    fn a_drain_is_over_when_its_node_says_that_the_last_handler_returned() {
        assert!(!is_over(&node("draining", drain(false), 0), false));
        assert!(is_over(&node("draining", drain(true), 0), false));
        assert!(!is_over(&node("active", None, 0), false));
    }

    #[test]
    fn a_worker_without_sessions_is_drained_when_nothing_runs() {
        assert!(!is_over(&node("draining", None, 1), false));
        assert!(is_over(&node("draining", None, 0), false));
    }

    #[test]
    fn an_undo_is_over_when_the_drain_is_gone() {
        assert!(!is_over(&node("draining", drain(false), 0), true));
        assert!(!is_over(&node("draining", None, 0), true));
        assert!(is_over(&node("active", None, 3), true));
    }
}
