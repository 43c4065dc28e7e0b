//! `run`: a command on nodes, followed to its outcome.

use std::time::Duration;

use aegis_proto::operator::v1::{NodeView, SubmitCommandRequest};
use chrono::Utc;
use clap::Args;
use uuid::Uuid;

use super::{
    Global,
    attach::{detached, exit_of, follow, interrupted, show},
    parse_duration,
};
use crate::{
    connection::Connection,
    document::{duration, timestamp},
    duration::Moment,
    failure::{Exit, Failure},
    fleet,
    offer::{Offer, Offers},
    payload::{self, Argument, Source},
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
    /// An id of your own: repeated with it, the same command is not submitted again but come back to
    #[arg(long, value_name = "UUID")]
    request_id: Option<Uuid>,
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
        self.can_be_repeated()?;
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
            request_id: self
                .request_id
                .map_or_else(String::new, |id| id.to_string()),
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

    /// A time that is told from now is another one at each repetition.
    fn can_be_repeated(&self) -> Result<(), Failure> {
        let times = [self.start_by, self.not_before];
        let from_now = times.iter().flatten().any(|it| matches!(it, Moment::In(_)));
        if self.request_id.is_some() && from_now {
            return Err(Failure::usage(
                "with --request-id, --start-by and --not-before take a time and not a duration",
            )
            .next("Write it as in 2026-01-31T18:00:00Z, the same at each repetition."));
        }
        Ok(())
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
