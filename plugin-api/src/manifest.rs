//! The manifest: what a plugin file says of itself before any of its code runs.

#[doc(hidden)]
pub mod build;

use serde::{Deserialize, Serialize};

use crate::spec::Effect;

/// The section of an ELF file that carries the manifest, closed by a NUL byte.
pub const ELF_SECTION: &str = ".aegis.plugin";
/// The section of a Mach-O file, in the segment `__DATA`.
pub const MACH_O_SECTION: &str = "__aegis";
/// What every descriptor's symbol begins with; it names the ABI major.
pub const SYMBOL_PREFIX: &str = "aegis_plugin_v1_";
/// The longest manifest that a host reads, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 256 * 1024;

/// Name and version of this crate.
pub const SDK: &str = concat!("aegis-plugin-api ", env!("CARGO_PKG_VERSION"));
/// The compiler that this crate is built with.
pub const TOOLCHAIN: &str = env!("AEGIS_TOOLCHAIN");
/// The target that this crate is built for.
pub const TARGET: &str = env!("AEGIS_TARGET");

/// The document in the section. Unknown keys are ignored, so that it can grow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this document's layout: 1.
    pub manifest: u32,
    /// The plugin's name, as in the config's `[plugins.NAME]`.
    pub id: String,
    /// The plugin's own version.
    pub version: String,
    /// The exported descriptor.
    pub symbol: String,
    /// The ABI that it was built for.
    pub abi: ManifestAbi,
    /// Name and version of what it was written with.
    pub sdk: String,
    /// The compiler.
    pub toolchain: String,
    /// The target triple.
    pub target: String,
    /// `unwind` or `abort`.
    pub panic: String,
    /// The host interfaces without which it does not start.
    #[serde(default)]
    pub requires: Vec<String>,
    /// Its handlers; a call names one by its index here.
    pub handlers: Vec<ManifestHandler>,
}

/// The ABI versions of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestAbi {
    /// Must be the host's.
    pub major: u16,
    /// What the plugin was built with.
    pub minor: u16,
    /// The lowest minor of a host that it works with.
    pub min_host_minor: u16,
}

/// One handler of a manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestHandler {
    /// The command's name.
    pub name: String,
    /// One line for a list.
    #[serde(default)]
    pub summary: String,
    /// What a crash means.
    pub effect: Effect,
    /// The timeout of commands that bring none.
    pub timeout_ms: u64,
    /// How many run at once.
    pub concurrency: u32,
    /// It may run on the host's own thread.
    #[serde(default)]
    pub inline: bool,
    /// It runs although the node takes no new work.
    #[serde(default)]
    pub runs_while_draining: bool,
    /// The JSON Schema of the request, where the plugin has no `aegis.schema/1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_schema: Option<serde_json::Value>,
    /// The JSON Schema of the response, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_schema: Option<serde_json::Value>,
}
