//! Why a plugin was not let in.

use serde::Serialize;

/// One check that a plugin passes before it takes commands, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The directory's owner and mode.
    Directory,
    /// The file's kind, owner, mode and size.
    File,
    /// It is a whole shared library for this machine.
    Format,
    /// It carries one manifest that can be read.
    Manifest,
    /// Names and ranges in the manifest.
    Declarations,
    /// The target that it was built for.
    Target,
    /// The ABI that it was built for.
    Abi,
    /// What a panic in it does.
    Panic,
    /// The exported descriptor.
    Symbol,
    /// The trust policy.
    Trust,
    /// The config's choice of a placement.
    Placement,
    /// No other plugin has its id or its commands.
    Conflict,
    /// The host interfaces that it needs are granted.
    Grants,
    /// The dynamic linker took it.
    Load,
    /// The descriptor in memory agrees with the manifest.
    Descriptor,
    /// It made an instance of itself.
    Create,
}

/// A check that failed, why, and what the operator can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{check} check failed: {reason}; {remedy}", check = .check.as_str())]
pub struct Refusal {
    /// Which check.
    pub check: Check,
    /// What it found.
    pub reason: String,
    /// What to do next.
    pub remedy: String,
}

impl Refusal {
    pub(crate) fn new(check: Check, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            check,
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }
}

impl Check {
    /// Every check that needs no running code of the plugin, in order.
    pub const STATIC: [Self; 10] = [
        Self::Directory,
        Self::File,
        Self::Format,
        Self::Manifest,
        Self::Declarations,
        Self::Target,
        Self::Abi,
        Self::Panic,
        Self::Symbol,
        Self::Trust,
    ];

    /// Its name in messages and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::File => "file",
            Self::Format => "format",
            Self::Manifest => "manifest",
            Self::Declarations => "declarations",
            Self::Target => "target",
            Self::Abi => "abi",
            Self::Panic => "panic",
            Self::Symbol => "symbol",
            Self::Trust => "trust",
            Self::Placement => "placement",
            Self::Conflict => "conflict",
            Self::Grants => "grants",
            Self::Load => "load",
            Self::Descriptor => "descriptor",
            Self::Create => "create",
        }
    }
}
