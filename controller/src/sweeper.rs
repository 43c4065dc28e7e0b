//! What time does by itself: nodes go missing, queued commands expire, open
//! challenges and what is past its retention are forgotten.

use std::{sync::Arc, time::Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::{controller::Controller, store::StoreError, time};

/// Commands that expire in one transaction.
const EXPIRED_AT_ONCE: u32 = 500;

/// Sweeps until the controller stops.
pub async fn run(controller: Arc<Controller>) {
    let mut ticks = interval(controller.settings.sweep_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = controller.stopping.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = sweep(&controller).await {
            controller.storage.blame(&error);
            tracing::error!(%error, "a sweep failed; the next one tries again");
        }
    }
}

/// One sweep.
pub(crate) async fn sweep(controller: &Controller) -> Result<(), StoreError> {
    let now = Instant::now();
    controller.challenges.sweep(now);
    mark_missing(controller, now).await;
    controller.expire_due().await?;
    controller.prune().await
}

impl Controller {
    /// Expires the queued commands whose `start_by` has passed. Batch by batch,
    /// so that no transaction is long.
    pub(crate) async fn expire_due(&self) -> Result<(), StoreError> {
        loop {
            let expired = self.store.expire(time::now(), EXPIRED_AT_ONCE).await?;
            self.ended_in_store(&expired).await;
            if expired.len() < EXPIRED_AT_ONCE as usize || self.stopping.is_cancelled() {
                return Ok(());
            }
        }
    }

    /// The same for whoever is about to be shown commands. What cannot be
    /// written now is left to the next sweep.
    pub(crate) async fn expire_before_reading(&self) {
        if let Err(error) = self.expire_due().await {
            self.storage.blame(&error);
            tracing::warn!(%error, "queued commands that are too late are not expired yet");
        }
    }
}

/// A registered node that was not heard of for too long is unhealthy. After a
/// start, the time counts from the start.
async fn mark_missing(controller: &Controller, now: Instant) {
    for node in controller.directory.all() {
        if !node.record().is_registered() {
            continue;
        }
        let missing = {
            let mut live = node.live();
            let since = live.heard.unwrap_or(controller.started);
            let stale = now.saturating_duration_since(since) >= controller.settings.stale_after;
            let newly = stale && !live.missing;
            live.missing |= stale;
            newly
        };
        if missing {
            controller.directory.tell(node.id);
            let message = format!("no heartbeat for {:?}", controller.settings.stale_after);
            controller
                .event("node-unhealthy", Some(node.id), None, message)
                .await;
        }
    }
}
