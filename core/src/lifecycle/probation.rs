//! Watches the node for as long as a pushed config is on trial.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::spawn_blocking, time::sleep};

use super::Health;
use crate::{
    clock::BootInstant,
    pushed_config::{PushedConfig, Signs},
    session::Node,
};

/// Looks at the node so often in the course of a probation, or more often.
const LOOKS: u32 = 8;

/// The longest time between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Until the worker is on its way out.
pub(super) async fn watch(
    pushed: Arc<PushedConfig>,
    node: Arc<Node>,
    health: watch::Receiver<Health>,
    probation: Duration,
) {
    let pause = (probation / LOOKS).min(LONGEST_PAUSE);
    let mut changes = pushed.status();
    loop {
        changes.borrow_and_update();
        while pushed.is_on_trial() {
            let signs = Signs {
                in_place: *health.borrow() == Health::Healthy,
                unhealthy: node.state.unhealthy(),
                heartbeats: node.heartbeats.counts().0,
            };
            let pushed = pushed.clone();
            // Going back to another config waits for plugins and the disk.
            let look = spawn_blocking(move || pushed.look(&signs, BootInstant::now()));
            if look.await.is_err() {
                tracing::error!("a look at the config on trial failed");
            }
            sleep(pause).await;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// The worker is on its way out, which says nothing about its config.
pub(super) async fn put_off(pushed: Arc<PushedConfig>) {
    if spawn_blocking(move || pushed.put_off()).await.is_err() {
        tracing::error!("the config on trial cannot be kept for the next start");
    }
}
