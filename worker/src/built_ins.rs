//! The plugins that are linked into this worker.
//!
//! Naming a crate here is what links it: without a `use` the linker drops it
//! and its plugin with it. To build a worker with a plugin of your own, add it
//! to `Cargo.toml` and to this file.

use std::collections::BTreeMap;

use aegis_core::config::{Fault, Origin, model::PluginsConfig};
use aegis_plugin_drain as _;
use aegis_plugin_exec as _;
use aegis_plugin_push_config as _;
use aegis_plugin_shutdown as _;

/// Checked at start.
pub const EXPECTED: &[&str] = &["drain", "exec", "push-config", "shutdown"];

/// Those that run only where the config enables them.
pub const OFF_BY_DEFAULT: &[&str] = &["exec"];

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

/// What is wrong with the sections of built-in plugins that can say so without
/// being started.
pub fn config_faults(plugins: &PluginsConfig) -> Vec<Fault> {
    let enabled = |name: &str| {
        let plugin = plugins.by_name.get(name);
        plugin.filter(|plugin| plugin.enabled == Some(true))
    };
    let Some(exec) = enabled("exec") else {
        return Vec::new();
    };
    let faults = aegis_plugin_exec::config_faults(&exec.config).into_iter();
    faults
        .map(|fault| Fault {
            origin: Origin::Absent,
            key: format!("plugins.exec.config.{}", fault.key)
                .trim_end_matches('.')
                .to_owned(),
            message: fault.message,
        })
        .collect()
}
