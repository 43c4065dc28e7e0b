//! `commands` and `command show | cancel`.

use aegis_proto::{
    operator::v1::{
        CancelCommandRequest, ListCommandsRequest, ShowCommandRequest, ShowCommandResponse,
    },
    worker::v1::CommandState,
};
use chrono::Utc;
use clap::{Args, Subcommand, ValueEnum};

use super::Global;
use crate::{
    connection::Connection,
    document::{Command, CommandList, Follow},
    failure::{Exit, Failure},
    fleet,
    follow::{CommandWatch, Update, unless_interrupted},
    output::{self, Format},
    render::{self, Follower},
    selector::{SelectorFlags, Target},
};

use super::run::{interrupted, show};

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
    /// Show a command with its payload, output and response
    Show {
        /// A command id or a unique beginning of one
        id: String,
        /// Stay until it has an outcome; with -o json one event per line
        #[arg(short, long)]
        follow: bool,
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
            Self::Show { id, follow: true } => follow(global, &connection, id).await,
            Self::Show { id, follow: false } => {
                let response = fetch(&connection, id).await?;
                let command = Command::from(response.command.unwrap_or_default())
                    .with_output(&response.output);
                print(global, &command)?;
                Ok(Exit::Success)
            }
            Self::Cancel { id, reason } => cancel(global, &connection, id, reason).await,
        }
    }
}

async fn fetch(
    connection: &Connection,
    command_id: String,
) -> Result<ShowCommandResponse, Failure> {
    let request = ShowCommandRequest { command_id };
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

fn print(global: &Global, command: &Command) -> Result<(), Failure> {
    match global.output {
        Format::Json => output::document(command),
        Format::Table => output::text(&render::command(command, Utc::now())),
    }
}

async fn follow(global: &Global, connection: &Connection, id: String) -> Result<Exit, Failure> {
    let view = fetch(connection, id).await?.command.unwrap_or_default();
    let mut follower = Follower::new([view.node_id.as_str()].into_iter(), global.output);
    let mut watch = CommandWatch::new(connection, vec![view.clone()]);
    let format = global.output;
    let watching = watch.run(|update| match format {
        Format::Json => line(update),
        Format::Table => follower.update(update),
    });
    let followed = unless_interrupted(watching).await;
    follower.close()?;
    let list = CommandList::new(view.group_id, watch.into_commands());
    let Some(result) = followed else {
        return Ok(interrupted(&list));
    };
    result?;
    if format == Format::Table {
        show(global, &list)?;
    }
    Ok(super::exit_of(&list))
}

/// One event on a line of its own.
fn line(update: Update<'_>) -> Result<(), Failure> {
    match update {
        Update::State(command) => output::line(&Follow::Command { command }),
        Update::Progress(command, progress) => output::line(&Follow::Progress {
            command_id: &command.command_id,
            progress: progress.into(),
        }),
        Update::Output(command, bytes) => output::line(&Follow::Output {
            command_id: &command.command_id,
            text: &String::from_utf8_lossy(bytes),
        }),
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
