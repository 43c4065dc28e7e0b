//! Handlers and what they take.

use std::time::Duration;

use super::{
    clean, clean_line, dash, prefix, shorten, span,
    table::{indent, pairs, table},
};
use crate::{
    document::{Description, Handler, Summary},
    schema::Field,
};

/// The handlers of one node.
pub fn handlers(handlers: &[Handler]) -> String {
    if handlers.is_empty() {
        return "(not reported)".into();
    }
    table(
        [
            "COMMAND", "PLUGIN", "EFFECT", "TIMEOUT", "SLOTS", "ENABLED", "SUMMARY",
        ],
        handlers.iter().map(|handler| {
            let enabled = match (handler.enabled, &handler.disabled_reason) {
                (true, _) => "yes".into(),
                (false, None) => "no".into(),
                (false, Some(reason)) => format!("no: {reason}"),
            };
            [
                handler.name.clone(),
                handler.plugin.clone(),
                handler.effect.clone(),
                timeout(handler),
                handler.concurrency.to_string(),
                enabled,
                handler.summary.clone().unwrap_or_default(),
            ]
        }),
    )
}

/// The commands of all nodes.
pub fn commands_of_fleet(commands: &[Summary]) -> String {
    if commands.is_empty() {
        return "No node has said which commands it has.".into();
    }
    table(
        ["COMMAND", "PLUGIN", "EFFECT", "NODES", "SUMMARY"],
        commands.iter().map(|command| {
            let nodes = match command.disabled_on {
                0 => command.enabled_on.to_string(),
                disabled => format!("{} ({disabled} disabled)", command.enabled_on),
            };
            [
                command.name.clone(),
                command.plugin.clone(),
                command.effect.clone(),
                nodes,
                command.summary.clone().unwrap_or_default(),
            ]
        }),
    )
}

/// One command in full.
pub fn description(description: &Description) -> String {
    let handler = &description.handler;
    let mut parts = vec![match &handler.summary {
        Some(summary) => format!("{}: {}", clean_line(&handler.name), clean_line(summary)),
        None => clean_line(&handler.name),
    }];
    parts.push(pairs(&[
        ("plugin", handler.plugin.clone()),
        ("effect", effect(&handler.effect)),
        ("timeout", timeout(handler)),
        ("at once", handler.concurrency.to_string()),
        (
            "while draining",
            if handler.runs_while_draining {
                "runs"
            } else {
                "refused"
            }
            .into(),
        ),
    ]));
    parts.push(format!(
        "Takes\n{}",
        body(&description.fields, handler.request_schema.is_some())
    ));
    parts.push(format!(
        "Returns\n{}",
        body(
            &description.response_fields,
            handler.response_schema.is_some()
        )
    ));
    let length = shorten(description.nodes.iter().map(|node| node.node_id.as_str()));
    let nodes: Vec<String> = description
        .nodes
        .iter()
        .map(|node| {
            let state = match (node.enabled, &node.disabled_reason) {
                (true, _) => String::new(),
                (false, None) => "  disabled".into(),
                (false, Some(reason)) => format!("  disabled: {}", clean_line(reason)),
            };
            format!("  {}{state}", prefix(&node.node_id, length))
        })
        .collect();
    parts.push(format!("Nodes\n{}", nodes.join("\n")));
    if description.differs {
        parts.push("The nodes do not agree on it: above is what the first one says.".into());
    }
    parts.join("\n\n")
}

/// What a handler takes or returns, field by field.
pub fn fields(fields: &[Field]) -> String {
    let name = fields
        .iter()
        .map(|it| it.name.chars().count())
        .max()
        .unwrap_or(0);
    let kind = fields
        .iter()
        .map(|it| it.kind.chars().count())
        .max()
        .unwrap_or(0);
    let lines: Vec<String> = fields
        .iter()
        .map(|field| {
            let required = if field.required {
                "required"
            } else {
                "optional"
            };
            let line = format!(
                "  {:name$}  {:kind$}  {required}  {}",
                field.name, field.kind, field.description
            );
            clean(line.trim_end())
        })
        .collect();
    lines.join("\n")
}

fn body(list: &[Field], has_schema: bool) -> String {
    match (list.is_empty(), has_schema) {
        (false, _) => fields(list),
        (true, true) => indent("see the schema: -o json", "  "),
        (true, false) => indent("(the plugin gives no schema)", "  "),
    }
}

fn effect(effect: &str) -> String {
    let meaning = match effect {
        "read" => "changes nothing",
        "idempotent" => "twice is as good as once",
        "at-most-once" => "after a crash its outcome is unknown",
        "resumable" => "goes on after a crash",
        _ => return dash(Some(effect)),
    };
    format!("{effect} ({meaning})")
}

fn timeout(handler: &Handler) -> String {
    handler
        .timeout_ms
        .map_or_else(|| "-".into(), |it| span(Duration::from_millis(it)))
}
