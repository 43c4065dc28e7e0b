//! What people read: tables, texts, progress. Everything that came from a node
//! or the controller goes through [`clean`] on its way to a terminal.

mod command;
mod config;
mod follow;
#[cfg(test)]
mod golden;
mod handler;
mod node;
mod plugin;
mod receipt;
mod record;
mod rollout;
mod table;
mod time;

use serde_json::Value;

pub use self::{
    command::{command, commands, error, group, outcomes},
    config::{config, pushed},
    follow::Follower,
    handler::{commands_of_fleet, description, fields},
    node::{blocking, drain_line, node_detail, node_line, nodes},
    plugin::{allowed as allowed_plugins, plugins},
    receipt::receipt,
    record::{audit, events, tokens},
    rollout::{config_status, history, rollout, rollout_line, rollouts},
    time::{ago, span},
};

/// Text without control characters but line breaks and tabs: what a peer sends
/// must not move the cursor, change colours or rename the terminal.
pub fn clean(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_control() => '\u{fffd}',
        // Marks that reorder what is shown.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// [`clean`], on one line.
fn clean_line(text: &str) -> String {
    clean(text).replace(['\n', '\t'], " ")
}

/// The first group of a UUID: enough to tell a few apart. Lists whose ids
/// share it use [`shorten`].
pub fn short(id: &str) -> String {
    clean_line(id.split('-').next().unwrap_or_default())
}

/// The shortest beginnings, eight letters at least, that tell all the ids apart.
fn shorten<'a>(ids: impl Iterator<Item = &'a str>) -> usize {
    let mut ids: Vec<&str> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    let shared = |pair: &[&str]| {
        pair[0]
            .bytes()
            .zip(pair[1].bytes())
            .take_while(|(a, b)| a == b)
            .count()
    };
    let longest = ids.windows(2).map(shared).max().unwrap_or(0);
    match (longest + 1).max(8) {
        // Not in the middle of a dash.
        length @ (9 | 14 | 19 | 24) => length + 1,
        length => length,
    }
}

/// The first `length` letters.
fn prefix(id: &str, length: usize) -> String {
    clean_line(&id.chars().take(length).collect::<String>())
}

/// JSON over several lines.
pub fn pretty(value: &Value) -> String {
    clean(&format!("{value:#}"))
}

/// A dash in place of nothing.
fn dash(text: Option<&str>) -> String {
    text.map_or_else(|| "-".into(), clean_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_control_from_a_peer_is_not_passed_on() {
        assert_eq!(
            clean("a\x1b[2Jb\u{9b}c\r\nd\te\u{202e}f"),
            "a\u{fffd}[2Jb\u{fffd}c\u{fffd}\nd\te\u{fffd}f"
        );
    }

    #[test]
    fn short_ids_tell_their_list_apart() {
        assert_eq!(shorten(["0192f0c1-7a3e", "7d3c0000-0000"].into_iter()), 8);
        assert_eq!(shorten(["0192f0c1-7a3e", "0192f0c1-9a3e"].into_iter()), 10);
        assert_eq!(
            shorten(["0192f0c1-7a3e", "0192f0c1-7b3e", "0192f0c1-7a3e"].into_iter()),
            11
        );
        assert_eq!(shorten([].into_iter()), 8);
    }
}
