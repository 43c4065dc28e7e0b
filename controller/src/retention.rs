//! What is kept of what is over, and for how long: finished commands with their
//! request ids, events, the audit log. What is open is never touched.

use std::time::Duration;

use crate::{controller::Controller, store::StoreError, time};

/// Rows that one transaction forgets: few enough that nobody waits for it long,
/// even where each is as large as a command may be.
const AT_ONCE: u32 = 100;

/// The same of rows that are small.
const LINES_AT_ONCE: u32 = 2_000;

/// Bounds; whichever is reached first counts.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Since a command ended.
    pub commands_for: Duration,
    /// Commands that have ended.
    pub commands: u32,
    /// MiB that the whole database may fill before commands that have ended
    /// are forgotten early, oldest first.
    pub database_mib: u32,
    /// Since an event.
    pub events_for: Duration,
    /// Events.
    pub events: u32,
    /// Since an audited call.
    pub audit_for: Duration,
    /// Audited calls.
    pub audit: u32,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Retention {
    fn default() -> Self {
        Self {
            commands_for: 30 * DAY,
            commands: 100_000,
            database_mib: 16 * 1024,
            events_for: 30 * DAY,
            events: 100_000,
            audit_for: 365 * DAY,
            audit: 1_000_000,
        }
    }
}

impl Controller {
    /// Forgets what is over its bounds, batch by batch, so that others write in
    /// between.
    pub(crate) async fn prune(&self) -> Result<(), StoreError> {
        let bounds = &self.settings.retention;
        let old = |age: Duration| time::now().saturating_sub(time::duration_millis(age));
        let aged = old(bounds.commands_for);
        let surplus = self.store.ended_beyond(bounds.commands).await?;
        let before = surplus.map_or(aged, |at| aged.max(at.saturating_add(1)));
        while self.goes_on(self.store.prune_commands(before, AT_ONCE).await?, AT_ONCE) {}

        let most = u64::from(bounds.database_mib) * 1024 * 1024;
        while self.store.size().await? > most {
            let pruned = self.store.prune_commands(i64::MAX, AT_ONCE).await?;
            if pruned == 0 || self.stopping.is_cancelled() {
                break;
            }
        }

        let (before, keep) = (old(bounds.events_for), bounds.events);
        while self.goes_on(
            self.store.prune_events(before, keep, LINES_AT_ONCE).await?,
            LINES_AT_ONCE,
        ) {}
        let (before, keep) = (old(bounds.audit_for), bounds.audit);
        while self.goes_on(
            self.store.prune_audit(before, keep, LINES_AT_ONCE).await?,
            LINES_AT_ONCE,
        ) {}
        Ok(())
    }

    fn goes_on(&self, pruned: u32, most: u32) -> bool {
        pruned >= most && !self.stopping.is_cancelled()
    }
}
