//! What the node is to its controller: active, draining or unhealthy, what runs
//! on it, and whether it was asked to end.
//!
//! The drain is an object with a beginning, a deadline and an end. Whether a
//! command may still begin and whether a drain is finished are decided under
//! one lock, so that "drained" is never said while a handler is about to begin.

mod active;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aegis_proto::cluster::v1::NodeStatus;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

use self::active::Active;
use crate::{
    command::{CommandId, HandlerError},
    control::{DrainRequest, DrainStatus, InFlight, NodeControl, ShutdownRequest},
    unpoisoned::lock,
};

pub(crate) use active::ActiveCommand;

/// A later deadline is as good as none.
const LONGEST_DEADLINE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reasons are cut here: they travel in every heartbeat.
const REASON_BYTES: usize = 1024;

/// The node's state. One per worker.
#[derive(Debug)]
pub struct NodeState {
    state: Mutex<State>,
    status: watch::Sender<NodeStatus>,
    drain_changes: watch::Sender<u64>,
    shutdown: watch::Sender<Option<ShutdownRequest>>,
}

/// The node takes no new work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Closed {
    /// Why, for a person.
    pub(crate) reason: String,
}

#[derive(Debug, Default)]
struct State {
    drain: Option<Drain>,
    /// The worker is on its way out; this is never undone.
    ending: bool,
    unhealthy: Option<String>,
    active: Active,
}

#[derive(Debug)]
struct Drain {
    started_at: DateTime<Utc>,
    deadline: Option<(DateTime<Utc>, Instant)>,
    finished_at: Option<DateTime<Utc>>,
    reason: String,
}

impl NodeState {
    /// An active node on which nothing runs.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            status: watch::Sender::new(NodeStatus::Active),
            drain_changes: watch::Sender::new(0),
            shutdown: watch::Sender::new(None),
        })
    }

    /// What heartbeats say. A node that drains says so even where it is also
    /// unhealthy: a controller repeats a drain until it hears of it.
    pub fn status(&self) -> NodeStatus {
        *self.status.borrow()
    }

    /// Changes of [`status`](Self::status).
    pub fn subscribe_status(&self) -> watch::Receiver<NodeStatus> {
        self.status.subscribe()
    }

    /// A number that grows whenever a drain begins, changes, is undone or is
    /// finished.
    pub fn subscribe_drain(&self) -> watch::Receiver<u64> {
        self.drain_changes.subscribe()
    }

    /// The first request to end the worker.
    pub fn shutdown_requested(&self) -> watch::Receiver<Option<ShutdownRequest>> {
        self.shutdown.subscribe()
    }

    /// Says that the node is unhealthy and why, or that it is well again.
    pub fn set_unhealthy(&self, reason: Option<String>) {
        let mut state = lock(&self.state);
        state.unhealthy = reason;
        self.publish(&state);
    }

    /// Why the node is unhealthy.
    pub fn unhealthy(&self) -> Option<String> {
        lock(&self.state).unhealthy.clone()
    }

    /// The worker is on its way out: the node says that it drains, and no
    /// request changes that any more.
    pub fn end(&self) {
        let mut state = lock(&self.state);
        state.ending = true;
        state
            .drain
            .get_or_insert_with(|| Drain::begin(None, "the worker shuts down".to_owned()));
        state.finish_drain();
        self.publish(&state);
        self.drain_changed();
    }

    /// Whether the worker is on its way out.
    pub fn is_ending(&self) -> bool {
        lock(&self.state).ending
    }

    /// Handlers that have begun and have not returned, given up on or not.
    pub fn active(&self) -> u32 {
        u32::try_from(lock(&self.state).active.len()).unwrap_or(u32::MAX)
    }

    /// The commands of those handlers.
    pub fn running(&self) -> Vec<CommandId> {
        lock(&self.state).active.ids()
    }

    /// Why new work is refused, if it is.
    pub(crate) fn closed(&self) -> Option<Closed> {
        lock(&self.state).closed()
    }

    /// A handler is about to begin. Refused while the node drains, unless the
    /// handler runs while draining.
    pub(crate) fn begin(&self, id: CommandId, command: ActiveCommand) -> Result<(), Closed> {
        let mut state = lock(&self.state);
        if !command.runs_while_draining
            && let Some(closed) = state.closed()
        {
            return Err(closed);
        }
        state.active.insert(id, command);
        Ok(())
    }

    /// Its handler has returned.
    pub(crate) fn returned(&self, id: CommandId) {
        let mut state = lock(&self.state);
        state.active.remove(id);
        if state.finish_drain() {
            self.drain_changed();
        }
    }

    /// The commands that the drain waits for, and when they are to be cancelled.
    pub(crate) fn drain_deadline(&self) -> Option<(Instant, Vec<CommandId>)> {
        let state = lock(&self.state);
        let drain = state
            .drain
            .as_ref()
            .filter(|drain| drain.finished_at.is_none())?;
        let (_, deadline) = drain.deadline?;
        Some((
            deadline,
            state.active.waited_for().map(|(id, _)| id).collect(),
        ))
    }

    fn publish(&self, state: &State) {
        let status = state.status();
        self.status
            .send_if_modified(|known| std::mem::replace(known, status) != status);
    }

    fn drain_changed(&self) {
        self.drain_changes
            .send_modify(|generation| *generation += 1);
    }
}

impl NodeControl for NodeState {
    /// A drain that already holds keeps what the request leaves open: its
    /// deadline, its reason, and always its beginning.
    fn drain(&self, request: DrainRequest) -> Result<DrainStatus, HandlerError> {
        let mut state = lock(&self.state);
        if !request.drain {
            if state.ending {
                return Err(HandlerError::new(
                    "shutting-down",
                    "the worker is shutting down: its drain can't be undone",
                )
                .help("start the worker again once it has ended"));
            }
            if let Some(drain) = state.drain.take() {
                tracing::info!(
                    reason = drain.reason,
                    "drain undone: this node takes work again"
                );
                self.publish(&state);
                self.drain_changed();
            }
            return Ok(state.drain_status());
        }
        let deadline = request.deadline_ms.map(deadline);
        let reason = cut(request.reason);
        match &mut state.drain {
            Some(drain) => {
                drain.deadline = deadline.or(drain.deadline);
                if !reason.is_empty() {
                    drain.reason = reason;
                }
            }
            None => {
                tracing::info!(reason, "drain begun: this node takes no new work");
                let started_at = Utc::now();
                state.drain = Some(Drain {
                    started_at,
                    deadline,
                    finished_at: None,
                    reason,
                });
            }
        }
        state.finish_drain();
        self.publish(&state);
        self.drain_changed();
        Ok(state.drain_status())
    }

    fn drain_status(&self) -> DrainStatus {
        lock(&self.state).drain_status()
    }

    fn shutdown(&self, request: ShutdownRequest) -> Result<(), HandlerError> {
        self.shutdown.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                tracing::info!(reason = request.reason, "shutdown requested");
                *known = Some(request);
            }
            first
        });
        Ok(())
    }
}

impl Drain {
    fn begin(deadline: Option<(DateTime<Utc>, Instant)>, reason: String) -> Self {
        Self {
            started_at: Utc::now(),
            deadline,
            finished_at: None,
            reason,
        }
    }
}

impl State {
    fn status(&self) -> NodeStatus {
        if self.drain.is_some() {
            NodeStatus::Draining
        } else if self.unhealthy.is_some() {
            NodeStatus::Unhealthy
        } else {
            NodeStatus::Active
        }
    }

    fn closed(&self) -> Option<Closed> {
        if self.ending {
            return Some(Closed {
                reason: "it is shutting down".to_owned(),
            });
        }
        let drain = self.drain.as_ref()?;
        let reason = if drain.reason.is_empty() {
            "no reason given"
        } else {
            &drain.reason
        };
        Some(Closed {
            reason: reason.to_owned(),
        })
    }

    /// Whether this ended the drain.
    fn finish_drain(&mut self) -> bool {
        let Some(drain) = &mut self.drain else {
            return false;
        };
        if drain.finished_at.is_some() || self.active.waited_for().next().is_some() {
            return false;
        }
        drain.finished_at = Some(Utc::now());
        tracing::info!("drained: the last handler has returned");
        true
    }

    fn drain_status(&self) -> DrainStatus {
        let Some(drain) = &self.drain else {
            return DrainStatus::default();
        };
        DrainStatus {
            draining: true,
            started_at: Some(drain.started_at),
            deadline: drain.deadline.map(|(at, _)| at),
            finished_at: drain.finished_at,
            reason: drain.reason.clone(),
            in_flight: self
                .active
                .waited_for()
                .map(|(id, command)| InFlight {
                    command_id: id.to_string(),
                    name: command.name.to_string(),
                    plugin: command.plugin.to_string(),
                    started_at: Some(command.started_at.into()),
                })
                .collect(),
        }
    }
}

fn deadline(ms: u64) -> (DateTime<Utc>, Instant) {
    let delay = Duration::from_millis(ms).min(LONGEST_DEADLINE);
    (
        Utc::now() + TimeDelta::from_std(delay).unwrap_or(TimeDelta::MAX),
        Instant::now() + delay,
    )
}

fn cut(mut reason: String) -> String {
    let mut end = reason.len().min(REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.truncate(end);
    reason
}

#[cfg(test)]
mod tests;
