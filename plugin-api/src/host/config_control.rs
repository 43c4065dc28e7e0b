//! `aegis.config/1`: the steps of a pushed config.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{HostInterface, Interface};
use crate::HandlerError;

/// Takes a pushed config through its steps. Every method may block for a
/// bounded time: not for inline handlers.
#[derive(Debug, Clone)]
pub struct ConfigControl(Interface);

/// What is in force and what was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CurrentConfig {
    /// Empty if none was ever applied.
    pub version: String,
    /// Of its document, in hexadecimal digits: a version is known by its
    /// content too. Empty where `version` is.
    pub sha256: String,
    /// The last refusal, unless a later version was applied.
    pub rejected: Option<RejectedConfig>,
}

/// A version that is not to be tried again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RejectedConfig {
    /// Which.
    pub version: String,
    /// `decode`, `validate`, `store`, `apply`, `acknowledge` or `health`.
    pub step: String,
    /// Why.
    pub reason: String,
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Deserialize)]
struct Done {}

#[derive(Serialize)]
struct Candidate<'a> {
    version: &'a str,
    document: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct Version<'a> {
    version: &'a str,
}

impl ConfigControl {
    /// What is in force and what was refused.
    ///
    /// # Errors
    ///
    /// `plugin-stopped` once the plugin has been stopped.
    pub fn current(&self) -> Result<CurrentConfig, HandlerError> {
        self.0.call(0, &Nothing {})
    }

    /// Refuses what this node cannot take. Changes nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with the document.
    pub fn validate(
        &self,
        version: &str,
        document: &Map<String, Value>,
    ) -> Result<(), HandlerError> {
        self.0
            .call(1, &Candidate { version, document })
            .map(|Done {}| ())
    }

    /// Writes it durably beside the last good one.
    ///
    /// # Errors
    ///
    /// What failed to be written.
    pub fn store(&self, version: &str, document: &Map<String, Value>) -> Result<(), HandlerError> {
        self.0
            .call(2, &Candidate { version, document })
            .map(|Done {}| ())
    }

    /// Puts the stored one into force, on probation. The one that is in force
    /// already is left as it is.
    ///
    /// # Errors
    ///
    /// What failed; then the last good one is in force again.
    pub fn apply(&self, version: &str) -> Result<(), HandlerError> {
        self.0.call(3, &Version { version }).map(|Done {}| ())
    }

    /// Tells the controller which version is in force.
    ///
    /// # Errors
    ///
    /// Why the controller could not be told.
    pub fn acknowledge(&self, version: &str) -> Result<(), HandlerError> {
        self.0.call(4, &Version { version }).map(|Done {}| ())
    }

    /// Remembers that a version is not to be tried again, and tells the
    /// controller why. A failure at the step `acknowledge` is told and not
    /// remembered: the config is in force.
    ///
    /// # Errors
    ///
    /// What failed to be remembered.
    pub fn reject(&self, rejected: &RejectedConfig) -> Result<(), HandlerError> {
        self.0.call(5, rejected).map(|Done {}| ())
    }
}

impl HostInterface for ConfigControl {
    const ID: &'static str = "aegis.config/1";
    const GRANT: &'static str = "config";
    const FUNCTIONS: &'static [&'static str] = &[
        "current",
        "validate",
        "store",
        "apply",
        "acknowledge",
        "reject",
    ];

    fn over(interface: Interface) -> Self {
        Self(interface)
    }
}
