//! What the worker says on a session: heartbeats, and what happens to its
//! commands.

use std::{sync::Arc, time::Duration};

use aegis_proto::{
    cluster::v1::NodeStatus,
    worker::v1::{Heartbeat, InventoryChange, WorkerMessage, worker_message::Message},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{Inventory, Node, receipt, wire};
use crate::{
    control::NodeControl, dispatch::FixedCommands, kill_point::kill_point,
    pushed_config::ConfigState,
};

/// The contract's own limit on ids in a heartbeat.
const RUNNING_IDS: usize = 1000;

/// Until the stream's other half is gone.
pub(super) async fn send(
    outbound: mpsc::Sender<WorkerMessage>,
    node: &Node,
    mut inventory: watch::Receiver<Arc<Inventory>>,
    mut config: watch::Receiver<ConfigState>,
    mut interval: watch::Receiver<Duration>,
) {
    let mut updates = node.journal.reader_of(|id| !FixedCommands::derived(id));
    let mut status = node.state.subscribe_status();
    let mut drain = node.state.subscribe_drain();
    let mut sequence = 0;
    let mut next = Instant::now();
    loop {
        // What happens to commands comes last: there may be much of it.
        let message = tokio::select! {
            biased;
            () = at(next) => {
                sequence += 1;
                next = Instant::now() + spread(*interval.borrow_and_update(), sequence);
                Message::Heartbeat(heartbeat(node, sequence))
            }
            // The controller hears at once what it would hear within the
            // interval.
            Ok(()) = status.changed() => { next = Instant::now(); continue }
            Ok(()) = drain.changed() => { next = Instant::now(); continue }
            Ok(()) = interval.changed() => {
                next = next.min(Instant::now() + *interval.borrow_and_update());
                continue;
            }
            Ok(()) = inventory.changed() => {
                let (plugins, handlers) = wire::inventory(&inventory.borrow_and_update());
                Message::InventoryChange(InventoryChange { plugins, handlers })
            }
            Ok(()) = config.changed() => {
                Message::ConfigStatus(wire::config_status(&config.borrow_and_update()))
            }
            update = updates.next() => match receipt::message(update, &node.identity) {
                Some(message) => message,
                None => continue,
            },
        };
        let is_heartbeat = matches!(message, Message::Heartbeat(_));
        let sent = outbound
            .send(WorkerMessage {
                message: Some(message),
            })
            .await;
        kill_point!("message.sent");
        match (sent, is_heartbeat) {
            (Ok(()), true) => node.heartbeats.sent(),
            (Ok(()), false) => {}
            (Err(_), heartbeat) => {
                if heartbeat {
                    node.heartbeats.failed();
                }
                return;
            }
        }
    }
}

/// What is due does not wait for the timer's next tick.
async fn at(next: Instant) {
    if next > Instant::now() {
        sleep_until(next).await;
    }
}

/// Up to a tenth shorter, so that nodes that came back together drift apart.
fn spread(interval: Duration, sequence: u64) -> Duration {
    let mut byte = [0];
    if getrandom::fill(&mut byte).is_err() {
        byte[0] = (sequence % 256) as u8;
    }
    interval - interval / 10 * u32::from(byte[0]) / 255
}

fn heartbeat(node: &Node, sequence: u64) -> Heartbeat {
    let load = node.facts.load();
    let status = node.state.status();
    let drain =
        (status == NodeStatus::Draining).then(|| wire::drain_status(node.state.drain_status()));
    let running = node.state.running();
    Heartbeat {
        sequence,
        status: status.into(),
        active_executions: node.state.active(),
        available_memory_gb: load.available_memory_gb,
        cpu_utilization_percent: load.cpu_percent,
        drain,
        running_command_ids: running
            .iter()
            .take(RUNNING_IDS)
            .map(ToString::to_string)
            .collect(),
        outbox_length: u32::try_from(node.journal.outbox_len()).unwrap_or(u32::MAX),
        unhealthy_reason: node.state.unhealthy().unwrap_or_default(),
    }
}
