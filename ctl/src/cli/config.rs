//! `config show | set | history | status | rollout`.

use aegis_proto::operator::v1::{ListConfigRevisionsRequest, ShowConfigRequest};
use chrono::Utc;
use clap::{Args, Subcommand};

use super::{Global, push_config, rollout::RolloutCommands};
use crate::{
    connection::Connection,
    document::{Config, NodeConfig, Revision},
    failure::{Exit, Failure},
    fleet,
    output::{self, Format},
    render,
    selector::{SelectorFlags, Target},
};

/// `config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommands {
    /// Show the layers; for a node its merged config and what it has applied
    Show(Chosen),
    /// Set a layer, at once or in batches, and follow it to the nodes it changes
    #[command(
        override_usage = "aegisctl config set <NODE | --all | --tag TAG> <FILE | --remove | --revision N> [OPTIONS]"
    )]
    Set(push_config::Arguments),
    /// Show what layers were set to, by whom and when, newest first
    History {
        #[command(flatten)]
        chosen: Chosen,
        /// How many at the most
        #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Show for each node the config it should have, the one it has, and what failed
    Status(Chosen),
    /// Show, follow, stop and resume rollouts, or give them up
    #[command(subcommand)]
    Rollout(RolloutCommands),
}

/// A selection that may be left out.
#[derive(Debug, Args)]
pub struct Chosen {
    /// A node id or its beginning; without a selector all are shown
    node: Option<String>,
    #[command(flatten)]
    selector: SelectorFlags,
}

impl Chosen {
    /// The selection, where there is one; of a node the whole id.
    async fn resolve(self, connection: &Connection) -> Result<Option<Target>, Failure> {
        match self.selector.optional(self.node)? {
            Some(target @ Target::Node(_)) => Ok(Some(fleet::resolve(connection, target).await?.0)),
            target => Ok(target),
        }
    }
}

impl ConfigCommands {
    /// Shows or sets.
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        match self {
            Self::Show(chosen) => show(global, chosen).await,
            Self::Set(arguments) => arguments.run(global).await,
            Self::History { chosen, limit } => history(global, chosen, limit).await,
            Self::Status(chosen) => status(global, chosen).await,
            Self::Rollout(commands) => commands.run(global).await,
        }
    }
}

async fn show(global: &Global, chosen: Chosen) -> Result<Exit, Failure> {
    let connection = global.connect().await?;
    let target = chosen.resolve(&connection).await?;
    let request = ShowConfigRequest {
        selector: target.as_ref().map(Target::to_proto),
    };
    let response = connection
        .call(
            "show the config",
            request,
            |mut client, request| async move { client.show_config(request).await },
        )
        .await?;
    let config = Config::from(response);
    match global.output {
        Format::Json => output::document(&config)?,
        Format::Table => output::text(&render::config(&config, Utc::now()))?,
    }
    Ok(Exit::Success)
}

async fn history(global: &Global, chosen: Chosen, limit: u32) -> Result<Exit, Failure> {
    let connection = global.connect().await?;
    let target = chosen.resolve(&connection).await?;
    let request = ListConfigRevisionsRequest {
        selector: target.as_ref().map(Target::to_proto),
        limit,
        before: 0,
    };
    let listed = connection
        .call(
            "list what the config was",
            request,
            |mut client, request| async move { client.list_config_revisions(request).await },
        )
        .await?;
    let revisions: Vec<Revision> = listed.revisions.into_iter().map(Revision::from).collect();
    match global.output {
        Format::Json => output::document(&revisions)?,
        Format::Table => output::text(&render::history(&revisions, Utc::now()))?,
    }
    Ok(Exit::Success)
}

async fn status(global: &Global, chosen: Chosen) -> Result<Exit, Failure> {
    let connection = global.connect().await?;
    let target = chosen.resolve(&connection).await?;
    let nodes = fleet::list(&connection, target.as_ref()).await?;
    let nodes: Vec<NodeConfig> = nodes.into_iter().map(NodeConfig::from).collect();
    match global.output {
        Format::Json => output::document(&nodes)?,
        Format::Table => output::text(&render::config_status(&nodes))?,
    }
    Ok(Exit::Success)
}
