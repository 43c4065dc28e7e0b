//! `group show`: the commands of one submission as a whole.

use aegis_proto::operator::v1::{CommandView, ListCommandsRequest, ShowGroupRequest};
use chrono::Utc;
use clap::Subcommand;

use super::{Global, attach::attach};
use crate::{
    connection::Connection,
    document::{Command, Group},
    failure::{Exit, Failure},
    follow::CommandWatch,
    output::{self, Format},
    render,
};

/// Commands read at once.
const PAGE: u32 = 1000;

/// `group …`
#[derive(Debug, Subcommand)]
pub enum GroupCommands {
    /// Show what became of a command on each of its nodes
    Show {
        /// A group id or a unique beginning of one
        id: String,
        /// Only the commands that have ended and did not succeed
        #[arg(long)]
        failed: bool,
        /// Stay until all have an outcome; with -o json one event per line
        #[arg(short, long, conflicts_with = "failed")]
        follow: bool,
    },
}

impl GroupCommands {
    /// Shows.
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let Self::Show { id, failed, follow } = self;
        let connection = global.connect().await?;
        let request = ShowGroupRequest { group_id: id };
        let shown = connection
            .call(
                "show the group",
                request,
                |mut client, request| async move { client.show_group(request).await },
            )
            .await?;
        let group = shown.group.unwrap_or_default();
        let commands = commands(&connection, &group.group_id).await?;
        if follow {
            let id = group.group_id;
            let watch = CommandWatch::of_group(&connection, id.clone(), commands);
            return attach(global, watch, id).await;
        }
        let commands = commands.into_iter().map(Command::from);
        let commands = commands.filter(|it| !failed || (it.is_final && !it.succeeded()));
        let group = Group::new(group, commands.collect());
        match global.output {
            Format::Json => output::document(&group)?,
            Format::Table => output::text(&render::group(&group, Utc::now()))?,
        }
        Ok(Exit::Success)
    }
}

/// All commands of a group, oldest first.
async fn commands(connection: &Connection, group: &str) -> Result<Vec<CommandView>, Failure> {
    let mut commands: Vec<CommandView> = Vec::new();
    loop {
        let before = commands.last().map(|it| it.command_id.clone());
        let request = ListCommandsRequest {
            group_id: group.to_owned(),
            limit: PAGE,
            before: before.unwrap_or_default(),
            ..Default::default()
        };
        let page = connection
            .call(
                "list the commands",
                request,
                |mut client, request| async move { client.list_commands(request).await },
            )
            .await?
            .commands;
        let is_last = page.len() < PAGE as usize;
        commands.extend(page);
        if is_last {
            commands.reverse();
            return Ok(commands);
        }
    }
}
