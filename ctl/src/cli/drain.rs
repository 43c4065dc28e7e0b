//! `drain`: the drain command, then each node's drain to its end.

mod followed;

use std::{ops::ControlFlow, time::Duration};

use aegis_proto::operator::v1::{NodeView, SubmitCommandRequest};
use chrono::Utc;
use clap::Args;
use serde_json::{Value, json};

use self::followed::Followed;
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

/// `drain SELECTOR`
#[derive(Debug, Args)]
#[command(override_usage = "aegisctl drain <NODE | --all | --tag TAG> [OPTIONS]")]
pub struct Arguments {
    /// A node id or its beginning
    node: Option<String>,
    #[command(flatten)]
    selector: SelectorFlags,
    /// When what still runs is cancelled, from now [default: never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "undo")]
    deadline: Option<Duration>,
    /// Cancel what runs at once: a deadline that is now
    #[arg(long, conflicts_with_all = ["undo", "deadline"])]
    force: bool,
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
                "Detached; the nodes go on draining. Come back with `aegisctl drain {target}`, take work again with `aegisctl drain {target} --undo`."
            );
            return Ok(Exit::Detached);
        };
        report(global, &list, &ends, self.undo)?;
        Ok(exit_of(&list))
    }

    fn payload(&self) -> Value {
        let mut payload = json!({ "drain": !self.undo });
        let at_once = self.force.then_some(Duration::ZERO);
        if let Some(deadline) = self.deadline.or(at_once) {
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
    let taken = list.commands.iter().filter(|it| it.succeeded());
    let mut followed = Followed::new(
        undo,
        nodes.into_iter().map(Node::from),
        taken.map(|it| it.node_id.clone()),
    );
    if !followed.is_over() {
        let watching = watch_nodes(connection, target, |view| {
            for line in followed.seen(Node::from(view), Utc::now()) {
                eprintln!("{line}");
            }
            Ok(if followed.is_over() {
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
    let (ends, undone) = followed.ends();
    if undone.is_empty() {
        return Ok(Some(ends));
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
