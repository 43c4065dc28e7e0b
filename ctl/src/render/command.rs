//! Commands.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{
    ago, clean, clean_line, dash, prefix, pretty, shorten, span,
    table::{indent, pairs, table},
};
use crate::document::{Command, CommandList, Counts, Group};

/// A response in a row of several nodes is cut here.
const ROW_WIDTH: usize = 100;

/// The list of commands.
pub fn commands(commands: &[Command], now: DateTime<Utc>) -> String {
    if commands.is_empty() {
        return "No commands.".into();
    }
    let ids = shorten(commands.iter().map(|it| it.command_id.as_str()));
    let nodes = shorten(commands.iter().map(|it| it.node_id.as_str()));
    table(
        [
            "COMMAND",
            "NAME",
            "NODE",
            "STATE",
            "TOOK",
            "ISSUER",
            "SUBMITTED",
            "ERROR",
        ],
        commands.iter().map(|command| {
            [
                prefix(&command.command_id, ids),
                command.name.clone(),
                prefix(&command.node_id, nodes),
                state(command),
                took(command),
                dash(command.issuer.as_deref()),
                ago(now, command.created_at),
                command
                    .error
                    .as_ref()
                    .map_or_else(|| "-".into(), |error| error.code.clone()),
            ]
        }),
    )
}

/// One command in full.
pub fn command(command: &Command, now: DateTime<Utc>) -> String {
    let mut lines = vec![
        ("Command", command.command_id.clone()),
        ("Name", command.name.clone()),
        ("Node", command.node_id.clone()),
        ("State", state(command)),
    ];
    let mut add = |key, value: Option<String>| lines.extend(value.map(|value| (key, value)));
    add("Group", command.group_id.clone());
    add("Issuer", command.issuer.clone());
    add("Submitted", command.created_at.map(|at| ago(now, Some(at))));
    add(
        "Not before",
        command.not_before.map(|at| ago(now, Some(at))),
    );
    add("Start by", command.start_by.map(|at| ago(now, Some(at))));
    add(
        "Timeout",
        command.timeout_ms.map(|it| span(Duration::from_millis(it))),
    );
    add(
        "Delivered",
        command.delivered_at.map(|at| ago(now, Some(at))),
    );
    add("Started", command.started_at.map(|at| ago(now, Some(at))));
    add(
        "Finished",
        command
            .finished_at
            .map(|at| format!("{}, took {}", ago(now, Some(at)), took(command))),
    );
    add(
        "Attempt",
        (command.attempt > 1).then(|| command.attempt.to_string()),
    );
    add(
        "Progress",
        command
            .progress
            .as_ref()
            .filter(|_| !command.is_final)
            .map(super::follow::progress),
    );
    add(
        "Receipt",
        command
            .receipt_signature
            .as_ref()
            .map(|_| "signed by the node (--receipt verifies it)".into()),
    );
    let mut parts = vec![pairs(&lines)];
    if let Some(payload) = &command.payload {
        parts.push(format!("Payload\n{}", indent(&pretty(payload), "  ")));
    }
    if let Some(output) = &command.output {
        let cut = match command.output_cut {
            0 => String::new(),
            bytes => format!(" ({bytes} bytes were not kept)"),
        };
        parts.push(format!("Output{cut}\n{}", indent(&clean(output), "  ")));
    }
    if let Some(response) = &command.response {
        parts.push(format!("Response\n{}", indent(&pretty(response), "  ")));
    }
    if command.error.is_some() {
        parts.push(format!("Error\n{}", indent(&error(command), "  ")));
    }
    parts.join("\n\n")
}

/// What became of several commands: a row for each, then the counts.
pub fn outcomes(list: &CommandList) -> String {
    let nodes = shorten(list.commands.iter().map(|it| it.node_id.as_str()));
    let rows = table(
        ["NODE", "STATE", "TOOK", "RESULT"],
        list.commands.iter().map(|command| {
            [
                prefix(&command.node_id, nodes),
                state(command),
                took(command),
                result(command),
            ]
        }),
    );
    format!("{rows}\n\n{}", counts(list.counts))
}

/// `group show`: the whole, then a row for each command.
pub fn group(group: &Group, now: DateTime<Utc>) -> String {
    let head = pairs(&[
        ("Group", group.group_id.clone()),
        ("Name", group.name.clone()),
        ("Issuer", dash(group.issuer.as_deref())),
        ("Submitted", ago(now, group.created_at)),
        ("Finished", ago(now, group.finished_at)),
        ("Commands", counts(group.counts)),
    ]);
    if group.commands.is_empty() {
        return head;
    }
    let ids = shorten(group.commands.iter().map(|it| it.command_id.as_str()));
    let nodes = shorten(group.commands.iter().map(|it| it.node_id.as_str()));
    let rows = table(
        ["NODE", "COMMAND", "STATE", "TOOK", "ERROR"],
        group.commands.iter().map(|command| {
            [
                prefix(&command.node_id, nodes),
                prefix(&command.command_id, ids),
                state(command),
                took(command),
                result(command),
            ]
        }),
    );
    format!("{head}\n\n{rows}")
}

/// Why a command has no response, with what to do.
pub fn error(command: &Command) -> String {
    let Some(error) = &command.error else {
        return format!("{} without a reason", command.state);
    };
    let mut text = format!("{}: {}", clean_line(&error.code), clean(&error.message));
    if let Some(help) = &error.help {
        text.push_str(&format!("\n{}", clean(help)));
    }
    if error.retryable {
        let after = error.retry_after_ms.map_or_else(String::new, |it| {
            format!(" after {}", span(Duration::from_millis(it)))
        });
        text.push_str(&format!("\nThe same command may succeed later{after}."));
    }
    text
}

fn counts(counts: Counts) -> String {
    let parts = [
        (counts.succeeded, "succeeded"),
        (counts.failed, "failed"),
        (counts.rejected, "rejected"),
        (counts.expired, "expired"),
        (counts.cancelled, "cancelled"),
        (counts.unknown, "unknown"),
        (counts.open, "open"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    format!(
        "{} of {}",
        if parts.is_empty() {
            "0".into()
        } else {
            parts.join(", ")
        },
        counts.total
    )
}

fn result(command: &Command) -> String {
    let text = match (&command.response, &command.error) {
        (_, Some(error)) => format!("{}: {}", error.code, error.message),
        (Some(response), None) => response.to_string(),
        (None, None) => return "-".into(),
    };
    let text = clean_line(&text);
    match text.char_indices().nth(ROW_WIDTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn state(command: &Command) -> String {
    if command.cancel_requested && !command.is_final {
        return format!("{} (cancel requested)", command.state);
    }
    command.state.clone()
}

/// From the start of the handler to its end.
fn took(command: &Command) -> String {
    let (Some(start), Some(end)) = (command.started_at, command.finished_at) else {
        return "-".into();
    };
    end.signed_duration_since(start)
        .to_std()
        .map_or_else(|_| "-".into(), span)
}
