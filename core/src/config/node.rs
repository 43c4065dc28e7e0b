//! `[node]`

use std::{env, path::PathBuf};

use aegis_proto::{NodeId, cluster::v1::NodeRole};

use super::{
    model::NodeConfig,
    section::{Section, no_names, one_of},
    sources::Sources,
};

const ROLES: &[(&str, NodeRole)] = &[
    ("worker", NodeRole::Worker),
    ("hybrid", NodeRole::Hybrid),
    ("edge", NodeRole::Edge),
];

pub(super) fn read(sources: &Sources) -> NodeConfig {
    let section = Section::root(sources, "node");
    let node = NodeConfig {
        id: section
            .parsed("id", str::parse::<NodeId>)
            .map(|found| found.value),
        role: section
            .parsed("role", one_of(ROLES))
            .map_or(NodeRole::Worker, |found| found.value),
        tags: words(&section, "tags"),
        runtimes: words(&section, "runtimes"),
        state_dir: section.path("state_dir").unwrap_or_else(default_state_dir),
        advertise_address: section
            .parsed("advertise_address", host_and_port)
            .map(|found| found.value)
            .unwrap_or_default(),
    };
    section.finish(no_names);
    node
}

/// Tags and runtimes are matched as they are: blanks at their ends or inside
/// would never match what an operator types.
fn words(section: &Section<'_>, key: &'static str) -> Vec<String> {
    let words = section.texts(key).unwrap_or_default();
    if let Some(bad) = words.iter().find(|word| {
        word.is_empty()
            || word.len() > 128
            || word.chars().any(|c| c.is_whitespace() || c.is_control())
    }) {
        section.fault(
            key,
            format!("{bad:?} is none: write 1 to 128 characters without blanks"),
        );
    }
    words
}

fn host_and_port(text: &str) -> Result<String, String> {
    let valid = text.is_empty()
        || text.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && !host.contains('/')
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
    if valid {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is not host:port, as node-7.example:50057"
        ))
    }
}

/// The system's place for a worker of root, the user's own for any other.
fn default_state_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/aegis-worker");
    }
    let variable = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = variable("XDG_STATE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(|| PathBuf::from("/var/tmp"));
    base.join("aegis-worker")
}
