//! `commands` and `command show | cancel`.

use std::path::PathBuf;

use aegis_proto::{
    operator::v1::{
        CancelCommandRequest, ListCommandsRequest, ShowCommandRequest, ShowCommandResponse,
    },
    worker::v1::CommandState,
};
use chrono::Utc;
use clap::{Args, Subcommand, ValueEnum};

use super::{Global, attach::attach, receipt};
use crate::{
    connection::Connection,
    document::Command,
    failure::{Exit, Failure},
    fleet,
    follow::CommandWatch,
    output::{self, Format},
    render,
    selector::{SelectorFlags, Target},
};

/// `commands [SELECTOR] [filters]`
#[derive(Debug, Args)]
pub struct ListArguments {
    /// A node id or its beginning; without a selector all nodes' commands are listed
    node: Option<String>,
    #[command(flatten)]
    selector: SelectorFlags,
    /// Only these states; may be repeated
    #[arg(long, value_enum, value_name = "STATE", value_delimiter = ',')]
    state: Vec<State>,
    /// Only the commands of one submission
    #[arg(long, value_name = "ID")]
    group: Option<String>,
    /// How many at the most
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Only commands older than this one
    #[arg(long, value_name = "ID")]
    before: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Queued,
    Delivered,
    Accepted,
    Running,
    Succeeded,
    Failed,
    Rejected,
    Expired,
    Cancelled,
    Unknown,
}

impl From<State> for CommandState {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Delivered => Self::Delivered,
            State::Accepted => Self::Accepted,
            State::Running => Self::Running,
            State::Succeeded => Self::Succeeded,
            State::Failed => Self::Failed,
            State::Rejected => Self::Rejected,
            State::Expired => Self::Expired,
            State::Cancelled => Self::Cancelled,
            State::Unknown => Self::Unknown,
        }
    }
}

impl ListArguments {
    /// Lists.
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let target = self.selector.optional(self.node)?;
        let connection = global.connect().await?;
        let target = match target {
            Some(target @ Target::Node(_)) => Some(fleet::resolve(&connection, target).await?.0),
            target => target,
        };
        let request = ListCommandsRequest {
            selector: target.as_ref().map(Target::to_proto),
            states: self
                .state
                .into_iter()
                .map(|state| CommandState::from(state).into())
                .collect(),
            limit: self.limit,
            before: self.before.unwrap_or_default(),
            group_id: self.group.unwrap_or_default(),
        };
        let response = connection
            .call(
                "list the commands",
                request,
                |mut client, request| async move { client.list_commands(request).await },
            )
            .await?;
        let commands: Vec<Command> = response.commands.into_iter().map(Command::from).collect();
        match global.output {
            Format::Json => output::document(&commands)?,
            Format::Table => output::text(&render::commands(&commands, Utc::now()))?,
        }
        Ok(Exit::Success)
    }
}

/// `command …`
#[derive(Debug, Subcommand)]
pub enum CommandCommands {
    /// Show commands with their payload, output and response
    Show {
        /// Command ids or unique beginnings of them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        /// Stay until they have an outcome; with -o json one event per line
        #[arg(short, long)]
        follow: bool,
        /// Show the receipt that the node signed for the outcome, and verify it
        #[arg(long, conflicts_with = "follow")]
        receipt: bool,
        /// The same, and write what openssl and sha256sum verify it from into this directory
        #[arg(long, value_name = "DIR", conflicts_with = "follow")]
        receipt_dir: Option<PathBuf>,
    },
    /// Cancel a command: it never starts, or its handler is asked to end
    Cancel {
        /// A command id or a unique beginning of one
        id: String,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
}

impl CommandCommands {
    /// Shows or cancels.
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let connection = global.connect().await?;
        match self {
            Self::Show {
                ids,
                follow: false,
                receipt,
                receipt_dir,
            } if receipt || receipt_dir.is_some() => {
                let [id] = ids.as_slice() else {
                    return Err(Failure::usage("receipts are shown one at a time")
                        .next("Give one command id with --receipt."));
                };
                let shown = fetch(&connection, id).await?;
                receipt::show(global, shown, receipt_dir.as_deref())
            }
            Self::Show { ids, follow, .. } => {
                let mut all = Vec::with_capacity(ids.len());
                for id in &ids {
                    all.push(fetch(&connection, id).await?);
                }
                if follow {
                    let views = all.into_iter().filter_map(|it| it.command).collect();
                    let watch = CommandWatch::new(&connection, views);
                    return attach(global, watch, String::new()).await;
                }
                print(global, all)?;
                Ok(Exit::Success)
            }
            Self::Cancel { id, reason } => cancel(global, &connection, id, reason).await,
        }
    }
}

async fn fetch(connection: &Connection, command_id: &str) -> Result<ShowCommandResponse, Failure> {
    let request = ShowCommandRequest {
        command_id: command_id.to_owned(),
    };
    let shown = connection
        .call(
            "show the command",
            request,
            |mut client, request| async move { client.show_command(request).await },
        )
        .await;
    shown.map_err(|error| {
        Failure::from(error).or_next("`aegisctl commands` lists the commands with their ids.")
    })
}

fn print(global: &Global, all: Vec<ShowCommandResponse>) -> Result<(), Failure> {
    let commands = all
        .into_iter()
        .map(|shown| Command::from(shown.command.unwrap_or_default()).with_output(&shown.output));
    let commands: Vec<Command> = commands.collect();
    match (global.output, commands.as_slice()) {
        (Format::Json, [command]) => output::document(command),
        (Format::Json, commands) => output::document(&commands),
        (Format::Table, commands) => {
            let now = Utc::now();
            let texts: Vec<String> = commands.iter().map(|it| render::command(it, now)).collect();
            output::text(&texts.join("\n\n\n"))
        }
    }
}

async fn cancel(
    global: &Global,
    connection: &Connection,
    id: String,
    reason: String,
) -> Result<Exit, Failure> {
    let request = CancelCommandRequest {
        command_id: id,
        reason,
    };
    let cancelled = connection
        .call(
            "cancel the command",
            request,
            |mut client, request| async move { client.cancel_command(request).await },
        )
        .await;
    let cancelled = cancelled.map_err(|error| {
        Failure::from(error).or_next("`aegisctl commands` lists the commands with their states.")
    })?;
    let command = Command::from(cancelled.command.unwrap_or_default());
    match global.output {
        Format::Json => output::document(&command)?,
        Format::Table if command.is_final => {
            output::text(&format!(
                "Command {} is {}.",
                command.command_id, command.state
            ))?;
        }
        Format::Table => output::text(&format!(
            "Command {id} is asked to end; `aegisctl command show {id} --follow` shows when it has.",
            id = command.command_id
        ))?,
    }
    Ok(Exit::Success)
}
