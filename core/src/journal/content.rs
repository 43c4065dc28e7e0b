//! What makes two deliveries the same command.

use std::{sync::Arc, time::SystemTime};

use sha2::{Digest, Sha256};

use crate::command::Command;

/// A command that was delivered, as much of it as is needed to know it again.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// All of it.
    Whole(Arc<Command>),
    /// A digest over all but the trace context, which may differ between
    /// deliveries.
    Digest([u8; 16]),
}

impl Content {
    /// Whether `command` is this one.
    pub(super) fn is(&self, command: &Command) -> bool {
        match self {
            Self::Whole(own) => {
                own.name == command.name
                    && own.payload == command.payload
                    && own.not_before == command.not_before
                    && own.start_by == command.start_by
                    && own.timeout == command.timeout
                    && own.issuer == command.issuer
            }
            Self::Digest(own) => *own == digest(command),
        }
    }

    /// Bytes that are kept of the payload.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Whole(command) => command.payload.len(),
            Self::Digest(_) => 0,
        }
    }

    /// The digest alone.
    pub(super) fn digested(self) -> Self {
        match self {
            Self::Whole(command) => Self::Digest(digest(&command)),
            digest @ Self::Digest(_) => digest,
        }
    }
}

/// Half a SHA-256: what is compared is an honest sender's own repetition, and a
/// forged one would need a second preimage.
fn digest(command: &Command) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in [
        command.name.as_bytes(),
        &command.payload,
        command.issuer.as_bytes(),
    ] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(part);
    }
    for time in [command.not_before, command.start_by] {
        hash.update(nanos(time).to_le_bytes());
    }
    hash.update(
        command
            .timeout
            .map_or(u128::MAX, |timeout| timeout.as_nanos())
            .to_le_bytes(),
    );
    let mut half = [0; 16];
    half.copy_from_slice(&hash.finalize()[..16]);
    half
}

fn nanos(time: Option<SystemTime>) -> i128 {
    let Some(time) = time else { return i128::MIN };
    let signed = |nanos: u128| i128::try_from(nanos).unwrap_or(i128::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => signed(after.as_nanos()),
        Err(before) => -signed(before.duration().as_nanos()),
    }
}
