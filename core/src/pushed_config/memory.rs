//! What is in force, what was refused, and what is not to be tried again.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{ConfigState, Digest, Stored};
use crate::{
    command::HandlerError,
    control::{CurrentConfig, RejectedConfig},
};

/// Rejections that are remembered; the oldest goes first.
const REJECTIONS: usize = 16;

/// Reasons are cut here: they travel to the controller.
const REASON_BYTES: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Version and digest of what is in force, if all of it is.
    active: Option<(String, Digest)>,
    /// Oldest first.
    rejections: Vec<Rejection>,
    /// The version that was looked at last, and the digest of its document.
    seen: Option<(String, Digest)>,
}

/// A version that is not to be tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Rejection {
    version: String,
    step: String,
    reason: String,
    /// Of its document. Where that could not even be decoded there is none, and
    /// the version is tried again.
    sha256: Option<Digest>,
    at: DateTime<Utc>,
    /// A version was applied later.
    superseded: bool,
    #[serde(flatten)]
    aftermath: Aftermath,
}

/// What is told beside the reason of a failure.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Aftermath {
    /// The version that was restored; empty where nothing had to be.
    #[serde(default)]
    pub(super) rolled_back_to: String,
    /// The log before the failure. Kept of the newest rejection only.
    #[serde(default)]
    pub(super) log_tail: Vec<String>,
}

impl Memory {
    pub(super) fn new(rejections: Vec<Rejection>) -> Self {
        Self {
            rejections,
            ..Self::default()
        }
    }

    pub(super) fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    /// The version in force; empty if none is, or not all of it.
    pub(super) fn active_version(&self) -> &str {
        self.active.as_ref().map_or("", |(version, _)| version)
    }

    fn active_sha256(&self) -> &str {
        self.active.as_ref().map_or("", |(_, sha256)| sha256)
    }

    /// Whether all of this config is in force.
    pub(super) fn is_active(&self, stored: &Stored) -> bool {
        self.active_version() == stored.version && self.active_sha256() == stored.sha256
    }

    /// What is in force from now on.
    pub(super) fn set_active(&mut self, stored: Option<&Stored>) {
        self.active = stored.map(|stored| (stored.version.clone(), stored.sha256.clone()));
    }

    pub(super) fn current(&self) -> CurrentConfig {
        let rejected = self
            .rejections
            .last()
            .filter(|rejection| !rejection.superseded);
        CurrentConfig {
            version: self.active_version().to_owned(),
            sha256: self.active_sha256().to_owned(),
            rejected: rejected.map(|rejection| RejectedConfig {
                version: rejection.version.clone(),
                step: rejection.step.clone(),
                reason: rejection.reason.clone(),
            }),
        }
    }

    /// What there is to tell.
    pub(super) fn state(&self) -> ConfigState {
        let state = ConfigState {
            active_version: self.active_version().to_owned(),
            active_sha256: self.active_sha256().to_owned(),
            ..ConfigState::default()
        };
        match self
            .rejections
            .last()
            .filter(|rejection| !rejection.superseded)
        {
            Some(rejection) => ConfigState {
                attempted_version: rejection.version.clone(),
                attempted_sha256: rejection.sha256.clone().unwrap_or_default(),
                attempt_succeeded: false,
                failed_step: rejection.step.clone(),
                reason: rejection.reason.clone(),
                attempted_at: Some(rejection.at),
                rolled_back_to: rejection.aftermath.rolled_back_to.clone(),
                log_tail: rejection.aftermath.log_tail.clone(),
                ..state
            },
            None => ConfigState {
                attempted_version: state.active_version.clone(),
                attempted_sha256: state.active_sha256.clone(),
                attempt_succeeded: !state.active_version.is_empty(),
                ..state
            },
        }
    }

    /// Refuses what was rejected before and has not changed since.
    pub(super) fn tried(&mut self, candidate: &Stored) -> Result<(), HandlerError> {
        self.seen = Some((candidate.version.clone(), candidate.sha256.clone()));
        let before = self.rejections.iter().rev().find(|rejection| {
            rejection.version == candidate.version
                && rejection.sha256.as_ref() == Some(&candidate.sha256)
        });
        let Some(before) = before else { return Ok(()) };
        Err(HandlerError::new(
            "config-rejected-before",
            format!(
                "this node rejected version {:?} before, when it came to {}: {}",
                before.version, before.step, before.reason
            ),
        )
        .help("it is not tried again until it changes"))
    }

    /// Whether a rejection is worth writing down as superseded.
    pub(super) fn applied(&mut self, stored: &Stored) -> bool {
        self.set_active(Some(stored));
        let mut changed = false;
        for rejection in &mut self.rejections {
            changed |= !std::mem::replace(&mut rejection.superseded, true);
        }
        changed
    }

    /// Remembers a rejection. What was rejected before and came again unchanged
    /// keeps its first reason.
    pub(super) fn reject(&mut self, rejected: RejectedConfig, aftermath: Aftermath) {
        let sha256 = self
            .seen
            .as_ref()
            .filter(|(version, _)| *version == rejected.version && rejected.step != "decode")
            .map(|(_, digest)| digest.clone());
        self.remember(rejected, sha256, aftermath);
    }

    /// The same of a config that was in force.
    pub(super) fn reject_stored(&mut self, stored: &Stored, reason: Reason, aftermath: Aftermath) {
        let rejected = RejectedConfig {
            version: stored.version.clone(),
            step: reason.step.to_owned(),
            reason: reason.text,
        };
        self.remember(rejected, Some(stored.sha256.clone()), aftermath);
    }

    fn remember(&mut self, rejected: RejectedConfig, sha256: Option<Digest>, aftermath: Aftermath) {
        let again = self.rejections.iter().position(|rejection| {
            sha256.is_some() && rejection.version == rejected.version && rejection.sha256 == sha256
        });
        let mut rejection = match again {
            Some(position) => self.rejections.remove(position),
            None => Rejection {
                version: rejected.version,
                step: rejected.step,
                reason: cut(rejected.reason),
                sha256,
                at: Utc::now(),
                superseded: false,
                aftermath: Aftermath::default(),
            },
        };
        rejection.superseded = false;
        if rejection.aftermath == Aftermath::default() {
            rejection.aftermath = aftermath;
        }
        for older in &mut self.rejections {
            older.aftermath.log_tail.clear();
        }
        self.rejections.push(rejection);
        let surplus = self.rejections.len().saturating_sub(REJECTIONS);
        self.rejections.drain(..surplus);
    }
}

/// Why a config that was in force is not any more.
#[derive(Debug)]
pub(super) struct Reason {
    pub(super) step: &'static str,
    pub(super) text: String,
}

fn cut(mut reason: String) -> String {
    let mut end = reason.len().min(REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.truncate(end);
    reason
}
