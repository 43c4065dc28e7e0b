//! Attaching to commands: to those just submitted, and later to those that
//! still run. What is kept is shown first, then what happens, to the outcomes.

use aegis_proto::operator::v1::{NodeView, SubmitCommandResponse};

use super::Global;
use crate::{
    connection::Connection,
    document::{CommandList, Follow},
    failure::{Exit, Failure},
    fleet,
    follow::{CommandWatch, Update, unless_interrupted},
    output::{self, Format},
    render::{self, Follower, short},
};

/// Follows what was just submitted to its outcomes: the commands, or (as the
/// error) where they were left with Ctrl-C.
pub async fn follow(
    global: &Global,
    connection: &Connection,
    nodes: &[NodeView],
    submitted: SubmitCommandResponse,
) -> Result<Result<CommandList, CommandList>, Failure> {
    let group = submitted.group_id;
    let commands = submitted.commands;
    let ids: Vec<String> = commands.iter().map(|it| it.node_id.clone()).collect();
    let mut follower = Follower::new(ids.iter().map(String::as_str), global.output);
    for node in nodes.iter().filter(|node| !node.connected) {
        follower.note(&format!(
            "note: {} is not connected; the command waits until it is",
            short(fleet::id(node))
        ));
    }
    let watch = CommandWatch::of_group(connection, group.clone(), commands)
        .keep_output(global.output == Format::Json);
    to_the_end(watch, group, &mut follower, |follower, update| {
        follower.update(update)
    })
    .await
}

/// Attaches to commands that were submitted before, prints what becomes of
/// them, and says so with the exit code. With JSON each event is a line.
pub async fn attach(
    global: &Global,
    watch: CommandWatch<'_>,
    group: String,
) -> Result<Exit, Failure> {
    let format = global.output;
    let nodes = watch.nodes();
    let mut follower = Follower::new(nodes.iter().map(String::as_str), format);
    let attached = to_the_end(
        watch,
        group,
        &mut follower,
        |follower, update| match format {
            Format::Json => line(update),
            Format::Table => follower.update(update),
        },
    );
    let list = match attached.await? {
        Ok(list) => list,
        Err(list) => return Ok(interrupted(&list)),
    };
    if format == Format::Table {
        show(global, &list)?;
    }
    Ok(exit_of(&list))
}

async fn to_the_end(
    mut watch: CommandWatch<'_>,
    group: String,
    follower: &mut Follower,
    mut update: impl FnMut(&mut Follower, Update<'_>) -> Result<(), Failure>,
) -> Result<Result<CommandList, CommandList>, Failure> {
    let followed = unless_interrupted(watch.run(|it| update(follower, it))).await;
    follower.close()?;
    let list = CommandList::new(group, watch.into_commands());
    match followed {
        Some(Ok(())) => Ok(Ok(list)),
        Some(Err(failure)) => {
            let way_back = way_back(&list);
            Err(failure.next(format!("What was submitted goes on. {way_back}")))
        }
        None => Ok(Err(list)),
    }
}

/// One event on a line of its own.
fn line(update: Update<'_>) -> Result<(), Failure> {
    match update {
        Update::State(command) => output::line(&Follow::Command {
            command_id: &command.command_id,
            command,
        }),
        Update::Progress(command, progress) => output::line(&Follow::Progress {
            command_id: &command.command_id,
            progress: progress.into(),
        }),
        Update::Output(command, offset, bytes) => output::line(&Follow::Output {
            command_id: &command.command_id,
            offset,
            text: &String::from_utf8_lossy(bytes),
        }),
        Update::Gap(command, bytes) => output::line(&Follow::Gap {
            command_id: &command.command_id,
            bytes,
        }),
        Update::Attempt(command, attempt) => output::line(&Follow::Attempt {
            command_id: &command.command_id,
            attempt,
        }),
    }
}

/// Prints the outcomes.
pub fn show(global: &Global, list: &CommandList) -> Result<(), Failure> {
    if global.output == Format::Json {
        return output::document(list);
    }
    let [command] = list.commands.as_slice() else {
        output::text(&render::outcomes(list))?;
        if list.counts.succeeded < list.counts.total
            && let Some(group) = &list.group_id
        {
            eprintln!(
                "`aegisctl group show {group} --failed` lists what did not succeed, `aegisctl command show ID` shows one in full."
            );
        }
        return Ok(());
    };
    if command.succeeded() {
        return match &command.response {
            Some(response) => output::text(&render::pretty(response)),
            None => Ok(()),
        };
    }
    eprintln!(
        "error: `{}` {} on {}: {}\n  `aegisctl command show {}` shows more.",
        render::clean(&command.name),
        said(&command.state),
        short(&command.node_id),
        render::error(command).replace('\n', "\n  "),
        command.command_id
    );
    Ok(())
}

/// What Ctrl-C leaves behind.
pub fn interrupted(list: &CommandList) -> Exit {
    eprintln!("Detached; what was submitted goes on. {}", way_back(list));
    Exit::Detached
}

/// What `--detach` prints.
pub fn detached(global: &Global, submitted: SubmitCommandResponse) -> Result<Exit, Failure> {
    let list = CommandList::from(submitted);
    match global.output {
        Format::Json => output::document(&list)?,
        Format::Table => {
            // Ids alone on standard output: they are what a script wants.
            let ids: Vec<&str> = list
                .commands
                .iter()
                .map(|it| it.command_id.as_str())
                .collect();
            output::text(&ids.join("\n"))?;
            eprintln!("Submitted. {}", way_back(&list));
        }
    }
    Ok(Exit::Success)
}

/// 0 where all commands succeeded, 1 otherwise.
pub fn exit_of(list: &CommandList) -> Exit {
    if list.counts.succeeded == list.counts.total {
        Exit::Success
    } else {
        Exit::Failed
    }
}

/// How to come back to commands that go on by themselves.
fn way_back(list: &CommandList) -> String {
    match (list.commands.as_slice(), &list.group_id) {
        ([command], _) => format!(
            "Come back with `aegisctl command show {id} --follow`, end it with `aegisctl command cancel {id}`.",
            id = command.command_id
        ),
        (_, Some(group)) => format!("Come back with `aegisctl group show {group} --follow`."),
        (commands, None) => {
            let ids: Vec<&str> = commands.iter().map(|it| it.command_id.as_str()).collect();
            format!(
                "Come back with `aegisctl command show {} --follow`.",
                ids.join(" ")
            )
        }
    }
}

fn said(state: &str) -> String {
    match state {
        "unknown" => "ended with its outcome unknown".into(),
        "failed" => "failed".into(),
        state => format!("was {state}"),
    }
}
