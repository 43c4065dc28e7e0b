//! Whether the last life of the worker ended in an orderly way, and which
//! plugins ran when it did not.
//!
//! A plugin runs while one of its handlers has begun and not ended, and while
//! it is being started. Only crashes in a row count: a life that ended as it was
//! told to forgives all plugins, and a crash forgives those that did not run. A
//! crash of the whole machine counts for nobody, and no crash counts for a plugin
//! in a process of its own.

use std::collections::BTreeSet;

use super::record::CrashesRecord;

/// The note that is there while the worker runs: the boot of the machine.
pub(super) const LIFE: &str = "life";

/// The note that is there while a plugin is being started: its name.
pub(super) const STARTING: &str = "starting";

/// How the last life of the worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastEnd {
    /// In an orderly way, or there was none.
    Orderly,
    /// With the machine: no plugin is to blame.
    WithTheMachine,
    /// By itself.
    Crash,
}

/// This boot of the machine.
pub(super) fn boot() -> Vec<u8> {
    std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// From the note that the last life left.
pub(super) fn last_end(life: Option<&[u8]>, boot: &[u8]) -> LastEnd {
    match life {
        None => LastEnd::Orderly,
        Some(last) if last == boot => LastEnd::Crash,
        Some(_) => LastEnd::WithTheMachine,
    }
}

/// Counts, for each plugin, the crashes in a row at which it ran. `running` did
/// at the last one.
pub(super) fn count(record: &mut CrashesRecord, end: LastEnd, running: &BTreeSet<String>) {
    match end {
        LastEnd::Orderly => record.plugins.clear(),
        LastEnd::WithTheMachine => {}
        LastEnd::Crash => {
            record.plugins.retain(|plugin, _| running.contains(plugin));
            for plugin in running {
                let crashes = record.plugins.entry(plugin.clone()).or_default();
                *crashes = crashes.saturating_add(1);
            }
        }
    }
}
