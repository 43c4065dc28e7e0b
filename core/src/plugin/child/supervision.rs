//! From one process of a plugin to the next.

use std::{
    mem,
    os::unix::{ffi::OsStrExt, net::UnixStream},
    sync::{Arc, PoisonError, mpsc::SyncSender},
    time::{Duration, Instant},
};

use super::{
    NotStarted, Schemas, Shared,
    conversation::Conversation,
    ending::{self, Ending, Killed},
    life::Life,
    outbox::Outbox,
    standing::{Ended, Next},
    unavailable,
    watch::{Streams, watch},
};
use crate::{
    manifest::HostInterface,
    plugin::{
        Completion, ffi,
        frame::{self, Begin, Order, PROTOCOL},
        restart::Parked,
    },
    unpoisoned::lock,
};

/// Whoever waits for the first process.
pub(super) type First = SyncSender<Result<Vec<Schemas>, NotStarted>>;

/// Runs the plugin's processes, one after the other, until it is closed. If the
/// first one fails, there is no second.
pub(super) fn supervise(shared: &Arc<Shared>, first: First) {
    let mut first = Some(first);
    while shared.is_to_start() {
        if let Err(error) = live(shared, &mut first)
            && let Some(first) = first.take()
        {
            // Whoever started it waits for this.
            let _ = first.send(Err(error));
            return;
        }
    }
}

/// One process, from its start to its end. It is an error if it did not get
/// ready in between.
fn live(shared: &Arc<Shared>, first: &mut Option<First>) -> Result<(), NotStarted> {
    let setup = &shared.setup;
    let is_first = first.is_some();
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        let error = NotStarted::system(format!("{what}: {error}"));
        if !is_first {
            shared.is_gone(Ended::NotReady, &error.reason, 0);
        }
        Err(error)
    };
    let spawned = setup
        .program
        .spawn(&setup.confinement, setup.library.file(), &setup.state_dir);
    let mut spawned = match spawned {
        Ok(spawned) => spawned,
        Err(error) => return failed("its process cannot be started", &error),
    };
    let begun = || -> std::io::Result<(Streams, Outbox)> {
        let (waker, woken) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let outbox = Outbox::new(spawned.socket.try_clone()?, waker);
        let streams = Streams {
            socket: spawned.socket,
            said: spawned.said,
            woken,
        };
        Ok((streams, outbox))
    };
    let (streams, outbox) = match begun() {
        Ok(begun) => begun,
        Err(error) => {
            // It waits for its first message and has done nothing.
            let _ = spawned.process.kill();
            let _ = spawned.process.wait();
            return failed("its process cannot be reached", &error);
        }
    };
    let life = Life::new(&spawned.process, outbox);
    let closing = {
        let mut state = lock(&shared.state);
        state.life = Some(Arc::clone(&life));
        state.closing
    };
    let config = shared.config().clone();
    let begin = begin(shared, &life, config.clone());
    if closing {
        life.kill(Killed::Finished);
    } else if let Err(error) = life.send(begin) {
        life.kill(Killed::Fault(format!("its config: {error}")));
    }
    let mut conversation = Conversation::new(shared, &life, first, config);
    watch(&life, &mut spawned.process, &streams, &mut conversation);
    let was_ready = life.is_ready();
    let (killed, status) = life.bury(&mut spawned.process);
    let (failed, words) = conversation.end();
    let ending = Ending {
        killed,
        status,
        words,
    };
    let text = match &failed {
        Some(failed) => format!("did not serve: {}", failed.reason),
        None => ending.text(),
    };
    shared.forget_process();
    let lost = shared.calls.end_all(life.number);
    // What follows from it is decided before anyone hears of it.
    if is_first && !was_ready {
        // Whoever started it decides.
    } else if ending.killed != Some(Killed::Finished) {
        let how = match &ending.killed {
            _ if !was_ready => Ended::NotReady,
            Some(Killed::Hung) => Ended::Hung,
            _ => Ended::Crashed {
                ran: !lost.is_empty(),
            },
        };
        shared.is_gone(how, &text, lost.len());
    }
    for ended in lost {
        let error = ending::crashed(&setup.id, &text);
        ended.sink.complete(Completion::Lost(error));
    }
    match failed {
        _ if was_ready => Ok(()),
        Some(failed) => Err(NotStarted {
            unmapped: failed.unmapped,
            reason: failed.reason,
            remedy: failed.remedy,
        }),
        None => Err(NotStarted {
            unmapped: false,
            reason: format!("its process {text}"),
            remedy: "see the plugin's documentation and its limits in the config".to_owned(),
        }),
    }
}

fn begin(shared: &Shared, life: &Life, config: String) -> Order {
    let setup = &shared.setup;
    let log_level = ffi::log_level();
    life.begins_with(log_level);
    let granted = HostInterface::ALL
        .into_iter()
        .filter(|interface| setup.interfaces.grants(*interface));
    let bytes = |path: &std::path::PathBuf| path.as_os_str().as_bytes().to_vec();
    Order::Begin(Begin {
        protocol: PROTOCOL,
        id: setup.id.clone(),
        symbol: setup.symbol.clone(),
        manifest: setup.manifest.clone().into(),
        config,
        node: setup.node.clone(),
        state_dir: setup.state_dir.to_string_lossy().into_owned(),
        log_level,
        interfaces: granted.map(|interface| interface.id().to_owned()).collect(),
        schemas: setup.missing_schemas.clone(),
        paths: Some(frame::Paths {
            read: setup.paths.read.iter().map(bytes).collect(),
            write: setup.paths.write.iter().map(bytes).collect(),
            withheld: bytes(&setup.paths.withheld),
            state_dir: bytes(&setup.paths.state_dir),
        }),
    })
}

impl Shared {
    /// Waits until a process is to be started. False: never again.
    fn is_to_start(&self) -> bool {
        let mut state = lock(&self.state);
        loop {
            if state.closing {
                return false;
            }
            let left = match (&state.quarantine, state.due) {
                (Some(_), _) => None,
                (None, due) => Some(due.map_or(Duration::ZERO, |due| {
                    due.saturating_duration_since(Instant::now())
                })),
            };
            state = match left {
                Some(Duration::ZERO) => return true,
                Some(left) => {
                    let waited = self.woken.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.woken.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    /// A process is ready: it takes what waited for it.
    pub(super) fn is_up(
        &self,
        life: &Arc<Life>,
        made_from: &str,
        first: Option<(First, Vec<Schemas>)>,
    ) {
        let parked = {
            let mut state = lock(&self.state);
            if state.closing {
                life.kill(Killed::Finished);
                return;
            }
            life.set_ready();
            state.due = None;
            state.failure = None;
            mem::take(&mut state.parked)
        };
        if let Some((first, schemas)) = first {
            // Whoever started it waits for this.
            let _ = first.send(Ok(schemas));
        } else {
            tracing::info!(
                plugin = self.setup.id,
                pid = life.pid(),
                waiting = parked.len(),
                "the plugin runs again"
            );
        }
        self.catch_up(life, made_from);
        for parked in parked {
            self.begin_parked(life, &parked);
        }
    }

    /// Gives it the config that came while it was made from another. Somebody
    /// who changes it right now does that by himself.
    fn catch_up(&self, life: &Life, made_from: &str) {
        let Ok(kept) = self.config.try_lock() else {
            return;
        };
        if *kept != made_from {
            // It was taken by a process before, so it fits a frame.
            let _ = life.send(Order::Reconfigure(frame::Reconfigure {
                number: u64::MAX,
                config: kept.clone(),
            }));
        }
    }

    fn begin_parked(&self, life: &Arc<Life>, parked: &Parked) {
        if !self.calls.assign(parked.id, life.number, Arc::clone(life)) {
            return;
        }
        // Only the thread that runs this ends the calls of a process.
        self.calls.pending(parked.id);
        if life.start(parked.id, &parked.call()).is_err()
            && let Some(ended) = self.calls.withdraw(parked.id)
        {
            let error = unavailable("it ended again before it took it".to_owned());
            ended.sink.complete(Completion::Failed(error.retryable()));
        }
    }

    /// The process that was is no more.
    fn forget_process(&self) {
        lock(&self.state).life = None;
        let mut told = lock(&self.told);
        let now = mem::take(&mut told.now);
        told.before.panics += now.panics;
        told.before.double += now.double;
        told.before.late += now.late;
        told.before.forged += now.forged;
        told.before.after_quiesce += now.after_quiesce;
    }

    /// Decides what follows from an end that nobody asked for.
    fn is_gone(&self, how: Ended, text: &str, lost: usize) {
        let id = &self.setup.id;
        let now = Instant::now();
        let limit = self.setup.quarantine_after;
        let (next, stranded) = {
            let mut state = lock(&self.state);
            let next = state.standing.ended(how, limit, now);
            match next {
                Next::Restart(delay) => {
                    state.due = Some(now + delay);
                    let waits = how == Ended::NotReady || !delay.is_zero();
                    state.failure =
                        waits.then(|| format!("its process {text}; it is started again"));
                }
                Next::Quarantine(crashes) => {
                    state.quarantine = Some(format!(
                        "its process crashed {crashes} times in a row while a handler of it ran \
                         (it {text}): mend it, or release it as it is with `aegis-worker plugins \
                         release {id}`"
                    ));
                }
            }
            let serves = state.quarantine.is_none() && how != Ended::NotReady;
            let parked = if serves {
                Vec::new()
            } else {
                mem::take(&mut state.parked)
            };
            (next, parked)
        };
        match next {
            Next::Restart(delay) => tracing::error!(
                plugin = id,
                lost,
                ?delay,
                "the plugin's process {text}; it is started again"
            ),
            Next::Quarantine(crashes) => tracing::error!(
                plugin = id,
                lost,
                crashes,
                "the plugin's process {text}; the plugin is in quarantine now"
            ),
        }
        for parked in stranded {
            if let Some(ended) = self.calls.withdraw(parked.id) {
                let error = unavailable(format!("it {text}")).retryable();
                ended.sink.complete(Completion::Failed(error));
            }
        }
    }
}
