//! A plugin in this process: its current instance, and how a new one takes
//! over after a panic.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::{Duration, Instant},
};

use aegis_plugin_api::HandlerError;
use aegis_proto::error_code::OVERLOADED;
use arc_swap::ArcSwapOption;
use serde_json::Value;

use super::{
    Call, CallId, CallSink, Completion, PluginInstance, PluginState, Running, Started, answer,
    calls::{Calls, InstanceNumber, Stray, unended},
    faults::{FaultCounts, Faults},
    ffi::{Begun, Descriptor, HostContext, Instance, PluginSide, Request, Seed},
    interfaces::HostInterfaces,
    restart::{Admission, Parked, Restart},
    schema::RequestSchema,
};
use crate::command::CancelReason;

/// A `create` that takes longer is given up. The plugin's thread stays behind.
const CREATE_LIMIT: Duration = Duration::from_secs(30);
/// How long a plugin without a quiesce function is asked whether it is quiet.
const POLL: Duration = Duration::from_millis(5);

/// With this code an instance refuses calls after a panic. It can say so before
/// the completion that tells of the panic is here.
const POISONED: &str = "plugin-poisoned";

/// What a plugin is hosted with.
pub(crate) struct Hosting {
    /// Its id.
    pub(crate) id: String,
    /// From a file or linked in.
    pub(crate) descriptor: Descriptor,
    /// `[plugins.NAME.config]`
    pub(crate) config: serde_json::Map<String, Value>,
    /// The node, a JSON object.
    pub(crate) node: String,
    /// The plugin's own; it exists.
    pub(crate) state_dir: PathBuf,
    /// What it was granted.
    pub(crate) interfaces: Arc<dyn HostInterfaces>,
    /// The schemas of its requests, by handler.
    pub(crate) request_schemas: Vec<Option<Value>>,
}

/// A plugin that takes calls.
pub(crate) struct Hosted {
    me: Weak<Self>,
    pub(super) descriptor: Descriptor,
    pub(super) side: Arc<PluginSide>,
    node: String,
    state_dir: String,
    interfaces: Arc<dyn HostInterfaces>,
    config: Mutex<String>,
    schemas: Vec<Option<RequestSchema>>,
    pub(super) current: ArcSwapOption<Instance>,
    pub(super) restart: Restart,
}

impl Hosted {
    /// Makes the first instance. May block for up to 30 seconds.
    ///
    /// # Errors
    ///
    /// What the plugin said, or what it did wrong.
    pub(crate) fn start(hosting: Hosting) -> Result<Arc<Self>, HandlerError> {
        let side = PluginSide {
            id: hosting.id,
            calls: Calls::new(),
            faults: Faults::default(),
            on_panic: OnceLock::new(),
        };
        let hosted = Arc::new_cyclic(|me: &Weak<Self>| Self {
            me: me.clone(),
            descriptor: hosting.descriptor,
            side: Arc::new(side),
            node: hosting.node,
            state_dir: hosting.state_dir.to_string_lossy().into_owned(),
            interfaces: hosting.interfaces,
            config: Mutex::new(Value::Object(hosting.config).to_string()),
            schemas: hosting
                .request_schemas
                .into_iter()
                .map(|schema| schema.map(RequestSchema::new))
                .collect(),
            current: ArcSwapOption::empty(),
            restart: Restart::default(),
        });
        let me = hosted.me.clone();
        let hook = move |number: InstanceNumber| {
            if let Some(hosted) = me.upgrade() {
                hosted.panicked(number);
            }
        };
        // Only this function sets it.
        let _ = hosted.side.on_panic.set(Box::new(hook));
        let config = hosted.config().clone();
        hosted.current.store(Some(hosted.create(config)?));
        Ok(hosted)
    }

    /// Has `watcher` called whenever what it tells as [`Running`] changes.
    pub(crate) fn on_change(&self, watcher: fn()) {
        self.side.faults.watch(watcher);
    }

    /// Makes an instance on a thread of its own, so that a plugin that never
    /// answers does not hold up anyone for ever.
    pub(super) fn create(&self, config: String) -> Result<Arc<Instance>, HandlerError> {
        let seed = Seed {
            config,
            node: self.node.clone(),
            state_dir: self.state_dir.clone(),
        };
        let (descriptor, side, interfaces) = (
            self.descriptor,
            Arc::clone(&self.side),
            Arc::clone(&self.interfaces),
        );
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name(format!("create-{}", self.side.id));
        let spawned = thread.spawn(move || {
            let context = HostContext::leak(side, interfaces);
            // Nobody listens any more if this took too long.
            let _ = answer.send(Instance::create(&descriptor, context, &seed));
        });
        spawned.map_err(|error| {
            HandlerError::new(
                "create-failed",
                format!("no thread to create it on: {error}"),
            )
        })?;
        match answered.recv_timeout(CREATE_LIMIT) {
            Ok(created) => created.map(Arc::new),
            Err(_) => Err(answer::fault(format!(
                "create did not answer in {CREATE_LIMIT:?}"
            ))),
        }
    }

    /// Begins a call that waited for an instance.
    pub(super) fn begin_parked(&self, instance: &Arc<Instance>, parked: &Parked) {
        let number = instance.host().number();
        if !self
            .side
            .calls
            .assign(parked.id, number, Arc::clone(instance))
        {
            return;
        }
        let request = Request {
            id: parked.id,
            call: parked.call(),
        };
        let end = match instance.start(request) {
            Begun::Pending => {
                if let Some(ended) = self.side.calls.pending(parked.id)
                    && let Some(completion) = ended.early
                {
                    ended.sink.complete(completion);
                }
                return;
            }
            Begun::Done(completion) => completion,
            Begun::Refused(error) => Completion::Failed(error),
        };
        if matches!(end, Completion::Panicked(_)) {
            instance.host().poison();
        }
        if let Some(ended) = self.side.calls.withdraw(parked.id) {
            let completion = self.first_of(ended.early, end);
            ended.sink.complete(completion);
        }
    }

    fn begin(&self, instance: &Arc<Instance>, call: Call<'_>, sink: Arc<dyn CallSink>) -> Started {
        let owner = (instance.host().number(), Arc::clone(instance));
        let calls = &self.side.calls;
        let Some(id) = calls.insert(Some(owner), call.command_id, Arc::clone(&sink)) else {
            return Started::Refused(overloaded());
        };
        match instance.start(Request { id, call }) {
            Begun::Pending => match calls.pending(id).and_then(|ended| ended.early) {
                Some(completion) => Started::Done(completion),
                None => Started::Pending(id),
            },
            Begun::Done(completion) => {
                if matches!(completion, Completion::Panicked(_)) {
                    instance.host().poison();
                }
                let early = calls.withdraw(id).and_then(|ended| ended.early);
                Started::Done(self.first_of(early, completion))
            }
            Begun::Refused(error) => match calls.withdraw(id).and_then(|ended| ended.early) {
                Some(completion) => {
                    Started::Done(self.first_of(Some(completion), Completion::Failed(error)))
                }
                None if error.code == POISONED => {
                    instance.host().poison();
                    self.park(call, sink)
                }
                // It panicked after we looked.
                None if instance.host().is_poisoned() => self.park(call, sink),
                None => Started::Refused(error),
            },
        }
    }

    /// A call that was completed and then answered for as well ended with the
    /// first of the two.
    fn first_of(&self, early: Option<Completion>, answered: Completion) -> Completion {
        match early {
            Some(early) => {
                self.side.faults.stray(Stray::Double);
                early
            }
            None => answered,
        }
    }

    /// Keeps a call until there is a sound instance, or begins it if there is
    /// one by now.
    fn park(&self, call: Call<'_>, sink: Arc<dyn CallSink>) -> Started {
        let ready = || {
            self.current
                .load_full()
                .filter(|instance| !instance.host().is_poisoned())
        };
        let waiting = Arc::clone(&sink);
        let park = || {
            let id = self
                .side
                .calls
                .insert(None, call.command_id, waiting)
                .ok_or_else(overloaded)?;
            Ok(Parked::new(id, call))
        };
        match self.restart.admit(ready, park) {
            Ok(Admission::Parked(id)) => Started::Pending(id),
            Ok(Admission::Ready(instance)) => self.begin(&instance, call, sink),
            Err(error) => Started::Refused(error),
        }
    }

    /// Gives a new instance the config that came while it was made from another.
    pub(super) fn catch_up(&self, instance: &Instance, made_from: &str) {
        let kept = self.config();
        if *kept != made_from
            && let Err(error) = instance.reconfigure(&kept)
        {
            tracing::error!(
                plugin = self.side.id, %error,
                "a new instance of the plugin refused the config that the one before it had taken"
            );
        }
    }

    pub(super) fn config(&self) -> MutexGuard<'_, String> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until an instance is quiet. True if it is, and then it is closed.
    pub(super) fn hush(&self, instance: &Instance, timeout: Duration) -> bool {
        let quiet = instance.quiesce(timeout).unwrap_or_else(|| {
            let deadline = Instant::now() + timeout;
            let busy = || self.side.calls.live_of(instance.host().number()) > 0;
            while busy() && Instant::now() < deadline {
                std::thread::sleep(POLL);
            }
            !busy()
        });
        if !quiet {
            return false;
        }
        instance.close();
        for ended in self.side.calls.end_all(instance.host().number()) {
            ended.sink.complete(unended());
        }
        true
    }
}

impl Running for Hosted {
    fn state(&self) -> PluginState {
        self.restart
            .failure()
            .map_or(PluginState::Active, PluginState::Failed)
    }

    fn panics(&self) -> u64 {
        self.restart.panics()
    }

    fn faults(&self) -> FaultCounts {
        self.side.faults.counts()
    }
}

impl PluginInstance for Hosted {
    fn start_may_block(&self) -> bool {
        self.descriptor.start_may_block()
    }

    fn start(&self, call: Call<'_>, sink: Arc<dyn CallSink>) -> Started {
        let schema = usize::try_from(call.handler)
            .ok()
            .and_then(|index| self.schemas.get(index));
        if let Some(Some(schema)) = schema
            && let Err(error) = schema.check(call.payload)
        {
            return Started::Refused(error);
        }
        let current = self.current.load();
        match &*current {
            Some(instance) if !instance.host().is_poisoned() => self.begin(instance, call, sink),
            _ => {
                drop(current);
                self.park(call, sink)
            }
        }
    }

    fn cancel(&self, call: CallId, reason: CancelReason) {
        match self.side.calls.owner(call) {
            Some(Some(instance)) => instance.cancel(call, reason),
            Some(None) => {
                if let Some(ended) = self.side.calls.withdraw(call) {
                    ended.sink.complete(Completion::Cancelled(None));
                }
            }
            None => {}
        }
    }

    fn abandon(&self, call: CallId) {
        self.side.calls.abandon(call);
    }

    fn reconfigure(&self, config: &Value) -> Result<(), HandlerError> {
        if !config.is_object() {
            return Err(HandlerError::new(
                "invalid-config",
                "a plugin's config is a JSON object",
            ));
        }
        let config = config.to_string();
        // Held through the call, which the ABI does not want twice at once.
        let mut kept = self.config();
        if let Some(instance) = self.current.load_full() {
            instance.reconfigure(&config)?;
        }
        *kept = config;
        Ok(())
    }

    fn quiesce(&self, timeout: Duration) -> bool {
        for parked in self.restart.close() {
            if let Some(ended) = self.side.calls.withdraw(parked.id) {
                ended.sink.complete(Completion::Cancelled(None));
            }
        }
        let quiet = match self.current.load_full() {
            Some(instance) => self.hush(&instance, timeout),
            None => true,
        };
        if quiet {
            self.current.store(None);
        }
        self.restart.join();
        quiet
    }
}

pub(super) fn overloaded() -> HandlerError {
    HandlerError::new(
        OVERLOADED,
        "the plugin has more calls open than the host can name",
    )
    .retryable()
}

impl fmt::Debug for Hosted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosted")
            .field("id", &self.side.id)
            .finish_non_exhaustive()
    }
}
