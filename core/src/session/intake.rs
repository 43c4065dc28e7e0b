//! The way in: commands and cancels, in their order, on a thread of their own.
//!
//! A handler that may run inline runs on the thread that submits its command.
//! One that breaks its word and hangs would hang whoever that is: so it is this
//! thread, never a connection's task. While it hangs, another thread takes the
//! next command; the command itself meets its timeout like any other.

use std::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    command::{CancelReason, Command, CommandId},
    dispatch::Dispatcher,
    unpoisoned::lock,
};

/// Commands and cancels that wait for the thread. It is never busy for longer
/// than [`PATIENCE`], so they are those of a moment.
const WAITING: usize = 1024;

/// How long one command may keep the thread before another takes its place:
/// a hundred times what an inline handler may take.
const PATIENCE: Duration = Duration::from_millis(100);

/// Takes commands for a dispatcher. Dropping it ends its thread.
pub(crate) struct Intake {
    orders: SyncSender<Order>,
    _stop: DropGuard,
}

enum Order {
    Submit(Command),
    Cancel(CommandId, CancelReason, String),
}

struct Desk {
    orders: Mutex<Receiver<Order>>,
    turn: Mutex<Turn>,
    began: Notify,
    dispatcher: Dispatcher,
}

#[derive(Default)]
struct Turn {
    /// Which thread's it is; those of earlier turns end when they come back.
    number: u64,
    /// When the command at hand was begun.
    since: Option<Instant>,
}

impl Intake {
    /// Starts the thread, and what watches over it on the current runtime.
    pub(crate) fn new(dispatcher: Dispatcher) -> std::io::Result<Self> {
        let (sender, orders) = sync_channel(WAITING);
        let desk = Arc::new(Desk {
            orders: Mutex::new(orders),
            turn: Mutex::default(),
            began: Notify::new(),
            dispatcher,
        });
        Desk::serve(&desk, 0)?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(watch(desk)).await });
        Ok(Self {
            orders: sender,
            _stop: stop.drop_guard(),
        })
    }

    /// Neither blocks nor fails: every answer appears in the journal.
    pub(crate) fn submit(&self, command: Command) {
        self.hand_in(Order::Submit(command));
    }

    /// The same for a cancel.
    pub(crate) fn cancel(&self, id: CommandId, reason: CancelReason, note: &str) {
        self.hand_in(Order::Cancel(id, reason, note.to_owned()));
    }

    fn hand_in(&self, order: Order) {
        match self.orders.try_send(order) {
            Ok(()) => {}
            // The controller sends it again when the node connects anew.
            Err(TrySendError::Full(_)) => {
                tracing::warn!("commands come faster than they can be taken: one was not taken");
            }
            Err(TrySendError::Disconnected(_)) => {
                tracing::error!("the intake ended before the worker did: a command was not taken");
            }
        }
    }
}

impl Desk {
    /// Starts a thread for a turn.
    fn serve(desk: &Arc<Self>, turn: u64) -> std::io::Result<()> {
        let desk = Arc::clone(desk);
        thread::Builder::new()
            .name("aegis-intake".into())
            .spawn(move || while desk.take_one(turn) {})
            .map(drop)
    }

    /// Whether the turn goes on.
    fn take_one(&self, turn: u64) -> bool {
        let Ok(order) = lock(&self.orders).recv() else {
            return false;
        };
        lock(&self.turn).since = Some(Instant::now());
        self.began.notify_one();
        match order {
            Order::Submit(command) => self.dispatcher.submit(command),
            Order::Cancel(id, reason, note) => self.dispatcher.cancel(id, reason, &note),
        }
        let mut now = lock(&self.turn);
        let mine = now.number == turn;
        if mine {
            now.since = None;
        }
        mine
    }

    /// Whether a thread is at work; one that is at it for too long loses its turn.
    fn check(desk: &Arc<Self>) -> bool {
        let mut turn = lock(&desk.turn);
        let Some(since) = turn.since else {
            return false;
        };
        if since.elapsed() < PATIENCE {
            return true;
        }
        match Self::serve(desk, turn.number + 1) {
            Ok(()) => {
                turn.number += 1;
                turn.since = None;
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

async fn watch(desk: Arc<Desk>) {
    loop {
        desk.began.notified().await;
        tokio::time::sleep(PATIENCE).await;
        while Desk::check(&desk) {
            tokio::time::sleep(PATIENCE).await;
        }
    }
}
