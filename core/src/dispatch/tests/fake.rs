//! A plugin that does what each payload says, and a node around it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::AtomicU64,
    thread::{self, ThreadId},
};

use aegis_plugin_api::Effect;
use tokio::sync::watch;
use uuid::Uuid;

use super::*;
use crate::unpoisoned::lock;
use crate::{
    command::Outcome,
    config::model::{HandlerConfig, HandlersConfig},
    journal::{Attempt, JournalReader, JournalUpdate, Recovered},
    plugin::{Call, CallId, CallSink, Completion, Handler, HandlerInfo, PluginInstance, Started},
};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct FakePlugin {
    may_block: bool,
    next_call: AtomicU64,
    seen: watch::Sender<Seen>,
    node: Arc<NodeState>,
    /// Runs once, between the permission and the beginning of the next command.
    pub(super) meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// Wakes starts that block.
    unblock: (Mutex<bool>, std::sync::Condvar),
}

/// What the plugin has seen.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) running: BTreeMap<u64, Running>,
    /// Every command that was started, with the thread that its start ran on.
    pub(super) started: Vec<(CommandId, ThreadId)>,
    /// Which attempt each was, and the time that it was given.
    pub(super) attempts: Vec<(CommandId, u32, Option<Duration>)>,
    pub(super) cancels: Vec<(CommandId, CancelReason)>,
    pub(super) most_at_once: HashMap<u32, u32>,
    pub(super) started_while_draining: Vec<u32>,
    pub(super) abandoned: u32,
}

pub(super) struct Running {
    pub(super) command: CommandId,
    pub(super) handler: u32,
    act: String,
    pub(super) sink: Arc<dyn CallSink>,
}

impl FakePlugin {
    /// Waits until what it has seen is as wanted.
    pub(super) async fn until(&self, wanted: impl FnMut(&Seen) -> bool) {
        let mut seen = self.seen.subscribe();
        tokio::time::timeout(PATIENCE, seen.wait_for(wanted))
            .await
            .expect("in time")
            .expect("the plugin lives");
    }

    pub(super) async fn until_running(&self, count: usize) {
        self.until(|seen| seen.running.len() == count).await;
    }

    pub(super) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.borrow())
    }

    /// Lets a running command return.
    pub(super) fn release(&self, command: CommandId, completion: Completion) -> bool {
        let mut released = None;
        self.seen.send_modify(|seen| {
            let call = seen
                .running
                .iter()
                .find(|(_, running)| running.command == command);
            if let Some(call) = call.map(|(call, _)| *call) {
                released = seen.running.remove(&call);
            }
        });
        released
            .map(|running| running.sink.complete(completion))
            .is_some()
    }

    pub(super) fn unblock(&self) {
        *lock(&self.unblock.0) = true;
        self.unblock.1.notify_all();
    }
}

/// How the process of the plugin ended.
pub(super) fn lost() -> Completion {
    Completion::Lost(HandlerError::new(
        "plugin-crashed",
        "its process was killed by signal 9",
    ))
}

pub(super) fn ok() -> Completion {
    Completion::Succeeded(Bytes::from_static(b"\"ok\""))
}

impl PluginInstance for FakePlugin {
    fn start_may_block(&self) -> bool {
        if let Some(meanwhile) = lock(&self.meanwhile).take() {
            meanwhile();
        }
        self.may_block
    }

    fn start(&self, call: Call<'_>, sink: Arc<dyn CallSink>) -> Started {
        let act: String = serde_json::from_slice(call.payload).unwrap_or_default();
        let draining = self.node.drain_status().draining;
        let id = self.next_call.fetch_add(1, Ordering::Relaxed) + 1;
        let (command, handler) = (call.command_id, call.handler);
        self.seen.send_modify(|seen| {
            seen.started.push((command, thread::current().id()));
            seen.attempts.push((command, call.attempt, call.timeout));
            if draining {
                seen.started_while_draining.push(handler);
            }
            let running = Running {
                command,
                handler,
                act: act.clone(),
                sink: Arc::clone(&sink),
            };
            seen.running.insert(id, running);
            let now = seen
                .running
                .values()
                .filter(|running| running.handler == handler)
                .count();
            let most = seen.most_at_once.entry(handler).or_default();
            *most = (*most).max(u32::try_from(now).expect("few"));
        });
        let over = || {
            self.seen.send_modify(|seen| {
                seen.running.remove(&id);
            });
        };
        match act.as_str() {
            "hang" | "polite" | "late" | "stubborn" => return Started::Pending(CallId(id)),
            // Only its first attempt is.
            "lost-first" if call.attempt == 1 => {
                over();
                sink.complete(lost());
                sink.complete(lost());
                return Started::Pending(CallId(id));
            }
            "lost-at-once" if call.attempt == 1 => {
                over();
                return Started::Done(lost());
            }
            "always-lost" => {
                over();
                return Started::Done(lost());
            }
            "lost-unblocked" if call.attempt == 1 => {
                sink.complete(lost());
                let blocked = lock(&self.unblock.0);
                let wait = self.unblock.1.wait_while(blocked, |released| !*released);
                drop(wait.expect("nobody panics here"));
                over();
                return Started::Pending(CallId(id));
            }
            "complete-first" => {
                over();
                sink.complete(ok());
                return Started::Pending(CallId(id));
            }
            "block" => {
                let blocked = lock(&self.unblock.0);
                let wait = self.unblock.1.wait_while(blocked, |released| !*released);
                drop(wait.expect("nobody panics here"));
            }
            _ => {}
        }
        over();
        match act.as_str() {
            "fail" => Started::Done(Completion::Failed(HandlerError::new(
                "disk-full",
                "no room",
            ))),
            "panic" => Started::Done(Completion::Panicked(HandlerError::new(
                "x",
                "at src/lib.rs:7",
            ))),
            "misfit" => Started::Done(Completion::Failed(HandlerError::new(
                HandlerError::INVALID_PAYLOAD,
                "no `name`",
            ))),
            "refuse" => Started::Refused(HandlerError::new("invalid-payload", "no `name`")),
            "give-up" => Started::Done(Completion::Cancelled(None)),
            "talk" => {
                sink.progress(500, "half");
                sink.output(b"line\n");
                Started::Done(ok())
            }
            _ => Started::Done(ok()),
        }
    }

    fn cancel(&self, call: CallId, reason: CancelReason) {
        let mut done = None;
        self.seen.send_modify(|seen| {
            let Some(running) = seen.running.get(&call.0) else {
                return;
            };
            assert!(
                running.sink.cancelled().is_some(),
                "the sink knows before the plugin does"
            );
            seen.cancels.push((running.command, reason));
            let completion = match (running.act.as_str(), reason) {
                ("polite", _) | ("hang", CancelReason::Abandon) => Completion::Cancelled(None),
                ("late", _) => ok(),
                _ => return,
            };
            done = seen
                .running
                .remove(&call.0)
                .map(|running| (running, completion));
        });
        if let Some((running, completion)) = done {
            running.sink.complete(completion);
        }
    }

    fn abandon(&self, call: CallId) {
        self.seen.send_modify(|seen| {
            seen.abandoned += u32::from(seen.running.remove(&call.0).is_some());
        });
    }

    fn reconfigure(&self, _: &serde_json::Value) -> Result<(), HandlerError> {
        Ok(())
    }

    fn quiesce(&self, _: Duration) -> bool {
        true
    }
}

/// `one` and `two` have as many slots as they say and run asynchronously,
/// `inline` has one and runs inline, `blocking` has two and may block, `keep`
/// has one and runs while draining; `off` is disabled.
pub(super) struct FakeHandlers(HashMap<&'static str, Handler>);

pub(super) const KEEP: u32 = 3;

impl Handlers for FakeHandlers {
    fn lookup(&self, name: &str, see: &mut dyn FnMut(Lookup<'_>)) {
        see(match (self.0.get(name), name) {
            (Some(handler), _) => Lookup::Found(handler),
            (None, "off") => Lookup::Disabled {
                reason: "handlers.off.enabled is false",
            },
            (None, "onn") => Lookup::Unknown {
                nearest: Some("one"),
            },
            (None, _) => Lookup::Unknown { nearest: None },
        });
    }
}

pub(super) struct Node {
    pub(super) dispatcher: Dispatcher,
    pub(super) journal: Journal,
    pub(super) node: Arc<NodeState>,
    pub(super) plugin: Arc<FakePlugin>,
    /// Its starts may block.
    pub(super) blocking: Arc<FakePlugin>,
    reader: JournalReader,
    pub(super) told: Vec<Arc<Outcome>>,
    last_id: u128,
}

pub(super) fn limits() -> DispatchLimits {
    DispatchLimits {
        queue: 4,
        scheduled: 4,
        blocking_starts: 1,
        cancel_grace: Duration::from_secs(3600),
        abandon_grace: Duration::from_secs(3600),
        inline_budget: PATIENCE,
        ..DispatchLimits::default()
    }
}

fn effect(name: &str) -> Effect {
    match name {
        "resumable" | "again" => Effect::Resumable,
        "read" => Effect::Read,
        "idempotent" => Effect::Idempotent,
        _ => Effect::AtMostOnce,
    }
}

/// Graces that are over at once.
pub(super) fn impatient() -> DispatchLimits {
    let grace = Duration::from_millis(1);
    DispatchLimits {
        cancel_grace: grace,
        abandon_grace: grace,
        ..limits()
    }
}

impl Node {
    pub(super) fn new(limits: DispatchLimits) -> Self {
        let node = NodeState::new();
        let plugin = |may_block| {
            Arc::new(FakePlugin {
                may_block,
                next_call: AtomicU64::new(0),
                seen: watch::Sender::new(Seen::default()),
                node: Arc::clone(&node),
                meanwhile: Mutex::default(),
                unblock: Default::default(),
            })
        };
        let (plugin, blocking) = (plugin(false), plugin(true));
        let declared = [
            ("one", 1, &plugin),
            ("two", 2, &plugin),
            ("inline", 1, &plugin),
            ("keep", 1, &plugin),
            ("blocking", 2, &blocking),
            ("resumable", 1, &plugin),
            ("read", 1, &plugin),
            ("idempotent", 2, &plugin),
            ("again", 1, &blocking),
        ];
        let handlers = (0..)
            .zip(declared)
            .map(|(index, (name, concurrency, plugin))| {
                let info = HandlerInfo {
                    name: name.to_owned(),
                    plugin: "fake".to_owned(),
                    summary: String::new(),
                    effect: effect(name),
                    timeout: Duration::from_secs(3600),
                    concurrency,
                    inline: name == "inline",
                    runs_while_draining: index == KEEP,
                    request_schema: None,
                    response_schema: None,
                    disabled: None,
                };
                let instance = Arc::clone(plugin) as Arc<dyn PluginInstance>;
                (
                    name,
                    Handler {
                        info,
                        index,
                        instance,
                    },
                )
            });
        let handlers = Arc::new(FakeHandlers(handlers.collect()));
        let issuers = HandlerConfig {
            issuers: Some(vec!["alice".to_owned()]),
            ..HandlerConfig::default()
        };
        let local = HandlersConfig {
            default_enabled: true,
            by_name: BTreeMap::from([("two".to_owned(), issuers)]),
        };
        let journal = Journal::new(1024);
        let dispatcher = Dispatcher::new(
            journal.clone(),
            Arc::clone(&node),
            handlers,
            Policy::local(local),
            limits,
        );
        let reader = journal.reader();
        Self {
            dispatcher,
            journal,
            node,
            plugin,
            blocking,
            reader,
            told: Vec::new(),
            last_id: 0,
        }
    }

    pub(super) fn command(&mut self, name: &str, act: &str) -> Command {
        self.last_id += 1;
        Command {
            id: CommandId::from_uuid(Uuid::from_u128(self.last_id)),
            name: name.to_owned(),
            payload: serde_json::to_vec(act).expect("text").into(),
            not_before: None,
            start_by: None,
            timeout: None,
            issuer: "alice".to_owned(),
            traceparent: String::new(),
            delivery: 0,
        }
    }

    /// Has the dispatcher take up what an earlier life of the worker left:
    /// commands with the number of attempts at each.
    pub(super) fn resume(&mut self, commands: Vec<(Command, u32)>) {
        let recovered = commands.into_iter().map(|(command, attempts)| {
            let command = Arc::new(command);
            let taken = self.journal.accept(&command, false);
            assert_eq!(taken, Acceptance::New);
            let attempt = (attempts > 0).then(|| Attempt {
                number: attempts,
                at: SystemTime::now(),
                effect: effect(&command.name),
                plugin: "fake".into(),
                own_process: false,
            });
            Recovered { command, attempt }
        });
        let recovered = recovered.collect();
        self.dispatcher.resume(recovered);
    }

    pub(super) fn submit(&mut self, name: &str, act: &str) -> CommandId {
        self.submit_with(name, act, |_| {})
    }

    pub(super) fn submit_with(
        &mut self,
        name: &str,
        act: &str,
        with: impl FnOnce(&mut Command),
    ) -> CommandId {
        let mut command = self.command(name, act);
        with(&mut command);
        let id = command.id;
        self.dispatcher.submit(command);
        id
    }

    /// Waits for the command's outcome.
    pub(super) async fn outcome(&mut self, id: CommandId) -> Arc<Outcome> {
        loop {
            if let Some(outcome) = self.told.iter().find(|outcome| outcome.id == id) {
                return Arc::clone(outcome);
            }
            let update = tokio::time::timeout(PATIENCE, self.reader.next());
            if let JournalUpdate::Finished(outcome) = update.await.expect("in time") {
                self.told.push(outcome);
            }
        }
    }

    pub(super) async fn state_and_code(&mut self, id: CommandId) -> (FinalState, String) {
        let outcome = self.outcome(id).await;
        let code = outcome.error.as_ref().map(|error| error.code.to_string());
        (outcome.state, code.unwrap_or_default())
    }

    /// Every outcome that the journal tells and that was not told yet.
    pub(super) fn drain_reader(&mut self) {
        while let Some(update) = self.reader.ready() {
            if let JournalUpdate::Finished(outcome) = update {
                self.told.push(outcome);
            }
        }
    }

    pub(super) fn started(&self, id: CommandId) -> bool {
        [&self.plugin, &self.blocking]
            .iter()
            .any(|plugin| plugin.seen(|seen| seen.started.iter().any(|(other, _)| *other == id)))
    }
}
