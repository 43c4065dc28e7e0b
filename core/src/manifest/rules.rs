//! What a manifest may declare.

use std::collections::BTreeSet;

use aegis_plugin_api::{
    abi::{AEGIS_ABI_MAJOR, AEGIS_ABI_MINOR},
    manifest::{Manifest, ManifestHandler, SYMBOL_PREFIX},
};
use aegis_proto::limits::MAX_NAME_BYTES;
use serde_json::Value;

use crate::{
    loader::{Check, Refusal},
    plugin::Placement,
};

/// Keys of the config's `[plugins]` that are not plugins.
const RESERVED_IDS: [&str; 6] = [
    "dirs",
    "trust",
    "keys",
    "revoked",
    "default_placement",
    "quarantine_after",
];
/// Keys of the config's `[handlers]` that are not commands.
const RESERVED_COMMANDS: [&str; 1] = ["default"];
const MAX_HANDLERS: usize = 256;
const MAX_TEXT_BYTES: usize = 256;
const MAX_SUMMARY_BYTES: usize = 1024;
/// 30 days: whatever runs longer is a service, not a command.
const MAX_TIMEOUT_MS: u64 = 30 * 24 * 60 * 60 * 1000;
const MAX_CONCURRENCY: u32 = 1024;

const FIX: &str = "correct the plugin's declaration and build it again";

/// A host interface that a plugin can require and an operator can grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HostInterface {
    NodeControl,
    Config,
    KeyValue,
    Metrics,
}

impl HostInterface {
    pub(crate) const ALL: [Self; 4] = [
        Self::NodeControl,
        Self::Config,
        Self::KeyValue,
        Self::Metrics,
    ];

    /// Its id on the ABI.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::NodeControl => "aegis.node-control/1",
            Self::Config => "aegis.config/1",
            Self::KeyValue => "aegis.kv/1",
            Self::Metrics => "aegis.metrics/1",
        }
    }

    /// Its name in the config's `grants`.
    pub(crate) const fn grant(self) -> &'static str {
        match self {
            Self::NodeControl => "node-control",
            Self::Config => "config",
            Self::KeyValue => "kv",
            Self::Metrics => "metrics",
        }
    }

    /// Whether an operator reaches the node through it: a plugin that has it is
    /// never quarantined.
    pub(crate) const fn controls_node(self) -> bool {
        matches!(self, Self::NodeControl | Self::Config)
    }

    pub(crate) fn by_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|interface| interface.id() == id)
    }

    pub(crate) fn by_grant(grant: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|interface| interface.grant() == grant)
    }
}

/// Whether `text` can name a command or a plugin: 1 to 64 of `a-z 0-9 - . _`,
/// beginning with a letter.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_')
        })
}

pub(crate) fn check_declarations(manifest: &Manifest) -> Result<(), Refusal> {
    check_identity(manifest)?;
    if manifest.handlers.is_empty() {
        return Err(fail("it declares no handler"));
    }
    if manifest.handlers.len() > MAX_HANDLERS {
        return Err(fail(format!(
            "it declares {} handlers, more than {MAX_HANDLERS}",
            manifest.handlers.len()
        )));
    }
    let mut names = BTreeSet::new();
    for handler in &manifest.handlers {
        check_handler(handler)?;
        if !names.insert(&handler.name) {
            return Err(fail(format!(
                "it declares the command {:?} twice",
                handler.name
            )));
        }
    }
    for interface in &manifest.requires {
        if HostInterface::by_id(interface).is_none() {
            let known = HostInterface::ALL.map(HostInterface::id).join(", ");
            return Err(Refusal::new(
                Check::Declarations,
                format!(
                    "it requires the host interface {:?}, and this worker has {known}",
                    clipped(interface)
                ),
                "use a worker that has it",
            ));
        }
    }
    Ok(())
}

fn check_identity(manifest: &Manifest) -> Result<(), Refusal> {
    if !is_name(&manifest.id) {
        return Err(fail(format!(
            "its id {:?} is not {NAME_RULE}",
            clipped(&manifest.id)
        )));
    }
    if RESERVED_IDS.contains(&manifest.id.as_str()) {
        return Err(fail(format!(
            "its id {:?} is a key of the config's [plugins]",
            manifest.id
        )));
    }
    for (what, text) in [
        ("version", &manifest.version),
        ("sdk", &manifest.sdk),
        ("toolchain", &manifest.toolchain),
    ] {
        if text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control) {
            return Err(fail(format!(
                "its {what} {:?} is longer than {MAX_TEXT_BYTES} bytes or has control characters",
                clipped(text)
            )));
        }
    }
    if manifest.version.is_empty() {
        return Err(fail("its version is empty"));
    }
    let own = manifest.symbol.strip_prefix(SYMBOL_PREFIX);
    if own.is_none_or(|own| {
        own.is_empty()
            || own.len() > MAX_TEXT_BYTES
            || !own
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }) {
        return Err(fail(format!(
            "its symbol {:?} is not {SYMBOL_PREFIX} followed by letters, digits and underscores",
            clipped(&manifest.symbol)
        )));
    }
    Ok(())
}

const NAME_RULE: &str = "1 to 64 of a-z, 0-9, '-', '.', '_', beginning with a letter";

fn check_handler(handler: &ManifestHandler) -> Result<(), Refusal> {
    let name = &handler.name;
    if !is_name(name) {
        return Err(fail(format!(
            "its command name {:?} is not {NAME_RULE}",
            clipped(name)
        )));
    }
    if RESERVED_COMMANDS.contains(&name.as_str()) {
        return Err(fail(format!(
            "its command name {name:?} is a key of the config's [handlers]"
        )));
    }
    if handler.summary.len() > MAX_SUMMARY_BYTES || handler.summary.chars().any(char::is_control) {
        return Err(fail(format!(
            "the summary of {name:?} is longer than {MAX_SUMMARY_BYTES} bytes or has control characters"
        )));
    }
    if !(1..=MAX_TIMEOUT_MS).contains(&handler.timeout_ms) {
        return Err(fail(format!(
            "the timeout of {name:?} is {} ms, not 1 to {MAX_TIMEOUT_MS}",
            handler.timeout_ms
        )));
    }
    if !(1..=MAX_CONCURRENCY).contains(&handler.concurrency) {
        return Err(fail(format!(
            "the concurrency of {name:?} is {}, not 1 to {MAX_CONCURRENCY}",
            handler.concurrency
        )));
    }
    for (what, schema) in [
        ("request", &handler.request_schema),
        ("response", &handler.response_schema),
    ] {
        if !matches!(schema, None | Some(Value::Object(_) | Value::Bool(_))) {
            return Err(fail(format!(
                "the {what} schema of {name:?} is no JSON Schema"
            )));
        }
    }
    Ok(())
}

pub(super) fn check_abi(manifest: &Manifest) -> Result<(), Refusal> {
    let abi = manifest.abi;
    check_major(u64::from(abi.major))?;
    if abi.min_host_minor > AEGIS_ABI_MINOR {
        return Err(Refusal::new(
            Check::Abi,
            format!(
                "it needs ABI {}.{} or later, and this worker has {AEGIS_ABI_MAJOR}.{AEGIS_ABI_MINOR}",
                abi.major, abi.min_host_minor
            ),
            "use a newer worker",
        ));
    }
    Ok(())
}

pub(super) fn check_major(major: u64) -> Result<(), Refusal> {
    let host = u64::from(AEGIS_ABI_MAJOR);
    if major == host {
        return Ok(());
    }
    Err(Refusal::new(
        Check::Abi,
        format!("it was built for ABI {major}, and this worker has ABI {host}"),
        if major > host {
            "use a newer worker"
        } else {
            "build it with a current plugin API"
        },
    ))
}

/// In a process of its own a plugin may end with a panic: its other calls there
/// are lost, and it is started again.
pub(crate) fn check_panic(manifest: &Manifest, placement: Placement) -> Result<(), Refusal> {
    match manifest.panic.as_str() {
        "unwind" => Ok(()),
        "abort" if placement == Placement::Process => Ok(()),
        "abort" => Err(Refusal::new(
            Check::Panic,
            "it was built with panic = \"abort\": a panic in it would end the worker",
            format!(
                "build it with panic = \"unwind\", or set placement = \"process\" under \
                 [plugins.{}]",
                manifest.id
            ),
        )),
        other => Err(Refusal::new(
            Check::Panic,
            format!("its panic strategy is {:?}, not \"unwind\"", clipped(other)),
            FIX,
        )),
    }
}

/// Compares architecture, operating system and C library of a triple such as
/// `x86_64-unknown-linux-gnu` with this program's. Vendors are not compared,
/// and gcc's triples have none.
pub(super) fn check_target(target: &str) -> Result<(), Refusal> {
    let wrong = |what: &str, theirs: &str, ours: &str| {
        Err(Refusal::new(
            Check::Target,
            format!(
                "its target {:?} has the {what} {theirs:?}, and this worker's is {ours:?}",
                clipped(target)
            ),
            "build it for this machine",
        ))
    };
    let parts: Vec<&str> = target.split('-').collect();
    let [arch, rest @ ..] = parts.as_slice() else {
        return wrong("architecture", "", std::env::consts::ARCH);
    };
    let arch = match *arch {
        "i386" | "i486" | "i586" | "i686" => "x86",
        "arm64" | "aarch64" => "aarch64",
        arch if arch.starts_with("armv") || arch == "arm" => "arm",
        arch if arch.starts_with("riscv64") => "riscv64",
        "powerpc64le" | "ppc64le" | "ppc64" => "powerpc64",
        arch => arch,
    };
    if arch != std::env::consts::ARCH {
        return wrong("architecture", arch, std::env::consts::ARCH);
    }
    let os = rest.iter().find_map(|part| match *part {
        "linux" => Some("linux"),
        part if part.starts_with("darwin") || part.starts_with("macos") => Some("macos"),
        "windows" | "mingw32" | "w64" => Some("windows"),
        "freebsd" => Some("freebsd"),
        "android" => Some("android"),
        _ => None,
    });
    if os != Some(std::env::consts::OS) {
        return wrong(
            "operating system",
            os.unwrap_or("unknown"),
            std::env::consts::OS,
        );
    }
    let libc = rest.iter().find_map(|part| {
        ["gnu", "musl"]
            .into_iter()
            .find(|libc| part.starts_with(libc))
    });
    let ours = if cfg!(target_env = "gnu") {
        "gnu"
    } else if cfg!(target_env = "musl") {
        "musl"
    } else {
        return Ok(());
    };
    match libc {
        Some(libc) if libc != ours => wrong("C library", libc, ours),
        _ => Ok(()),
    }
}

fn fail(reason: impl Into<String>) -> Refusal {
    Refusal::new(Check::Declarations, reason, FIX)
}

/// A text of a stranger, short enough for a message.
fn clipped(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use aegis_plugin_api::{Effect, manifest::ManifestAbi};

    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            manifest: 1,
            id: "hello".into(),
            version: "1.0.0".into(),
            symbol: format!("{SYMBOL_PREFIX}hello"),
            abi: ManifestAbi {
                major: AEGIS_ABI_MAJOR,
                minor: 0,
                min_host_minor: 0,
            },
            sdk: String::new(),
            toolchain: String::new(),
            target: format!(
                "{}-unknown-{}",
                std::env::consts::ARCH,
                std::env::consts::OS
            ),
            panic: "unwind".into(),
            requires: Vec::new(),
            handlers: vec![ManifestHandler {
                name: "hello".into(),
                summary: String::new(),
                effect: Effect::Read,
                timeout_ms: 1000,
                concurrency: 1,
                inline: false,
                runs_while_draining: false,
                request_schema: None,
                response_schema: None,
            }],
        }
    }

    #[test]
    fn each_fault_of_a_manifest_is_named() {
        type Fault = (fn(&mut Manifest), Check, &'static str);
        let faults: [Fault; 21] = [
            (|m| m.id = "../etc".into(), Check::Declarations, "id"),
            (|m| m.id = String::new(), Check::Declarations, "id"),
            (|m| m.id = "a".repeat(65), Check::Declarations, "id"),
            (|m| m.id = "trust".into(), Check::Declarations, "[plugins]"),
            (
                |m| m.version = String::new(),
                Check::Declarations,
                "version",
            ),
            (
                |m| m.version = "1\n2".into(),
                Check::Declarations,
                "version",
            ),
            (|m| m.symbol = "main".into(), Check::Declarations, "symbol"),
            (
                |m| m.symbol = SYMBOL_PREFIX.into(),
                Check::Declarations,
                "symbol",
            ),
            (|m| m.symbol.push('-'), Check::Declarations, "symbol"),
            (|m| m.handlers.clear(), Check::Declarations, "no handler"),
            (
                |m| m.handlers.push(m.handlers[0].clone()),
                Check::Declarations,
                "twice",
            ),
            (
                |m| m.handlers[0].name = "Hello".into(),
                Check::Declarations,
                "command name",
            ),
            (
                |m| m.handlers[0].name = "default".into(),
                Check::Declarations,
                "[handlers]",
            ),
            (
                |m| m.handlers[0].timeout_ms = 0,
                Check::Declarations,
                "timeout",
            ),
            (
                |m| m.handlers[0].timeout_ms = u64::MAX,
                Check::Declarations,
                "timeout",
            ),
            (
                |m| m.handlers[0].concurrency = 0,
                Check::Declarations,
                "concurrency",
            ),
            (
                |m| m.handlers[0].request_schema = Some(7.into()),
                Check::Declarations,
                "schema",
            ),
            (
                |m| m.requires = vec!["aegis.root/9".into()],
                Check::Declarations,
                "aegis.root/9",
            ),
            (
                |m| m.target = "sparc-sun-solaris".into(),
                Check::Target,
                "architecture",
            ),
            (|m| m.abi.major = AEGIS_ABI_MAJOR + 1, Check::Abi, "ABI 2"),
            (
                |m| m.abi.min_host_minor = AEGIS_ABI_MINOR + 1,
                Check::Abi,
                "needs ABI",
            ),
        ];
        super::super::check(&manifest()).expect("a sound manifest");
        for (spoil, check, says) in faults {
            let mut manifest = manifest();
            spoil(&mut manifest);
            let refusal = super::super::check(&manifest).expect_err(says);
            assert_eq!(refusal.check, check, "{refusal}");
            assert!(refusal.reason.contains(says), "{refusal} should say {says}");
        }
    }

    #[test]
    fn a_plugin_that_a_panic_ends_runs_in_a_process_of_its_own_alone() {
        let with = |panic: &str| Manifest {
            panic: panic.into(),
            ..manifest()
        };
        for placement in [Placement::BuiltIn, Placement::InProcess] {
            check_panic(&with("unwind"), placement).expect("it stays inside");
            let refusal = check_panic(&with("abort"), placement).expect_err("shared");
            assert_eq!(refusal.check, Check::Panic);
            assert!(refusal.remedy.contains("\"process\""), "{refusal}");
        }
        check_panic(&with("abort"), Placement::Process).expect("of its own");
        check_panic(&with("explode"), Placement::Process).expect_err("unknown");
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn triples_of_rustc_and_of_gcc_are_read() {
        let arch = std::env::consts::ARCH;
        for good in [
            "unknown-linux-gnu",
            "linux-gnu",
            "pc-linux-gnu",
            "unknown-linux-gnueabihf",
        ] {
            check_target(&format!("{arch}-{good}")).expect(good);
        }
        for (bad, says) in [
            ("unknown-linux-musl", "C library"),
            ("apple-darwin", "operating system"),
            ("", "operating"),
        ] {
            let refusal = check_target(&format!("{arch}-{bad}")).expect_err(bad);
            assert!(refusal.reason.contains(says), "{refusal}");
        }
        check_target("").expect_err("no target");
    }
}
