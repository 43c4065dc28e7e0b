//! One running plugin: takes calls, runs each where it belongs, ends.

mod birth;
mod guarded;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{self, Poll, Waker},
    time::{Duration, Instant},
};

pub(crate) use birth::{Birth, create};

use birth::parse_config;
use guarded::{Guarded, Stage, abandoned};

use crate::{
    Cancellation, Context, HandlerError, Host, Plugin,
    call_facts::{CallFacts, TextParts},
    completion::{Completion, Started},
    current::Current,
    erased::{Answer, Call, ErasedHandler},
    gate::Gate,
    log,
    panic::guard,
};

/// How long the end of an instance waits for a question to the host. The host
/// never blocks for longer.
const LINK_CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// One running plugin.
pub(crate) struct Instance<P: Plugin> {
    pub(crate) plugin: P,
    pub(crate) host: Host,
    handlers: &'static [&'static dyn ErasedHandler<P>],
    inline: Box<[bool]>,
    gate: Gate,
    /// A handler panicked: what it left half done is not to be used.
    poisoned: AtomicBool,
    /// The calls that can be cancelled.
    calls: Mutex<HashMap<u64, Cancellation>>,
    stopped: Mutex<bool>,
}

/// An instance whatever its plugin.
pub(crate) trait Engine: Send + Sync {
    /// Begins a call.
    fn start(self: Arc<Self>, call: IncomingCall<'_>) -> Started;
    /// Asks that a call end, for an `AEGIS_CANCEL_…`.
    fn cancel(&self, call: u64, reason: u32);
    /// Gives a new config, a JSON object.
    fn reconfigure(&self, config: &[u8]) -> Result<(), HandlerError>;
    /// Refuses new calls and waits for the running ones; false if they still
    /// run after `timeout`. After true the host is not asked any more.
    fn quiesce(&self, timeout: Duration) -> bool;
}

/// A call as the host makes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IncomingCall<'a> {
    pub(crate) handler: u32,
    pub(crate) id: u64,
    pub(crate) timeout: Option<Duration>,
    pub(crate) text: TextParts<'a>,
    pub(crate) payload: &'a [u8],
    pub(crate) attempt: u32,
}

impl<P: Plugin> Instance<P> {
    fn new(plugin: P, host: Host, handlers: &'static [&'static dyn ErasedHandler<P>]) -> Self {
        let inline = handlers
            .iter()
            .map(|handler| handler.spec().inline && !handler.blocks())
            .collect();
        Self {
            plugin,
            host,
            handlers,
            inline,
            gate: Gate::default(),
            poisoned: AtomicBool::new(false),
            calls: Mutex::default(),
            stopped: Mutex::new(false),
        }
    }

    fn context(self: &Arc<Self>, call: &IncomingCall<'_>) -> Context<P> {
        let facts = CallFacts::new(call.id, &call.text, call.attempt, call.timeout);
        Context {
            instance: Arc::clone(self),
            cancellation: Cancellation::new(facts),
        }
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<u64, Cancellation>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls the handler on the caller's thread. One that waits in spite of its
    /// declaration goes on in the runtime.
    fn start_inline(
        pass: Pass<P>,
        handler: &'static dyn ErasedHandler<P>,
        call: &IncomingCall<'_>,
    ) -> Started {
        enum Polled {
            Ready(Answer),
            Pending(Call),
        }
        let cx = pass.0.context(call);
        let cancellation = cx.cancellation.clone();
        let polled = guard(|| {
            let _current = Current::enter(&pass.0.host, call.id);
            match handler.call(call.payload, cx) {
                Err(error) => Polled::Ready(Err(error)),
                Ok(Call::Future(mut running)) => {
                    match running
                        .as_mut()
                        .poll(&mut task::Context::from_waker(Waker::noop()))
                    {
                        Poll::Ready(answer) => Polled::Ready(answer),
                        Poll::Pending => Polled::Pending(Call::Future(running)),
                    }
                }
                Ok(blocking @ Call::Blocking(_)) => Polled::Pending(blocking),
            }
        });
        match polled {
            Ok(Polled::Ready(answer)) => {
                Started::Done(Completion::of(answer, cancellation.is_cancelled()))
            }
            Ok(Polled::Pending(rest)) => Self::start_running(pass, call, cancellation, rest),
            Err(panic) => {
                pass.0.poisoned.store(true, Ordering::Release);
                Started::Done(Completion::Panicked(panic.into_error()))
            }
        }
    }

    /// Hands the call to the plugin's own threads.
    fn start_running(
        pass: Pass<P>,
        incoming: &IncomingCall<'_>,
        cancellation: Cancellation,
        call: Call,
    ) -> Started {
        let id = incoming.id;
        let instance = Arc::clone(&pass.0);
        let handle = match instance.host.0.runtime.handle() {
            Ok(handle) => handle,
            Err(error) => {
                return Started::Refused(
                    HandlerError::new(
                        "no-threads",
                        format!("the plugin's threads cannot be started: {error}"),
                    )
                    .retryable(),
                );
            }
        };
        instance.calls().insert(id, cancellation.clone());
        // A cancel that came before the call was entered above.
        match instance.host.0.link.with(|port| port.cancelled(id)) {
            None | Some(0) => {}
            Some(reason) => cancellation.cancel(reason),
        }
        let stage = Stage {
            host: instance.host.clone(),
            call: id,
            span: log::call_span(instance.host.0.plugin, incoming.text.command_id),
        };
        match call {
            Call::Future(running) => {
                handle.spawn(drive(
                    pass,
                    id,
                    cancellation,
                    Guarded {
                        running: Some(running),
                        stage,
                    },
                ));
            }
            Call::Blocking(job) => {
                handle.spawn_blocking(move || {
                    let completion = if cancellation.is_abandoned() {
                        // It waited for a thread until the host gave it up.
                        drop(job);
                        Completion::Cancelled(abandoned())
                    } else {
                        match stage.run(job) {
                            Ok(answer) => Completion::of(answer, cancellation.is_cancelled()),
                            Err(error) => Completion::Panicked(error),
                        }
                    };
                    pass.finish(id, completion);
                });
            }
        }
        Started::Pending
    }
}

impl<P: Plugin> Engine for Instance<P> {
    fn start(self: Arc<Self>, call: IncomingCall<'_>) -> Started {
        if !self.gate.enter() {
            return Started::Refused(
                HandlerError::new("plugin-stopping", "the plugin is being stopped").retryable(),
            );
        }
        let pass = Pass(self);
        let instance = &pass.0;
        if instance.poisoned.load(Ordering::Acquire) {
            return Started::Refused(
                HandlerError::new(
                    "plugin-poisoned",
                    "a handler of this plugin panicked; it waits to be restarted",
                )
                .retryable(),
            );
        }
        let index = call.handler as usize;
        let (Some(handler), Some(inline)) =
            (instance.handlers.get(index), instance.inline.get(index))
        else {
            return Started::Refused(HandlerError::new(
                "no-such-handler",
                format!("the plugin has no handler number {index}"),
            ));
        };
        if *inline {
            Self::start_inline(pass, *handler, &call)
        } else {
            let cx = instance.context(&call);
            let cancellation = cx.cancellation.clone();
            let later = handler.call_later(call.payload.to_vec(), cx);
            Self::start_running(pass, &call, cancellation, later)
        }
    }

    fn cancel(&self, call: u64, reason: u32) {
        let cancellation = self.calls().get(&call).cloned();
        if let Some(cancellation) = cancellation {
            cancellation.cancel(reason);
        }
    }

    fn reconfigure(&self, config: &[u8]) -> Result<(), HandlerError> {
        guard(|| {
            self.plugin
                .reconfigure(parse_config(self.host.0.plugin, config)?)
        })
        .unwrap_or_else(|panic| {
            self.poisoned.store(true, Ordering::Release);
            Err(panic.into_error())
        })
    }

    fn quiesce(&self, timeout: Duration) -> bool {
        let began = Instant::now();
        let left = || timeout.saturating_sub(began.elapsed());
        self.gate.close();
        if !self.gate.wait_empty(timeout) {
            return false;
        }
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*stopped {
            *stopped = true;
            if let Err(panic) = guard(|| self.plugin.stop()) {
                log::error(&self.host, &panic.into_error().message);
            }
            self.host.0.runtime.shut_down(left());
        }
        self.host.0.link.close(left().max(LINK_CLOSES_WITHIN))
    }
}

impl<P: Plugin> Drop for Instance<P> {
    /// Nothing is left to do for an instance that quiesced, as the contract
    /// wants it. For any other: the host must not be asked any more.
    fn drop(&mut self) {
        self.host.0.link.close(LINK_CLOSES_WITHIN);
        self.host.0.runtime.shut_down(Duration::ZERO);
    }
}

impl<P: Plugin> fmt::Debug for Instance<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// The presence of one call in an instance.
struct Pass<P: Plugin>(Arc<Instance<P>>);

impl<P: Plugin> Pass<P> {
    /// The one way in which a pending call ends: it takes the pass with it.
    fn finish(self, call: u64, completion: Completion) {
        if matches!(completion, Completion::Panicked(_)) {
            self.0.poisoned.store(true, Ordering::Release);
        }
        self.0.calls().remove(&call);
        let _ = self
            .0
            .host
            .0
            .link
            .with(|port| port.complete(call, completion));
    }
}

impl<P: Plugin> Drop for Pass<P> {
    fn drop(&mut self) {
        self.0.gate.leave();
    }
}

async fn drive<P: Plugin>(
    pass: Pass<P>,
    call: u64,
    cancellation: Cancellation,
    mut guarded: Guarded,
) {
    let completion = tokio::select! {
        biased;
        () = cancellation.abandoned() => match guarded.discard() {
            Ok(()) => Completion::Cancelled(abandoned()),
            Err(error) => Completion::Panicked(error),
        },
        ended = &mut guarded => match ended {
            Ok(answer) => Completion::of(answer, cancellation.is_cancelled()),
            Err(error) => Completion::Panicked(error),
        },
    };
    pass.finish(call, completion);
}
