//! One process of a plugin, as the rest of the worker sees it.

use std::{
    collections::HashMap,
    process::{Child, ExitStatus},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError, SyncSender},
    },
    time::Duration,
};

use aegis_plugin_api::HandlerError;
use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};

use super::{
    ending::Killed,
    outbox::{Outbox, Room, Unsent},
};
use crate::{
    plugin::{
        Call, CallId,
        calls::InstanceNumber,
        ffi,
        frame::{self, FrameError, Order},
    },
    unpoisoned::lock,
};

/// Of the request that asks whether the plugin is quiet. Others are numbered
/// from 1.
pub(super) const QUIESCE: u64 = 0;

/// A process that was started and may be over.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) number: InstanceNumber,
    outbox: Outbox,
    process: Mutex<Process>,
    ready: AtomicBool,
    /// Whoever waits for an answer, by its number; `None` when it is over.
    waiting: Mutex<Option<HashMap<u64, SyncSender<Reply>>>>,
    next: AtomicU64,
    /// What it was last told.
    log_level: AtomicU32,
    /// Requests of it that are being carried out.
    pub(super) asking: AtomicUsize,
}

#[derive(Debug)]
struct Process {
    /// Of its leader and of the group; `None` once it is reaped.
    group: Option<Pid>,
    killed: Option<Killed>,
}

/// What the process answers the worker.
#[derive(Debug)]
pub(super) enum Reply {
    Reconfigured(Result<(), HandlerError>),
    Quiesced(bool),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The process is over, or ends.
    Over,
    /// It takes too long.
    Late,
    /// The question is too long.
    TooLong,
}

/// Why a call is not on its way.
#[derive(Debug, PartialEq)]
pub(super) enum NotBegun {
    /// There is no room.
    Full,
    /// The process is over.
    Over,
    /// It can be put in no message.
    Unsayable(FrameError),
}

impl Life {
    pub(super) fn new(process: &Child, outbox: Outbox) -> Arc<Self> {
        Arc::new(Self {
            number: InstanceNumber::next(),
            outbox,
            process: Mutex::new(Process {
                group: i32::try_from(process.id()).ok().and_then(Pid::from_raw),
                killed: None,
            }),
            ready: AtomicBool::new(false),
            waiting: Mutex::new(Some(HashMap::new())),
            next: AtomicU64::new(QUIESCE + 1),
            log_level: AtomicU32::new(0),
            asking: AtomicUsize::new(0),
        })
    }

    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Whether it takes calls.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// The process's id while it is there.
    pub(super) fn pid(&self) -> Option<u32> {
        let pid = lock(&self.process).group?;
        u32::try_from(pid.as_raw_nonzero().get()).ok()
    }

    /// Sends a call.
    pub(super) fn start(&self, id: CallId, call: &Call<'_>) -> Result<(), NotBegun> {
        self.follow_log_level();
        let timeout = call
            .timeout
            .map(|timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        let start = Order::Start(frame::Start {
            call: id.0,
            handler: call.handler,
            command_id: Bytes::copy_from_slice(call.command_id.as_uuid().as_bytes()),
            payload: Bytes::copy_from_slice(call.payload),
            timeout,
            issuer: call.issuer.to_owned(),
            traceparent: call.traceparent.to_owned(),
            attempt: call.attempt,
        });
        let frame = start.into_frame().map_err(NotBegun::Unsayable)?;
        self.outbox
            .send(frame, Room::Call)
            .map_err(|unsent| match unsent {
                Unsent::Full => NotBegun::Full,
                Unsent::Closed => NotBegun::Over,
            })
    }

    /// Sends what must arrive: a process that does not take it is killed.
    pub(super) fn send(&self, order: Order) -> Result<(), FrameError> {
        let frame = order.into_frame()?;
        if self.outbox.send(frame, Room::Reserved) == Err(Unsent::Full) {
            self.kill(Killed::Fault(
                "its silence: it does not read what it is sent".to_owned(),
            ));
        }
        Ok(())
    }

    /// Sends a question and waits for the answer.
    pub(super) fn ask(
        &self,
        number: Option<u64>,
        question: impl FnOnce(u64) -> Order,
        patience: Duration,
    ) -> Result<Reply, Unanswered> {
        let number = number.unwrap_or_else(|| self.next.fetch_add(1, Ordering::Relaxed));
        let (tell, told) = mpsc::sync_channel(1);
        match &mut *lock(&self.waiting) {
            Some(waiting) => waiting.insert(number, tell),
            None => return Err(Unanswered::Over),
        };
        if self.send(question(number)).is_err() {
            self.take_waiting(number);
            return Err(Unanswered::TooLong);
        }
        told.recv_timeout(patience).map_err(|error| {
            self.take_waiting(number);
            match error {
                RecvTimeoutError::Timeout => Unanswered::Late,
                RecvTimeoutError::Disconnected => Unanswered::Over,
            }
        })
    }

    /// An answer came. False: nobody waits for it.
    pub(super) fn answered(&self, number: u64, reply: Reply) -> bool {
        // The channel holds one, and there is one.
        self.take_waiting(number)
            .is_some_and(|waiting| waiting.try_send(reply).is_ok())
    }

    /// Tells it which log lines are wanted, if that changed.
    pub(super) fn follow_log_level(&self) {
        let level = ffi::log_level();
        if self.log_level.swap(level, Ordering::Relaxed) != level {
            // A number fits every frame.
            let _ = self.send(Order::LogLevel(level));
        }
    }

    /// Notes what the process was told with its first message.
    pub(super) fn begins_with(&self, log_level: u32) {
        self.log_level.store(log_level, Ordering::Relaxed);
    }

    /// Kills all that is of its group. The first reason is the one that counts.
    pub(super) fn kill(&self, why: Killed) {
        let mut process = lock(&self.process);
        let Some(group) = process.group else {
            return;
        };
        process.killed.get_or_insert(why);
        // The leader is not reaped, so the number is still the group's.
        let _ = kill_process_group(group, Signal::KILL);
    }

    /// From now on its end is the one that was wanted.
    pub(super) fn finish(&self) {
        lock(&self.process).killed.get_or_insert(Killed::Finished);
    }

    /// Its leader is over: kills what is left of the group and reaps it.
    pub(super) fn bury(&self, leader: &mut Child) -> (Option<Killed>, Option<ExitStatus>) {
        self.ready.store(false, Ordering::Release);
        self.outbox.close();
        lock(&self.waiting).take();
        let mut process = lock(&self.process);
        if let Some(group) = process.group.take() {
            // Nothing is left, as a rule.
            let _ = kill_process_group(group, Signal::KILL);
        }
        (process.killed.clone(), leader.wait().ok())
    }

    fn take_waiting(&self, number: u64) -> Option<SyncSender<Reply>> {
        lock(&self.waiting).as_mut()?.remove(&number)
    }
}
