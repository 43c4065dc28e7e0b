//! `nodes` and `node show`.

use std::ops::ControlFlow;

use chrono::{Local, Utc};
use clap::{Args, Subcommand};

use super::Global;
use crate::{
    connection::Connection,
    document::{Node, NodeDetail},
    failure::{Exit, Failure},
    fleet,
    follow::{unless_interrupted, watch_nodes},
    output::{self, Format},
    render,
    selector::{SelectorFlags, Target},
};

/// `nodes [SELECTOR] [--watch]`
#[derive(Debug, Args)]
pub struct ListArguments {
    /// A node id or its beginning; without a selector all nodes are listed
    node: Option<String>,
    #[command(flatten)]
    selector: SelectorFlags,
    /// Stay and show each change; with -o json one node per line
    #[arg(short, long)]
    watch: bool,
}

impl ListArguments {
    /// Lists.
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let target = self.selector.optional(self.node)?;
        let connection = global.connect().await?;
        let (target, views) = match target {
            Some(target @ Target::Node(_)) => {
                let (target, views) = fleet::resolve(&connection, target).await?;
                (Some(target), views)
            }
            target => {
                let views = fleet::list(&connection, target.as_ref()).await?;
                (target, views)
            }
        };
        if self.watch {
            return watch(global, &connection, &target.unwrap_or(Target::All)).await;
        }
        let nodes: Vec<Node> = views.into_iter().map(Node::from).collect();
        match global.output {
            Format::Json => output::document(&nodes)?,
            Format::Table => output::text(&render::nodes(&nodes, Utc::now()))?,
        }
        Ok(Exit::Success)
    }
}

async fn watch(global: &Global, connection: &Connection, target: &Target) -> Result<Exit, Failure> {
    let format = global.output;
    let mut last: Vec<(String, String)> = Vec::new();
    let watching = watch_nodes(connection, target, |view| {
        let node = Node::from(view);
        match format {
            Format::Json => output::line(&node)?,
            Format::Table => {
                let line = render::node_line(&node, Utc::now());
                let known = last.iter_mut().find(|(id, _)| *id == node.node_id);
                // Heartbeats change figures that this line does not show.
                match known {
                    Some((_, shown)) if *shown == line => return Ok(ControlFlow::Continue(())),
                    Some((_, shown)) => shown.clone_from(&line),
                    None => last.push((node.node_id.clone(), line.clone())),
                }
                output::text(&format!("{}  {line}", Local::now().format("%H:%M:%S")))?;
            }
        }
        Ok(ControlFlow::Continue(()))
    });
    match unless_interrupted(watching).await {
        Some(result) => result.map(|()| Exit::Success),
        None => Ok(Exit::Success),
    }
}

/// `node …`
#[derive(Debug, Subcommand)]
pub enum NodeCommands {
    /// Show one node with its plugins, handlers and config
    Show {
        /// A node id or a unique beginning of one
        node: String,
    },
}

impl NodeCommands {
    /// Shows.
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let Self::Show { node } = self;
        let connection = global.connect().await?;
        let (_, nodes) = fleet::resolve(&connection, Target::Node(node)).await?;
        for view in &nodes {
            let detail =
                NodeDetail::from(fleet::show(&connection, fleet::id(view).to_owned()).await?);
            match global.output {
                Format::Json => output::document(&detail)?,
                Format::Table => output::text(&render::node_detail(&detail, Utc::now()))?,
            }
        }
        Ok(Exit::Success)
    }
}
