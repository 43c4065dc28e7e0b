//! What the log, the service manager and the program around the worker hear.

use std::time::Instant;

use super::Driver;
use crate::{
    clock::BootInstant,
    lifecycle::{Health, Vitals, machine::Notice},
};

impl Driver {
    pub(super) fn say(&mut self, notice: Notice) {
        let trouble = std::mem::take(&mut self.trouble);
        match notice {
            Notice::SessionOpen => {
                tracing::info!(interval = ?self.machine.interval(), "session open");
                self.ready();
            }
            Notice::SessionNotServed => {
                if !std::mem::replace(&mut self.seen.session_not_served, true) {
                    tracing::info!("the controller serves no session: heartbeats go one by one");
                }
            }
            Notice::Retry { wait } => tracing::warn!("{trouble}; trying again in {wait:.1?}"),
            Notice::Forgotten => tracing::warn!("{trouble}; attesting again"),
            Notice::TokenDemanded => {
                tracing::warn!(
                    "{trouble}; the controller has forgotten this node: offering the enrolment token"
                );
            }
            Notice::Renewed => tracing::debug!("token renewed"),
            Notice::RenewalFailed { wait } => {
                tracing::warn!("cannot renew the token: {trouble}; trying again in {wait:.1?}");
            }
            Notice::Superseded { wait } => tracing::error!(
                "another live worker uses this node's id and key: stop one of the two, or give it a \
                 state directory of its own; trying again in {wait:.1?}"
            ),
            Notice::Evicted { wait } => {
                tracing::error!(
                    "an operator evicted this node: enrol it again; trying again in {wait:.1?}"
                );
            }
            Notice::GoingAway { wait } => tracing::info!("{trouble}; trying again in {wait:.1?}"),
            Notice::LeftUnheard => {
                tracing::warn!(
                    "could not deregister, for want of a connection: the controller will notice by itself"
                );
            }
        }
    }

    pub(super) fn ready(&mut self) {
        if !std::mem::replace(&mut self.seen.ready, true) {
            self.service_manager.ready();
        }
    }

    pub(super) fn publish(&self) {
        let health = if self.machine.is_ending() {
            Health::Stopping
        } else if self.machine.is_healthy(BootInstant::now()) {
            Health::Healthy
        } else if self.seen.ready {
            Health::Unhealthy
        } else {
            Health::Starting
        };
        self.pulse.tell(Vitals {
            health,
            link: self.machine.stage(),
            healthy_until: self.machine.healthy_until(),
            token_expires_at: self.machine.token_expires_at(),
            reconnects: self.connections.saturating_sub(1),
            turned_at: Some(Instant::now()),
        });
        let changed = self
            .health
            .send_if_modified(|known| std::mem::replace(known, health) != health);
        if changed {
            self.service_manager.status(match health {
                Health::Starting => "looking for the controller",
                Health::Healthy => "registered",
                Health::Unhealthy => "the controller is out of reach",
                Health::Stopping => "shutting down",
            });
        }
    }
}
