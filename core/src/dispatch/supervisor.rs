//! The dispatcher's one task: it fires timers and watches the drain. It calls
//! no plugin, for a plugin that blocks must not stop the clock of the others.

use std::{future, sync::Arc, time::Instant};

use super::{Shared, timers::Due};
use crate::{clock, command::CancelReason};

/// Lets go of everything when the task ends, or is dropped with its runtime:
/// what waits holds the dispatcher, and with it the journal and its file.
pub(super) struct Watched(pub(super) Arc<Shared>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

pub(super) async fn run(watched: Watched) {
    let shared = &watched.0;
    let mut drain = shared.node.subscribe_drain();
    // A drain may have begun before.
    drain.mark_changed();
    let mut deadline = None;
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => break,
            () = shared.timers.changed.notified() => {}
            () = until(shared.timers.next()) => fire(shared),
            () = until(deadline) => {
                deadline = None;
                for id in shared.node.drain_deadline().into_iter().flat_map(|(_, ids)| ids) {
                    shared.cancel(id, CancelReason::Requested, "the drain's deadline passed");
                }
            }
            changed = drain.changed() => {
                if changed.is_err() {
                    break;
                }
                shared.reject_queued();
                deadline = shared.node.drain_deadline().map(|(at, _)| at);
            }
        }
    }
}

fn fire(shared: &Arc<Shared>) {
    while let Some((key, due)) = shared.timers.due(clock::monotonic()) {
        match due {
            Due::Execution(execution) => execution.timer_fired(key),
            Due::Scheduled(scheduled) => shared.scheduled_timer_fired(&scheduled, key),
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) if at <= clock::monotonic() => {}
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => future::pending().await,
    }
}
