//! What the driver last told of itself, for whoever looks from outside.

use std::{sync::Mutex, time::Instant};

use super::{Health, machine::LinkStage};
use crate::{clock::BootInstant, unpoisoned::lock};

/// Told by the driver in each of its turns.
#[derive(Debug)]
pub(crate) struct Pulse(Mutex<Vitals>);

/// The lifecycle at its last turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vitals {
    pub(crate) health: Health,
    pub(crate) link: LinkStage,
    /// When health turns red by the passing of time alone.
    pub(crate) healthy_until: Option<BootInstant>,
    pub(crate) token_expires_at: Option<BootInstant>,
    /// Connections that were made after the first.
    pub(crate) reconnects: u64,
    /// When the last turn was. A clock that stands still while the machine is
    /// suspended, as the lifecycle does. `None`: no turn is due any more, as
    /// the worker ends.
    pub(crate) turned_at: Option<Instant>,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vitals {
            health: Health::Starting,
            link: LinkStage::Down,
            healthy_until: None,
            token_expires_at: None,
            reconnects: 0,
            turned_at: Some(Instant::now()),
        }))
    }

    pub(crate) fn read(&self) -> Vitals {
        *lock(&self.0)
    }

    pub(super) fn tell(&self, vitals: Vitals) {
        *lock(&self.0) = vitals;
    }

    /// The last turn is over.
    pub(super) fn end(&self) {
        let mut vitals = lock(&self.0);
        vitals.turned_at = None;
        vitals.health = Health::Stopping;
    }
}
