//! What is true of this machine now.

use std::{fs, sync::Mutex};

use aegis_proto::cluster::v1::NodeCapabilities;
use sysinfo::System;

use crate::{config::model::NodeConfig, unpoisoned::lock};

const GIB: u64 = 1024 * 1024 * 1024;

/// Measures the machine. One per worker: what a processor did is known between
/// two measurements.
#[derive(Debug)]
pub struct NodeFacts {
    /// `None` on a system that cannot be measured.
    system: Option<Mutex<System>>,
}

/// What is left of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// Memory that new work can have, in whole GiB, rounded down.
    pub available_memory_gb: u32,
    /// All processors together since the last measurement, 0 to 100.
    pub cpu_percent: f32,
}

impl NodeFacts {
    /// Takes the first measurement.
    pub fn new() -> Self {
        let system = System::new().map(|mut system| {
            system.refresh_cpu_usage();
            Mutex::new(system)
        });
        Self {
            system: system.ok(),
        }
    }

    /// Of a machine that cannot be measured.
    pub(crate) const fn none() -> Self {
        Self { system: None }
    }

    /// Measures.
    pub fn load(&self) -> Load {
        let Some(system) = &self.system else {
            return Load::default();
        };
        let mut system = lock(system);
        system.refresh_memory();
        system.refresh_cpu_usage();
        // Inside a container the machine's memory is not all ours.
        let available = match system.cgroup_limits() {
            Some(limits) => system.available_memory().min(limits.free_memory),
            None => system.available_memory(),
        };
        let cpu_percent = system.global_cpu_usage();
        Load {
            available_memory_gb: u32::try_from(available / GIB).unwrap_or(u32::MAX),
            cpu_percent: if cpu_percent.is_finite() {
                cpu_percent.clamp(0.0, 100.0)
            } else {
                0.0
            },
        }
    }

    /// What the node can run, with what the config adds.
    pub fn capabilities(&self, node: &NodeConfig) -> NodeCapabilities {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        NodeCapabilities {
            gpu_count: gpus(),
            // No portable way to ask without a vendor's library.
            vram_gb: 0,
            cpu_cores: u32::try_from(cores).unwrap_or(u32::MAX),
            available_memory_gb: self.load().available_memory_gb,
            supported_runtimes: node.runtimes.clone(),
            tags: node.tags.clone(),
        }
    }
}

impl Default for NodeFacts {
    fn default() -> Self {
        Self::new()
    }
}

/// The machine's name; empty where it has none.
pub fn hostname() -> String {
    System::host_name().unwrap_or_default()
}

/// As `linux/x86_64`.
pub fn platform() -> String {
    format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// The one vendor whose driver lists its devices in the file system.
fn gpus() -> u32 {
    let devices = fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, Iterator::count);
    u32::try_from(devices).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_within_what_a_machine_can_be() {
        let facts = NodeFacts::new();
        let load = facts.load();
        assert!((0.0..=100.0).contains(&load.cpu_percent));
        let config = crate::config::Loader::new()
            .text("[node]\ntags = [\"gpu\"]")
            .load();
        let capabilities = facts.capabilities(&config.expect("a config").node);
        assert!(capabilities.cpu_cores >= 1);
        assert_eq!(capabilities.tags, ["gpu"]);
    }
}
