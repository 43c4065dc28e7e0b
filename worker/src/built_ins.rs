//! The plugins that are linked into this worker.
//!
//! Naming a crate here is what links it: without a `use` the linker drops it
//! and its plugin with it. To build a worker with a plugin of your own, add it
//! to `Cargo.toml` and to this file.

use std::collections::BTreeMap;

use aegis_plugin_drain as _;
use aegis_plugin_push_config as _;
use aegis_plugin_shutdown as _;

/// Checked at start.
pub const EXPECTED: &[&str] = &["drain", "push-config", "shutdown"];

/// What the plugins shipped with the worker may do to the node. Any other
/// plugin is granted that in the config.
const GRANTS: &[(&str, &[&str])] = &[
    ("drain", &["node-control"]),
    ("push-config", &["config"]),
    ("shutdown", &["node-control"]),
];

/// By plugin.
pub fn grants() -> BTreeMap<String, Vec<String>> {
    let owned = |grants: &[&str]| grants.iter().map(|grant| (*grant).to_owned()).collect();
    GRANTS
        .iter()
        .map(|(plugin, grants)| ((*plugin).to_owned(), owned(grants)))
        .collect()
}
