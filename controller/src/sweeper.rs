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

    /// The same for whoever is about to be shown commands, and who may go away
    /// meanwhile. What cannot be written now is left to the next sweep.
    pub(crate) async fn expire_before_reading(self: &Arc<Self>) {
        let controller = Arc::clone(self);
        let expire = async move {
            if let Err(error) = controller.expire_due().await {
                controller.storage.blame(&error);
                tracing::warn!(%error, "queued commands that are too late are not expired yet");
            }
            Ok(())
        };
        if let Err(error) = self.to_the_end(expire).await {
            tracing::error!(%error, "what expires commands ended in the middle of it");
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

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use aegis_proto::{CommandId, GroupId, NodeId};

    use super::*;
    use crate::{
        Config,
        store::{CommandRecord, Commands, Log, NewAudit, SqliteStore, Submission},
    };

    fn late() -> Submission {
        let (id, group) = (time::new_id(), GroupId::from_uuid(time::new_id()));
        let node = NodeId::from_uuid(time::new_id());
        let queued = CommandRecord::queued(
            CommandId::from_uuid(id),
            group,
            node,
            "work".into(),
            Vec::new(),
            "operator".into(),
        );
        Submission {
            request_id: None,
            digest: [0; 32],
            group,
            commands: vec![CommandRecord {
                start_by: Some(1),
                ..queued
            }],
            superseded: Vec::new(),
        }
    }

    #[tokio::test]
    async fn an_expiry_is_told_where_whoever_looked_went_away() {
        const LOOKS: u32 = 24;
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}/x.db", folder.path().display());
        let store = SqliteStore::open(&url).await.expect("a file");
        let controller = Controller::new(Arc::new(store.clone()), Config::default().settings)
            .await
            .expect("a store");
        for polls in 1..=LOOKS {
            let audit = NewAudit {
                at: 0,
                operator: "operator".into(),
                action: "SubmitCommand",
                detail: "{}".into(),
                result: "ok",
            };
            let submitted = store.submit(Arc::new(late()), audit).await;
            submitted.expect("room");
            let mut look = Box::pin(controller.expire_before_reading());
            let mut left = polls;
            poll_fn(|cx| {
                left -= 1;
                match look.as_mut().poll(cx) {
                    Poll::Pending if left > 0 => Poll::Pending,
                    _ => Poll::Ready(()),
                }
            })
            .await;
            drop(look);
            controller.expire_before_reading().await;
        }
        controller.tasks.close();
        controller.tasks.wait().await;
        let events = store.events(0, 1000, None).await.expect("events");
        let ended = events.iter().filter(|it| it.kind == "command-ended");
        assert_eq!(ended.count(), LOOKS as usize);
    }
}
