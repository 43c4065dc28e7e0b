//! `run`: a command on nodes, followed to its outcome.

use std::time::Duration;

use aegis_proto::operator::v1::{NodeView, SubmitCommandRequest, SubmitCommandResponse};
use chrono::Utc;
use clap::Args;

use super::{Global, exit_of, parse_duration, way_back};
use crate::{
    connection::Connection,
    document::{CommandList, duration, timestamp},
    duration::Moment,
    failure::{Exit, Failure},
    fleet,
    follow::{CommandWatch, unless_interrupted},
    offer::{Offer, Offers},
    output::{self, Format},
    payload::{self, Argument, Source},
    render::{self, Follower, short},
    selector::SelectorFlags,
    submit::submit,
};

/// `run SELECTOR COMMAND [JSON | --arg k=v …]`
#[derive(Debug, Args)]
#[command(
    override_usage = "aegisctl run <NODE | --all | --tag TAG> COMMAND [JSON | --arg KEY=VALUE ...] [OPTIONS]"
)]
pub struct Arguments {
    /// NODE (unless --all or --tag is given), COMMAND, and the payload: JSON, @FILE or - for standard input
    #[arg(value_name = "NODE COMMAND JSON", num_args = 1..=3, hide_possible_values = true)]
    arguments: Vec<String>,
    #[command(flatten)]
    selector: SelectorFlags,
    /// A field of the payload; the command's schema gives it its type
    #[arg(short, long = "arg", value_name = "KEY=VALUE")]
    args: Vec<Argument>,
    /// How long the command may run [default: the handler's own]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Do not start it after this: a duration from now or an RFC 3339 time
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse)]
    start_by: Option<Moment>,
    /// Do not start it before this: a duration from now or an RFC 3339 time
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse)]
    not_before: Option<Moment>,
    /// Return once it is submitted
    #[arg(short, long)]
    detach: bool,
    /// Send it without checking the payload against what the nodes say they take
    #[arg(long)]
    unchecked: bool,
}

impl Arguments {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let (target, rest) = self.selector.split(self.arguments)?;
        let (command, json) = command_and_json(rest)?;
        let source = Source::read(json.as_deref(), self.args)?;
        let connection = global.connect().await?;
        let (target, nodes) = fleet::resolve(&connection, target).await?;
        let payload = if self.unchecked {
            source.payload(None)?
        } else {
            checked(&connection, &nodes, &command, &source).await?
        };
        let now = Utc::now();
        let request = SubmitCommandRequest {
            selector: Some(target.to_proto()),
            name: command,
            payload: payload::encode(&payload)?,
            not_before: self.not_before.map(|it| timestamp(it.resolve(now))),
            start_by: self.start_by.map(|it| timestamp(it.resolve(now))),
            timeout: self.timeout.map(duration),
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
        show(global, &list)?;
        Ok(exit_of(&list))
    }
}

/// The command's name, and the payload where it is an argument.
fn command_and_json(mut rest: Vec<String>) -> Result<(String, Option<String>), Failure> {
    let usage = "It is `aegisctl run SELECTOR COMMAND [JSON | --arg k=v ...]`; the selector is a node id, --all or --tag TAG.";
    if rest.is_empty() {
        return Err(Failure::usage("no command is given").next(usage));
    }
    let command = rest.remove(0);
    if command.starts_with(['{', '[', '"', '@', '-']) || command.is_empty() {
        return Err(Failure::usage(format!(
            "{command:?} stands where the command's name should be"
        ))
        .next(usage));
    }
    match rest.len() {
        0 => Ok((command, None)),
        1 => Ok((command, Some(rest.remove(0)))),
        _ => {
            Err(Failure::usage(format!("too many arguments: {}", rest[1..].join(" "))).next(usage))
        }
    }
}

/// The payload, once every node that said what it takes would take it.
async fn checked(
    connection: &Connection,
    nodes: &[NodeView],
    command: &str,
    source: &Source,
) -> Result<serde_json::Value, Failure> {
    let offers = Offers::of(connection, nodes, command).await?;
    offers.require(command)?;
    if let Some(warning) = offers.warning(command) {
        eprintln!("{warning}");
    }
    let schema = offers.enabled.first().and_then(Offer::request_schema);
    let payload = source.payload(schema.as_ref())?;
    let mut checked: Vec<&str> = Vec::new();
    for offer in &offers.enabled {
        let schema = offer.spec.request_schema.as_str();
        if !checked.contains(&schema) {
            payload::check(&payload, offer)?;
            checked.push(schema);
        }
    }
    Ok(payload)
}

/// Follows to the outcomes: the commands, or (as the error) where they were
/// left with Ctrl-C.
pub async fn follow(
    global: &Global,
    connection: &Connection,
    nodes: &[NodeView],
    submitted: SubmitCommandResponse,
) -> Result<Result<CommandList, CommandList>, Failure> {
    let group = submitted.group_id;
    let ids: Vec<String> = submitted
        .commands
        .iter()
        .map(|it| it.node_id.clone())
        .collect();
    let mut follower = Follower::new(ids.iter().map(String::as_str), global.output);
    for node in nodes.iter().filter(|node| !node.connected) {
        follower.note(&format!(
            "note: {} is not connected; the command waits until it is",
            short(fleet::id(node))
        ));
    }
    let mut watch = CommandWatch::new(connection, submitted.commands)
        .keep_output(global.output == Format::Json);
    let followed = unless_interrupted(watch.run(|update| follower.update(update))).await;
    follower.close()?;
    let lost = matches!(followed, Some(Err(_)));
    let list = CommandList::new(group, watch.into_commands());
    match followed {
        Some(Ok(())) => Ok(Ok(list)),
        Some(Err(failure)) if lost => {
            Err(failure.next(format!("What was submitted goes on. {}", way_back(&list))))
        }
        _ => Ok(Err(list)),
    }
}

/// Prints the outcomes.
pub fn show(global: &Global, list: &CommandList) -> Result<(), Failure> {
    if global.output == Format::Json {
        return output::document(list);
    }
    let [command] = list.commands.as_slice() else {
        return output::text(&render::outcomes(list));
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

fn said(state: &str) -> String {
    match state {
        "unknown" => "ended with its outcome unknown".into(),
        "failed" => "failed".into(),
        state => format!("was {state}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(rest: &[&str]) -> Result<(String, Option<String>), String> {
        command_and_json(rest.iter().map(ToString::to_string).collect())
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_command_has_a_name_and_perhaps_a_payload() {
        assert_eq!(split(&["hello"]), Ok(("hello".into(), None)));
        assert_eq!(
            split(&["hello", "{}"]),
            Ok(("hello".into(), Some("{}".into())))
        );
    }

    #[test]
    fn a_payload_where_the_name_should_be_means_that_the_selector_was_forgotten() {
        for bad in [&["{}"][..], &[], &["hello", "{}", "more"], &["@file"]] {
            assert!(
                split(bad).unwrap_err().contains("run SELECTOR COMMAND"),
                "{bad:?}"
            );
        }
    }
}
