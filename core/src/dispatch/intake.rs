//! The way in: commands, cancels and beginnings in their order, on a thread of
//! their own.
//!
//! A handler that may run inline runs on the thread that begins its command.
//! One that breaks its word and hangs would hang whoever that is: so it is this
//! thread, never a connection's task and never the journal's. While it hangs,
//! another thread takes the next order; the command itself meets its timeout
//! like any other.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{Notify, Semaphore};

use super::{Dispatcher, Shared, execution::Execution};
use crate::{
    command::{CancelReason, Command, CommandId},
    kill_point::kill_point,
    unpoisoned::lock,
};

/// Commands that wait for the thread. It is never busy for longer than
/// [`PATIENCE`], so they are those of a moment; beyond it whoever brings them
/// waits.
const COMMANDS: usize = 1024;

/// Cancels that wait for the thread: as many as there can be commands.
const CANCELS: usize = 20_000;

/// How long one order may keep the thread before another takes its place: a
/// hundred times what an inline handler may take.
const PATIENCE: Duration = Duration::from_millis(100);

/// What waits for the thread.
pub(super) struct Intake {
    queue: Mutex<Queue>,
    came: Condvar,
    /// Room for commands.
    room: Semaphore,
    /// An order was begun.
    began: Notify,
}

#[derive(Default)]
struct Queue {
    orders: VecDeque<Order>,
    cancels: usize,
    /// There is a thread.
    served: bool,
    closed: bool,
    turn: Turn,
}

enum Order {
    Submit(Command),
    Cancel(CommandId, CancelReason, String),
    /// Its attempt is in the journal.
    Begin(Arc<Execution>),
}

#[derive(Default)]
struct Turn {
    /// Which thread's it is; those of earlier turns end when they come back.
    number: u64,
    /// The command that is being taken. It may not be in the journal yet.
    command: Option<CommandId>,
    /// When the order at hand was begun.
    since: Option<Instant>,
}

impl Dispatcher {
    /// Starts the thread that takes what [`take`](Self::take) and
    /// [`order_cancel`](Self::order_cancel) bring, and what watches over it.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub fn start_intake(&self) -> io::Result<()> {
        let shared = &self.shared;
        lock(&shared.intake.queue).served = true;
        Shared::serve(shared, 0)?;
        let watched = Arc::clone(shared);
        shared
            .tasks
            .spawn_on(async move { watched.watch().await }, &shared.runtime);
        Ok(())
    }

    /// Has what is brought wait for [`step_intake`](Self::step_intake), and no
    /// thread.
    #[doc(hidden)]
    pub fn hold_intake(&self) {
        lock(&self.shared.intake.queue).served = true;
    }

    /// Carries out the next of what was brought. False: there is none.
    #[doc(hidden)]
    pub fn step_intake(&self) -> bool {
        let order = lock(&self.shared.intake.queue).pop();
        let taken = order.map(|order| self.shared.carry_out(order)).is_some();
        lock(&self.shared.intake.queue).turn.command = None;
        taken
    }

    /// Has what is due happen, after a simulation set the clocks.
    #[doc(hidden)]
    pub fn look_at_clocks(&self) {
        self.shared.timers.changed.notify_one();
    }

    /// Has the thread submit a command. Waits while too many others do, and for
    /// nothing else; every answer appears in the journal.
    pub async fn take(&self, command: Command) {
        if let Ok(permit) = self.shared.intake.room.acquire().await {
            permit.forget();
            kill_point!("command.received");
            self.shared.order(Order::Submit(command));
        }
    }

    /// The same without waiting. False where there is no room.
    pub fn try_take(&self, command: Command) -> bool {
        let Ok(permit) = self.shared.intake.room.try_acquire() else {
            return false;
        };
        permit.forget();
        self.shared.order(Order::Submit(command));
        true
    }

    /// Commands that were brought and are not in the journal yet, and perhaps
    /// one that is: the node has them as much as those.
    pub fn brought(&self) -> Vec<CommandId> {
        let queue = lock(&self.shared.intake.queue);
        let waiting = queue.orders.iter().filter_map(Order::command);
        queue.turn.command.into_iter().chain(waiting).collect()
    }

    /// Has the thread [cancel](Self::cancel) a command, after everything that
    /// came before.
    pub fn order_cancel(&self, id: CommandId, reason: CancelReason, note: &str) {
        self.shared
            .order(Order::Cancel(id, reason, note.to_owned()));
    }
}

impl Shared {
    /// Begins a command whose attempt is in the journal, on a thread that may
    /// be held up.
    pub(super) fn begin_soon(self: &Arc<Self>, execution: Arc<Execution>) {
        if lock(&self.intake.queue).served {
            self.order(Order::Begin(execution));
            return;
        }
        let shared = Arc::clone(self);
        self.tasks.spawn_on(
            async move { shared.carry_out(Order::Begin(execution)) },
            &self.runtime,
        );
    }

    fn order(&self, order: Order) {
        let mut queue = lock(&self.intake.queue);
        if queue.closed {
            drop(queue);
            // What the journal does not have the controller sends again, and a
            // command that has not begun by now never will.
            if let Order::Submit(_) = order {
                self.intake.room.add_permits(1);
            }
            return;
        }
        if let Order::Cancel(id, ..) = &order {
            if queue.cancels >= CANCELS {
                tracing::warn!(%id, "more cancels than there can be commands: one was not taken");
                return;
            }
            queue.cancels += 1;
        }
        queue.orders.push_back(order);
        drop(queue);
        self.intake.came.notify_one();
    }

    /// Starts a thread for a turn.
    fn serve(shared: &Arc<Self>, turn: u64) -> io::Result<()> {
        let shared = Arc::clone(shared);
        thread::Builder::new()
            .name("aegis-intake".into())
            .spawn(move || while shared.take_one(turn) {})
            .map(drop)
    }

    /// Whether the turn goes on.
    fn take_one(self: &Arc<Self>, turn: u64) -> bool {
        let order = {
            let mut queue = lock(&self.intake.queue);
            loop {
                if let Some(order) = queue.pop() {
                    queue.turn.since = Some(Instant::now());
                    break order;
                }
                if queue.closed {
                    return false;
                }
                queue = self
                    .intake
                    .came
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        };
        self.intake.began.notify_one();
        self.carry_out(order);
        let mut queue = lock(&self.intake.queue);
        let mine = queue.turn.number == turn;
        if mine {
            queue.turn.since = None;
            queue.turn.command = None;
        }
        mine
    }

    fn carry_out(self: &Arc<Self>, order: Order) {
        match order {
            Order::Submit(command) => {
                self.intake.room.add_permits(1);
                self.submit(command);
            }
            Order::Cancel(id, reason, note) => self.cancel(id, reason, &note),
            Order::Begin(execution) => self.run_begun(execution),
        }
    }

    /// No more is taken once what waits is carried out.
    pub(super) fn close_intake(&self) {
        lock(&self.intake.queue).closed = true;
        self.intake.came.notify_all();
    }

    async fn watch(self: &Arc<Self>) {
        let orders = async {
            loop {
                self.intake.began.notified().await;
                tokio::time::sleep(PATIENCE).await;
                while self.relieve() {
                    tokio::time::sleep(PATIENCE).await;
                }
            }
        };
        self.stop.run_until_cancelled(orders).await;
    }

    /// Whether a thread is at work; one that is at it for too long loses its
    /// turn.
    fn relieve(self: &Arc<Self>) -> bool {
        let mut queue = lock(&self.intake.queue);
        let Some(since) = queue.turn.since else {
            return false;
        };
        if since.elapsed() < PATIENCE {
            return true;
        }
        match Self::serve(self, queue.turn.number + 1) {
            Ok(()) => {
                queue.turn.number += 1;
                queue.turn.since = None;
                tracing::warn!(
                    "a handler that may run inline keeps the thread that takes commands; another \
                     thread takes its place"
                );
                false
            }
            // It is tried again at the next look.
            Err(error) => {
                tracing::error!(%error, "no thread can be started to take commands");
                true
            }
        }
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Order> {
        let order = self.orders.pop_front()?;
        self.turn.command = order.command().or(self.turn.command);
        self.cancels -= usize::from(matches!(order, Order::Cancel(..)));
        Some(order)
    }
}

impl Order {
    fn command(&self) -> Option<CommandId> {
        match self {
            Self::Submit(command) => Some(command.id),
            Self::Cancel(..) | Self::Begin(_) => None,
        }
    }
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            queue: Mutex::default(),
            came: Condvar::new(),
            room: Semaphore::new(COMMANDS),
            began: Notify::new(),
        }
    }
}
