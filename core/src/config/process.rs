//! `[plugins.NAME]` limits, paths and user: what holds for a plugin in a process
//! of its own.

use std::path::{Path, PathBuf};

use super::{
    model::{LimitsConfig, ProcessConfig},
    section::{Section, no_names, non_empty},
    sources::Sources,
};

/// Less than this no process with a plugin in it starts.
const LEAST_MEMORY: u64 = 32 << 20;

pub(super) fn read(plugin: &Section<'_>) -> ProcessConfig {
    let user = plugin.parsed("user", non_empty).map(|found| found.value);
    // The readers below look into these two.
    plugin.item("limits");
    plugin.item("paths");
    let limits = plugin.child("limits");
    let paths = plugin.child("paths");
    let config = ProcessConfig {
        limits: read_limits(&limits),
        user,
        read: read_paths(&paths, "read"),
        write: read_paths(&paths, "write"),
    };
    limits.finish(no_names);
    paths.finish(no_names);
    config
}

/// Which of the keys are there, given right or not.
pub(super) fn given(plugin: &Section<'_>) -> Vec<&'static str> {
    let keys = ["limits", "paths", "user"].into_iter();
    keys.filter(|key| plugin.item(key).is_some()).collect()
}

/// Notes paths that would open the worker's own state.
pub(super) fn check_paths(
    sources: &Sources,
    plugin: &str,
    config: &ProcessConfig,
    state_dir: &Path,
) {
    for (key, paths) in [("read", &config.read), ("write", &config.write)] {
        let within = paths.iter().find(|path| path.starts_with(state_dir));
        if let Some(path) = within {
            let section = Section::root(sources, "plugins")
                .child(plugin)
                .child("paths");
            section.fault(
                key,
                format!(
                    "{} lies in node.state_dir, which stays closed to plugins; each has a \
                     directory of its own there, and needs no key for it",
                    path.display()
                ),
            );
        }
    }
}

fn read_limits(limits: &Section<'_>) -> LimitsConfig {
    let memory = limits.size("memory");
    if memory.is_some_and(|memory| memory < LEAST_MEMORY) {
        limits.fault("memory", "no plugin starts in less than 32MiB");
    }
    let cpu_time = limits.duration("cpu_time").map(|found| found.value);
    if cpu_time.is_some_and(|time| time.as_secs() == 0 || time.subsec_nanos() != 0) {
        limits.fault("cpu_time", "this has to be whole seconds, at least \"1s\"");
    }
    LimitsConfig {
        memory,
        cpu_time,
        processes: limits.integer("processes", 1..=u32::MAX),
        open_files: limits.integer("open_files", 16..=u32::MAX),
        file_size: limits.size("file_size"),
    }
}

fn read_paths(section: &Section<'_>, key: &'static str) -> Vec<PathBuf> {
    let paths = section.paths(key).unwrap_or_default();
    for path in &paths {
        if path.as_os_str().is_empty() || path.as_os_str().as_encoded_bytes().contains(&0) {
            section.fault(key, format!("{path:?} is no path"));
        }
    }
    paths
}
