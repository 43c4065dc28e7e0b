//! What the node is to its controller: active, draining or unhealthy, what runs
//! on it, and whether it was asked to end.
//!
//! The drain is an object with a beginning, a deadline and an end. Whether a
//! command may still begin and whether a drain is finished are decided under
//! one lock, so that "drained" is never said while a handler is about to begin.
//! A drain that was asked for is written down before anyone hears of it, and a
//! worker that starts again takes it up where it was.

mod active;
mod object;

use std::{
    io,
    sync::{Arc, Mutex},
    time::{Instant, SystemTime},
};

use aegis_proto::cluster::v1::NodeStatus;
use tokio::sync::watch;

use self::{
    active::Active,
    object::{Deadline, Drain, Moment, cut},
};
use crate::{
    command::{CommandId, HandlerError},
    control::{DrainRequest, DrainStatus, NodeControl, ShutdownRequest},
    notes::{FleetingNotes, Notes},
    unpoisoned::lock,
};

pub(crate) use active::ActiveCommand;

/// The note that holds the drain.
const NOTE: &str = "drain";

/// The node's state. One per worker.
#[derive(Debug)]
pub struct NodeState {
    notes: Arc<dyn Notes>,
    /// Held while the drain changes, through the writing of its record, so that
    /// changes never mix. Taken before `state`.
    turn: Mutex<()>,
    /// Held for moments only.
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
    /// What an earlier process left running is not known yet.
    recovering: bool,
    /// The worker is on its way out; this is never undone.
    ending: bool,
    unhealthy: Option<String>,
    active: Active,
}

impl NodeState {
    /// An active node on which nothing runs. Its drain ends with the process.
    pub fn new() -> Arc<Self> {
        Self::with(Arc::new(FleetingNotes::default()), State::default())
    }

    /// The node as an earlier process left it: draining, if it was. Until
    /// [`recovered`](Self::recovered) is called no drain is finished, for what
    /// that process left running is not known before.
    pub fn open(notes: Arc<dyn Notes>) -> Arc<Self> {
        let drain = notes
            .note(NOTE)
            .map(|record| Drain::restore(&record, &Moment::now()));
        if let Some(drain) = &drain {
            tracing::warn!(
                reason = drain.reason,
                since = %drain.started_at,
                "this node was drained before the worker started and takes no new work"
            );
        }
        let state = State {
            drain,
            recovering: true,
            ..State::default()
        };
        Self::with(notes, state)
    }

    fn with(notes: Arc<dyn Notes>, state: State) -> Arc<Self> {
        Arc::new(Self {
            notes,
            turn: Mutex::default(),
            status: watch::Sender::new(state.status()),
            state: Mutex::new(state),
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
    /// request changes that any more. Unless it was asked to drain, the next
    /// process is not bound by it.
    pub fn end(&self) {
        let _turn = lock(&self.turn);
        {
            let mut state = lock(&self.state);
            state.ending = true;
            state.drain.get_or_insert_with(|| {
                Drain::begin(
                    "the worker shuts down".to_owned(),
                    Moment::now().wall,
                    false,
                )
            });
            self.publish(&state);
        }
        self.drain_changed();
        self.finish();
    }

    /// Whether the worker is on its way out.
    pub fn is_ending(&self) -> bool {
        lock(&self.state).ending
    }

    /// Handlers that have begun and have not returned, given up on or not.
    pub fn active(&self) -> u32 {
        u32::try_from(lock(&self.state).active.running()).unwrap_or(u32::MAX)
    }

    /// The commands of those handlers.
    pub fn running(&self) -> Vec<CommandId> {
        lock(&self.state).active.ids()
    }

    /// Why new work is refused, if it is.
    pub(crate) fn closed(&self) -> Option<Closed> {
        lock(&self.state).closed()
    }

    /// The process that ran this command is gone, the worker's earlier one or
    /// the plugin's own, and it is to begin anew: until its handler has returned, begun again or not,
    /// a drain waits for it. Not for what runs while draining.
    pub fn interrupted(&self, id: CommandId, name: Arc<str>, plugin: Arc<str>) {
        lock(&self.state).active.interrupted(id, name, plugin);
    }

    /// Everything that an earlier process left running is known.
    pub fn recovered(&self) {
        let _turn = lock(&self.turn);
        {
            let mut state = lock(&self.state);
            state.recovering = false;
            // It ended between its return and the record of its outcome.
            let waits = state.active.is_waited_for();
            if let Some(drain) = state.drain.as_mut().filter(|_| waits) {
                drain.finished_at = None;
            }
        }
        self.drain_changed();
        self.finish();
    }

    /// A handler is about to begin. Refused while the node drains, unless the
    /// handler runs while draining or takes up work of an earlier process; and
    /// no new one while the worker ends.
    pub(crate) fn begin(&self, id: CommandId, command: ActiveCommand) -> Result<(), Closed> {
        let mut state = lock(&self.state);
        let let_in = command.runs_while_draining || (command.resumed && !state.ending);
        if !let_in && let Some(closed) = state.closed() {
            return Err(closed);
        }
        state.active.begin(id, command);
        Ok(())
    }

    /// Its handler was asked to end.
    pub(crate) fn cancelled(&self, id: CommandId, at: SystemTime) {
        let mut state = lock(&self.state);
        if state.active.cancelled(id, at) && state.drain.is_some() {
            self.drain_changed();
        }
    }

    /// Its handler ignored that, and its outcome is unknown.
    pub(crate) fn given_up(&self, id: CommandId) {
        let mut state = lock(&self.state);
        if state.active.given_up(id) && state.drain.is_some() {
            self.drain_changed();
        }
    }

    /// Its handler has returned, or will never begin again. Where it is the
    /// last one that a drain waits for, this blocks until that is written.
    pub(crate) fn returned(&self, id: CommandId) {
        let over = {
            let mut state = lock(&self.state);
            state.active.remove(id);
            state.is_drained()
        };
        if over {
            let _turn = lock(&self.turn);
            self.finish();
        }
    }

    /// The commands that the drain waits for, and when they are to be cancelled.
    pub(crate) fn drain_deadline(&self) -> Option<(Instant, Vec<CommandId>)> {
        let state = lock(&self.state);
        let drain = state
            .drain
            .as_ref()
            .filter(|drain| drain.finished_at.is_none())?;
        let deadline = drain.deadline.as_ref()?;
        let mut waited_for: Vec<_> = state.active.waited_for().collect();
        waited_for.sort_unstable();
        Some((deadline.due, waited_for))
    }

    /// Ends the drain if it waits for nothing any more. Called in one's turn.
    fn finish(&self) {
        let finished_at = Some(Moment::now().wall);
        let drained = {
            let state = lock(&self.state);
            if !state.is_drained() {
                return;
            }
            state.drain.clone()
        };
        if let Some(drain) = drained.filter(|drain| drain.lasting)
            && let Err(error) = self.write(Some(&Drain {
                finished_at,
                ..drain
            }))
        {
            // It is true all the same; a later process finds it out anew.
            tracing::warn!(%error, "cannot write down that this node is drained");
        }
        let mut state = lock(&self.state);
        if state.is_drained()
            && let Some(drain) = &mut state.drain
        {
            drain.finished_at = finished_at;
            tracing::info!("drained: the last handler has returned");
            self.drain_changed();
        }
    }

    fn write(&self, drain: Option<&Drain>) -> io::Result<()> {
        self.notes
            .set_note(NOTE, drain.map(Drain::record).as_deref())
    }

    fn undo(&self) -> Result<DrainStatus, HandlerError> {
        {
            let state = lock(&self.state);
            if state.ending {
                return Err(HandlerError::new(
                    "shutting-down",
                    "the worker is shutting down: its drain can't be undone",
                )
                .help("start the worker again once it has ended"));
            }
            if state.drain.is_none() {
                return Ok(state.drain_status());
            }
        }
        self.write(None)
            .map_err(|error| not_written("undone", &error))?;
        let mut state = lock(&self.state);
        if let Some(drain) = state.drain.take() {
            tracing::info!(
                reason = drain.reason,
                "drain undone: this node takes work again"
            );
        }
        self.publish(&state);
        self.drain_changed();
        Ok(state.drain_status())
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
        let _turn = lock(&self.turn);
        if !request.drain {
            return self.undo();
        }
        let now = Moment::now();
        let before = lock(&self.state).drain.clone();
        let mut drain = before
            .clone()
            .unwrap_or_else(|| Drain::begin(String::new(), now.wall, true));
        drain.lasting = true;
        if let Some(ms) = request.deadline_ms {
            drain.deadline = Some(Deadline::after(ms, &now));
        }
        if !request.reason.is_empty() {
            drain.reason = cut(request.reason);
        }
        if before.as_ref() == Some(&drain) {
            return Ok(self.drain_status());
        }
        self.write(Some(&drain))
            .map_err(|error| not_written("begun", &error))?;
        if before.is_none() {
            tracing::info!(
                reason = drain.reason,
                "drain begun: this node takes no new work"
            );
        }
        {
            let mut state = lock(&self.state);
            state.drain = Some(drain);
            self.publish(&state);
        }
        self.drain_changed();
        self.finish();
        Ok(self.drain_status())
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

    /// Whether there is a drain that waits for nothing any more and was not
    /// finished before.
    fn is_drained(&self) -> bool {
        let unfinished = |drain: &Drain| drain.finished_at.is_none();
        self.drain.as_ref().is_some_and(unfinished)
            && !self.recovering
            && !self.active.is_waited_for()
    }

    fn drain_status(&self) -> DrainStatus {
        let Some(drain) = &self.drain else {
            return DrainStatus::default();
        };
        DrainStatus {
            draining: true,
            started_at: Some(drain.started_at),
            deadline: drain.deadline.as_ref().map(Deadline::at),
            finished_at: drain.finished_at.filter(|_| !self.recovering),
            reason: drain.reason.clone(),
            in_flight: self.active.in_flight().collect(),
        }
    }
}

fn not_written(what: &str, error: &io::Error) -> HandlerError {
    HandlerError::new(
        "drain-not-written",
        format!("the drain is not {what}, for it can't be written down: {error}"),
    )
    .help("make room on the node's disk and check who may write its state directory")
    .retryable()
}

#[cfg(test)]
mod tests;
