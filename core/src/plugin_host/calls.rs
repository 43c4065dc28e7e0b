//! The calls that the worker started here and that are not over.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use aegis_plugin_api::{
    HandlerError,
    abi::{
        AEGIS_CANCEL_ABANDON, AEGIS_CANCEL_DEADLINE, AEGIS_CANCEL_REQUESTED, AEGIS_CANCEL_SHUTDOWN,
        AEGIS_STATUS_CANCELLED, AEGIS_STATUS_ERROR, AEGIS_STATUS_OK, AEGIS_STATUS_PANICKED,
    },
};
use aegis_proto::CommandId;
use bytes::Bytes;

use super::{interfaces::Remote, link::Link};
use crate::{
    command::CancelReason,
    plugin::{
        Call, CallId, CallSink, Completion, Hosted, PluginInstance, Started,
        frame::{CHECKPOINT, Cancel, Done, Output, Progress, Refused, Report, Start},
    },
    unpoisoned::lock,
};

/// A start that takes longer, twice, is made on a thread of its own from then
/// on, so that what it keeps waiting is not everyone else.
const SLOW: Duration = Duration::from_millis(1);
const SLOW_STARTS: u32 = 2;
/// Of output in one message.
const OUTPUT_PIECE: usize = 64 * 1024;

/// By the worker's ids.
pub(super) struct Calls {
    open: Mutex<HashMap<u64, Arc<Open>>>,
    /// How often the start of a handler was slow, by its index.
    slow: Mutex<HashMap<u32, u32>>,
    /// What checkpoints are asked of.
    remote: Arc<Remote>,
    /// To the thread that begins calls, which may ask the worker something
    /// while the answer is read elsewhere. As long as the worker's lists of
    /// calls are, and no longer.
    starts: OnceLock<Sender<Beginning>>,
}

/// A call that is about to begin.
type Beginning = (Arc<Open>, Arc<Hosted>, Start);

/// A call, and the sink that the plugin's host tells of it.
struct Open {
    id: u64,
    command: CommandId,
    link: Arc<Link>,
    calls: Arc<Calls>,
    /// As on the ABI; 0: it is not.
    cancelled: AtomicU32,
    /// The id that it has here, once its start has returned.
    here: Mutex<Option<CallId>>,
}

impl Calls {
    pub(super) fn new(remote: Arc<Remote>) -> Self {
        Self {
            open: Mutex::default(),
            slow: Mutex::default(),
            remote,
            starts: OnceLock::new(),
        }
    }

    /// Starts the thread that begins calls.
    pub(super) fn serve(self: &Arc<Self>) -> io::Result<()> {
        let (give, take) = mpsc::channel::<Beginning>();
        let own = Arc::clone(self);
        thread::Builder::new()
            .name("starts".to_owned())
            .spawn(move || {
                for (open, hosted, start) in take {
                    own.start(open, hosted, start);
                }
            })?;
        // This is done once.
        let _ = self.starts.set(give);
        Ok(())
    }

    /// The worker's id of the call that carries out a command; 0: there is none.
    pub(super) fn of_command(&self, command: &str) -> u64 {
        let open = lock(&self.open);
        open.values()
            .find(|open| open.command.to_string() == command)
            .map_or(0, |open| open.id)
    }

    /// Whether one is not over.
    pub(super) fn are_open(&self) -> bool {
        !lock(&self.open).is_empty()
    }

    /// Has a call begun.
    pub(super) fn begin(self: &Arc<Self>, link: &Arc<Link>, hosted: &Arc<Hosted>, start: Start) {
        let Ok(command) = uuid::Uuid::from_slice(&start.command_id) else {
            // No worker sends it, and to go on would be to guess.
            std::process::exit(1);
        };
        let open = Arc::new(Open {
            id: start.call,
            command: CommandId::from_uuid(command),
            link: Arc::clone(link),
            calls: Arc::clone(self),
            cancelled: AtomicU32::new(0),
            here: Mutex::new(None),
        });
        lock(&self.open).insert(start.call, Arc::clone(&open));
        let beginning = (open, Arc::clone(hosted), start);
        let starts = self.starts.get();
        if starts.is_none_or(|starts| starts.send(beginning).is_err()) {
            // The thread panicked; the worker starts another process.
            std::process::exit(1);
        }
    }

    fn start(&self, open: Arc<Open>, hosted: Arc<Hosted>, start: Start) {
        let slow = lock(&self.slow)
            .get(&start.handler)
            .is_some_and(|times| *times >= SLOW_STARTS);
        if !slow && !hosted.start_may_block() {
            let since = Instant::now();
            open.begin(&hosted, &start);
            if since.elapsed() > SLOW {
                *lock(&self.slow).entry(start.handler).or_default() += 1;
            }
            return;
        }
        let own = Arc::clone(&open);
        let spawned = thread::Builder::new().spawn(move || own.begin(&hosted, &start));
        if let Err(error) = spawned {
            let error = HandlerError::new(
                aegis_proto::error_code::OVERLOADED,
                format!("the plugin's process finds no thread for it: {error}"),
            );
            open.refused(&error.retryable());
        }
    }

    pub(super) fn cancel(&self, hosted: &Arc<Hosted>, cancel: &Cancel) {
        let Some(open) = lock(&self.open).get(&cancel.call).cloned() else {
            return;
        };
        open.cancelled.store(cancel.reason, Ordering::Release);
        let here = *lock(&open.here);
        if here.is_some() {
            open.tell_cancel(hosted);
        }
    }
}

impl Open {
    fn begin(self: &Arc<Self>, hosted: &Arc<Hosted>, start: &Start) {
        let call = Call {
            handler: start.handler,
            command_id: self.command,
            payload: &start.payload,
            timeout: start.timeout.map(Duration::from_nanos),
            issuer: &start.issuer,
            traceparent: &start.traceparent,
            attempt: start.attempt,
        };
        match hosted.start(call, Arc::clone(self) as Arc<dyn CallSink>) {
            Started::Done(completion) => self.complete(completion),
            Started::Refused(error) => self.refused(&error),
            Started::Pending(id) => {
                *lock(&self.here) = Some(id);
                // One that came before there was an id.
                if self.cancelled.load(Ordering::Acquire) != 0 {
                    self.tell_cancel(hosted);
                }
            }
        }
    }

    /// Tells the plugin, from a thread where it hurts nobody if it blocks.
    fn tell_cancel(&self, hosted: &Arc<Hosted>) {
        let (Some(id), Some(reason)) = (*lock(&self.here), self.cancelled()) else {
            return;
        };
        let hosted = Arc::clone(hosted);
        let spawned = thread::Builder::new().spawn(move || hosted.cancel(id, reason));
        if let Err(error) = spawned {
            tracing::warn!(%error, "the plugin's process finds no thread for a cancel");
        }
    }

    fn refused(&self, error: &HandlerError) {
        if lock(&self.calls.open).remove(&self.id).is_some() {
            // An error's texts are short.
            let _ = self.link.send(Report::Refused(Refused {
                call: self.id,
                document: error.to_document().into(),
            }));
        }
    }

    fn ask(&self, function: &str, document: &[u8]) -> Result<Option<Bytes>, HandlerError> {
        let remote = &self.calls.remote;
        remote.ask(CHECKPOINT, function, self.id, document)
    }
}

impl CallSink for Open {
    fn progress(&self, permille: u32, note: &str) {
        // A note is cut to far less than a message holds.
        let _ = self.link.send(Report::Progress(Progress {
            call: self.id,
            permille,
            note: note.to_owned(),
        }));
    }

    fn output(&self, data: &[u8]) {
        for piece in data.chunks(OUTPUT_PIECE) {
            // A piece fits.
            let _ = self.link.send(Report::Output(Output {
                call: self.id,
                data: Bytes::copy_from_slice(piece),
            }));
        }
    }

    fn save_checkpoint(&self, data: &[u8]) -> Result<(), HandlerError> {
        self.ask("save", data).map(|_| ())
    }

    fn checkpoint(&self) -> Option<Bytes> {
        self.ask("load", &[]).ok().flatten()
    }

    fn complete(&self, completion: Completion) {
        if lock(&self.calls.open).remove(&self.id).is_none() {
            return;
        }
        let (status, document) = match completion {
            Completion::Succeeded(response) => (AEGIS_STATUS_OK, response),
            // Nothing is lost here but with this process.
            Completion::Failed(error) | Completion::Lost(error) => {
                (AEGIS_STATUS_ERROR, error.to_document().into())
            }
            Completion::Cancelled(None) => (AEGIS_STATUS_CANCELLED, Bytes::new()),
            Completion::Cancelled(Some(error)) => {
                (AEGIS_STATUS_CANCELLED, error.to_document().into())
            }
            Completion::Panicked(error) => (AEGIS_STATUS_PANICKED, error.to_document().into()),
        };
        // The host checked its length.
        let _ = self.link.send(Report::Done(Done {
            call: self.id,
            status,
            document,
        }));
    }

    fn cancelled(&self) -> Option<CancelReason> {
        match self.cancelled.load(Ordering::Acquire) {
            AEGIS_CANCEL_REQUESTED => Some(CancelReason::Requested),
            AEGIS_CANCEL_DEADLINE => Some(CancelReason::Deadline),
            AEGIS_CANCEL_SHUTDOWN => Some(CancelReason::Shutdown),
            AEGIS_CANCEL_ABANDON => Some(CancelReason::Abandon),
            _ => None,
        }
    }
}
