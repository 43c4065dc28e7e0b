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
    pub(super) active_version: String,
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

    pub(super) fn current(&self) -> CurrentConfig {
        let rejected = self
            .rejections
            .last()
            .filter(|rejection| !rejection.superseded);
        CurrentConfig {
            version: self.active_version.clone(),
            rejected: rejected.map(|rejection| RejectedConfig {
                version: rejection.version.clone(),
                step: rejection.step.clone(),
                reason: rejection.reason.clone(),
            }),
        }
    }

    /// What is known right after a start.
    pub(super) fn state(&self) -> ConfigState {
        let active_version = self.active_version.clone();
        match self
            .rejections
            .last()
            .filter(|rejection| !rejection.superseded)
        {
            Some(rejection) => ConfigState {
                active_version,
                attempted_version: rejection.version.clone(),
                attempt_succeeded: false,
                failed_step: rejection.step.clone(),
                reason: rejection.reason.clone(),
                attempted_at: Some(rejection.at),
            },
            None => ConfigState {
                attempted_version: active_version.clone(),
                attempt_succeeded: !active_version.is_empty(),
                active_version,
                ..ConfigState::default()
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

    pub(super) fn applied(&mut self, version: &str) {
        version.clone_into(&mut self.active_version);
        for rejection in &mut self.rejections {
            rejection.superseded = true;
        }
    }

    /// Remembers a rejection. What was rejected before and came again unchanged
    /// keeps its first reason; the answer is what is known now.
    pub(super) fn reject(&mut self, rejected: RejectedConfig) -> RejectedConfig {
        let sha256 = self
            .seen
            .as_ref()
            .filter(|(version, _)| *version == rejected.version && rejected.step != "decode")
            .map(|(_, digest)| digest.clone());
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
            },
        };
        rejection.superseded = false;
        let known = RejectedConfig {
            version: rejection.version.clone(),
            step: rejection.step.clone(),
            reason: rejection.reason.clone(),
        };
        self.rejections.push(rejection);
        let surplus = self.rejections.len().saturating_sub(REJECTIONS);
        self.rejections.drain(..surplus);
        known
    }
}

fn cut(mut reason: String) -> String {
    let mut end = reason.len().min(REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.truncate(end);
    reason
}
