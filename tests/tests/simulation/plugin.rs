//! The handlers. What they do and when they return is the schedule's to say;
//! that they took effect is remembered whatever crashes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use aegis_core::{
    command::{CancelReason, CommandId, HandlerError},
    control::{DrainRequest, NodeControl},
    drain::NodeState,
    journal::Journal,
    plugin::{
        Call, CallId, CallSink, Completion, Handler, HandlerInfo, Handlers, Lookup, PluginInstance,
        Started,
    },
};
use aegis_plugin_api::Effect;

use super::{chance::Chance, ledger::Ledger};

/// A handler by what it declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Read,
    Idempotent,
    Once,
    Resumable,
    Inline,
    /// It runs while the node drains.
    Keep,
    Drain,
    Disabled,
}

pub const KINDS: [Kind; 8] = [
    Kind::Read,
    Kind::Idempotent,
    Kind::Once,
    Kind::Resumable,
    Kind::Inline,
    Kind::Keep,
    Kind::Drain,
    Kind::Disabled,
];

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Idempotent => "idempotent",
            Self::Once => "once",
            Self::Resumable => "resumable",
            Self::Inline => "inline",
            Self::Keep => "keep",
            Self::Drain => "drain",
            Self::Disabled => "disabled",
        }
    }

    pub fn effect(self) -> Effect {
        match self {
            Self::Read => Effect::Read,
            Self::Idempotent | Self::Inline | Self::Keep | Self::Drain => Effect::Idempotent,
            Self::Once | Self::Disabled => Effect::AtMostOnce,
            Self::Resumable => Effect::Resumable,
        }
    }

    pub fn runs_while_draining(self) -> bool {
        matches!(self, Self::Keep | Self::Drain)
    }

    pub fn concurrency(self) -> u32 {
        match self {
            Self::Read | Self::Idempotent => 2,
            _ => 1,
        }
    }

    pub fn info(self) -> HandlerInfo {
        HandlerInfo {
            name: self.name().to_owned(),
            plugin: "simulated".to_owned(),
            summary: String::new(),
            effect: self.effect(),
            timeout: Duration::from_secs(60),
            concurrency: self.concurrency(),
            inline: self == Self::Inline,
            runs_while_draining: self.runs_while_draining(),
            request_schema: None,
            response_schema: None,
            disabled: (self == Self::Disabled).then(|| "it is off".to_owned()),
        }
    }
}

/// What all lives of the worker share.
#[derive(Clone)]
pub struct Truth(Arc<Mutex<Facts>>);

pub struct Facts {
    pub ledger: Ledger,
    pub chance: Chance,
    pub worker_now: SystemTime,
    pub worker_latest: SystemTime,
    /// Whether a handler may go on after its start.
    pub may_linger: bool,
}

impl Truth {
    pub fn new(chance: Chance) -> Self {
        Self(Arc::new(Mutex::new(Facts {
            ledger: Ledger::default(),
            chance,
            worker_now: SystemTime::UNIX_EPOCH,
            worker_latest: SystemTime::UNIX_EPOCH,
            may_linger: true,
        })))
    }

    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().expect("nobody panics here")
    }
}

/// The plugin in one life of the worker.
pub struct Plugin {
    truth: Truth,
    state: Arc<NodeState>,
    journal: Journal,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    last: u64,
    running: BTreeMap<u64, Running>,
}

#[derive(Clone)]
pub struct Running {
    pub id: CommandId,
    pub kind: Kind,
    pub sink: Arc<dyn CallSink>,
    pub took_effect: bool,
    pub cancelled: Option<CancelReason>,
}

/// The handlers by name.
pub struct Catalog(BTreeMap<&'static str, Handler>);

impl Plugin {
    pub fn new(truth: Truth, state: Arc<NodeState>, journal: Journal) -> Arc<Self> {
        Arc::new(Self {
            truth,
            state,
            journal,
            calls: Mutex::default(),
        })
    }

    pub fn catalog(self: &Arc<Self>) -> Catalog {
        let handler = |kind: Kind| Handler {
            info: kind.info(),
            index: KINDS.iter().position(|one| *one == kind).expect("listed") as u32,
            instance: Arc::clone(self) as Arc<dyn PluginInstance>,
        };
        Catalog(KINDS.map(|kind| (kind.name(), handler(kind))).into())
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().expect("nobody panics here")
    }

    /// Those that run, oldest first.
    pub fn running(&self) -> Vec<(u64, Running)> {
        let calls = self.calls();
        calls
            .running
            .iter()
            .map(|(call, one)| (*call, one.clone()))
            .collect()
    }

    /// The worker's process is gone, and they with it.
    pub fn die(&self) {
        self.calls().running.clear();
    }

    pub fn take_effect(&self, call: u64) {
        let id = match self.calls().running.get_mut(&call) {
            Some(running) if !running.took_effect => {
                running.took_effect = true;
                running.id
            }
            _ => return,
        };
        self.truth.facts().ledger.takes_effect(id);
    }

    /// The handler returns.
    pub fn complete(&self, call: u64, completion: Completion) {
        if matches!(completion, Completion::Succeeded(_)) {
            self.take_effect(call);
        }
        let running = self.calls().running.remove(&call);
        if let Some(running) = running {
            running.sink.complete(completion);
        }
    }

    /// The handler keeps how far it came.
    pub fn checkpoint(&self, id: CommandId) {
        let next = {
            let facts = self.truth.facts();
            let entry = facts.ledger.commands.get(&id);
            entry.map_or(0, |entry| entry.checkpoint) + 1
        };
        if self.journal.checkpoint(id, vec![next].into()).is_ok()
            && let Some(entry) = self.truth.facts().ledger.commands.get_mut(&id)
        {
            entry.checkpoint = next;
        }
    }

    fn drain(&self, id: CommandId) -> Started {
        // Some of them undo it, and some have a deadline.
        let bits = id.as_uuid().as_bytes()[7] >> 1;
        let request = DrainRequest {
            drain: bits & 1 == 0,
            deadline_ms: (bits & 2 == 0).then_some(20_000),
            reason: String::new(),
        };
        match self.state.drain(request) {
            Ok(_) => {
                self.truth.facts().ledger.takes_effect(id);
                Started::Done(succeeded())
            }
            Err(error) => Started::Done(Completion::Failed(error)),
        }
    }
}

pub fn succeeded() -> Completion {
    Completion::Succeeded("{}".into())
}

pub fn failed() -> Completion {
    Completion::Failed(HandlerError::new("broke", "it broke"))
}

impl PluginInstance for Plugin {
    fn start_may_block(&self) -> bool {
        false
    }

    fn start(&self, call: Call<'_>, sink: Arc<dyn CallSink>) -> Started {
        let kind = KINDS[call.handler as usize];
        let id = call.command_id;
        let (act, takes_effect) = {
            let mut facts = self.truth.facts();
            let (now, latest) = (facts.worker_now, facts.worker_latest);
            facts.ledger.starts(id, call.attempt, now, latest);
            let kept = self.journal.checkpoint_of(id).map_or(0, |kept| kept[0]);
            let known = facts.ledger.commands.get(&id);
            if known.is_some_and(|entry| entry.checkpoint > kept) {
                facts
                    .ledger
                    .breach(format!("{id} is not given its checkpoint back"));
            }
            let running = self
                .calls()
                .running
                .values()
                .filter(|one| one.kind == kind)
                .count();
            if running >= kind.concurrency() as usize {
                facts
                    .ledger
                    .breach(format!("{running} {kind:?} run when {id} begins"));
            }
            if self.state.drain_status().finished_at.is_some() && !kind.runs_while_draining() {
                facts
                    .ledger
                    .breach(format!("{id} begins on a drained node"));
            }
            let lingers = facts.may_linger && kind != Kind::Inline;
            let acts = [
                (0, 25),
                (1, 5),
                (2, 4),
                (3, 4),
                (4, if lingers { 62 } else { 0 }),
            ];
            let act = facts.chance.weighed(&acts).expect("some weigh something");
            let takes_effect = act == 0 || (act < 3 && facts.chance.percent(50));
            if takes_effect && kind != Kind::Drain {
                facts.ledger.takes_effect(id);
            }
            (act, takes_effect)
        };
        if kind == Kind::Drain {
            return self.drain(id);
        }
        match act {
            0 => Started::Done(succeeded()),
            1 => Started::Done(failed()),
            2 => Started::Done(Completion::Panicked(HandlerError::new("panicked", "oh"))),
            3 => Started::Refused(HandlerError::new("invalid-payload", "no")),
            _ => {
                let mut calls = self.calls();
                calls.last += 1;
                let call = calls.last;
                let running = Running {
                    id,
                    kind,
                    sink,
                    took_effect: takes_effect,
                    cancelled: None,
                };
                calls.running.insert(call, running);
                Started::Pending(CallId(call))
            }
        }
    }

    fn cancel(&self, call: CallId, reason: CancelReason) {
        let id = match self.calls().running.get_mut(&call.0) {
            Some(running) => {
                running.cancelled = Some(reason);
                running.id
            }
            None => return,
        };
        if reason == CancelReason::Abandon
            && let Some(entry) = self.truth.facts().ledger.commands.get_mut(&id)
        {
            entry.abandoned = true;
        }
    }

    fn abandon(&self, call: CallId) {
        self.calls().running.remove(&call.0);
    }

    fn reconfigure(&self, _: &serde_json::Value) -> Result<(), HandlerError> {
        Ok(())
    }

    fn quiesce(&self, _: Duration) -> bool {
        true
    }
}

impl Handlers for Catalog {
    fn lookup(&self, name: &str, see: &mut dyn FnMut(Lookup<'_>)) {
        see(match self.0.get(name) {
            Some(handler) => match &handler.info.disabled {
                Some(reason) => Lookup::Disabled { reason },
                None => Lookup::Found(handler),
            },
            None => Lookup::Unknown { nearest: None },
        });
    }
}
