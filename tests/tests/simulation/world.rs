//! Both ends, and everything between and under them.

use std::{cell::RefCell, sync::Arc, time::Duration};

use aegis_controller::{
    Settings, simulation as controller,
    store::{CommandRecord, NewAudit, Nodes, SharedStore, SqliteStore},
};
use aegis_core::{
    dispatch::DispatchLimits,
    identity::Identity,
    journal::{Journal, JournalLimits},
    session::Inventory,
    simulation as worker,
};
use aegis_proto::{NodeId, worker::v1::CommandState};
use ed25519_dalek::VerifyingKey;
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use super::{
    chance::Chance,
    clocks::Clocks,
    link::{Link, OUTBOUND, ROOM},
    medium::Medium,
    memory::Memory,
    plugin::{KINDS, Kind, Plugin, Truth},
    quiet::Quiet,
    steps::Submitted,
};

/// Which store a controller has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Memory,
    Disk,
}

/// The store under all lives of the controller.
pub enum Kept {
    Memory(Arc<Memory>),
    Disk(Arc<SqliteStore>),
}

impl Kept {
    fn shared(&self) -> SharedStore {
        match self {
            Self::Memory(store) => Arc::clone(store) as SharedStore,
            Self::Disk(store) => Arc::clone(store) as SharedStore,
        }
    }
}

impl Kept {
    /// Leaves nothing of a node.
    async fn clear(&self, node: NodeId) {
        match self {
            Self::Memory(store) => store.clear(),
            Self::Disk(store) => {
                let audit = NewAudit {
                    at: 0,
                    operator: String::new(),
                    action: "EvictNode",
                    detail: "{}".into(),
                    result: "ok",
                };
                let evicted = store.evict(node, 0, &audit).await;
                evicted.expect("the store works");
            }
        }
    }
}

/// What outlasts a schedule, for it is costly to make.
pub struct Ground {
    pub runtime: Runtime,
    pub quiet: Arc<Quiet>,
    pub store: Kept,
    identities: [Arc<Identity>; 2],
    /// A journal in which nothing is.
    empty: Medium,
    _directory: TempDir,
}

/// One schedule's.
pub struct World {
    ground: Arc<Ground>,
    pub seed: u64,
    pub chance: Chance,
    pub clocks: Clocks,
    pub truth: Truth,
    pub trace: RefCell<Vec<String>>,
    pub controller: Option<controller::Life>,
    /// The node to which the next step happens.
    pub here: Side,
    pub there: Option<Side>,
    /// Requests that were made.
    pub submitted: Vec<Submitted>,
    held_limit: usize,
    window: usize,
}

/// One node, with its connections.
pub struct Side {
    identity: Arc<Identity>,
    pub worker: Option<Worker>,
    pub medium: Medium,
    /// The journal was lost since the last life of the worker.
    pub lost: bool,
    pub links: Vec<Link>,
    boots: u64,
}

impl Side {
    fn new(identity: &Arc<Identity>, empty: &Medium) -> Self {
        Self {
            identity: Arc::clone(identity),
            worker: None,
            medium: empty.copy(),
            lost: false,
            links: Vec::new(),
            boots: 0,
        }
    }

    pub fn node(&self) -> NodeId {
        self.identity.node_id()
    }
}

/// One life of the worker.
pub struct Worker {
    pub life: worker::Life,
    pub plugin: Arc<Plugin>,
    /// It is on its way out.
    pub leaving: Option<JoinHandle<()>>,
}

impl Ground {
    pub fn new(on: On) -> Arc<Self> {
        let (runtime, quiet) = Quiet::runtime();
        // Where a sync costs nothing.
        let memory = std::path::Path::new("/dev/shm");
        let directory = match memory.is_dir() {
            true => TempDir::new_in(memory),
            false => TempDir::new(),
        };
        let directory = directory.expect("a directory");
        let url = format!("sqlite://{}", directory.path().join("store").display());
        let store = runtime.block_on(SqliteStore::open(&url)).expect("a store");
        quiet.watch(store.clone());
        let identity = |number: u128| {
            let node = NodeId::from_uuid(Uuid::from_u128(number));
            let state = directory.path().join(format!("state-{number}"));
            Arc::new(Identity::open(&state, Some(node)).expect("an identity"))
        };
        let identities = [identity(0x51), identity(0x52)];
        let empty = Medium::default();
        drop(Journal::open_on(empty.clone(), JournalLimits::default(), false).expect("a journal"));
        let ground = Self {
            runtime,
            quiet,
            store: match on {
                On::Memory => Kept::Memory(Arc::new(Memory::new(Arc::new(store)))),
                On::Disk => Kept::Disk(Arc::new(store)),
            },
            identities,
            empty: empty.copy(),
            _directory: directory,
        };
        Arc::new(ground)
    }
}

impl World {
    pub async fn new(ground: Arc<Ground>, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut world = Self {
            truth: Truth::new(Chance::new(chance.next())),
            clocks: Clocks::new(seed),
            trace: RefCell::default(),
            controller: None,
            here: Side::new(&ground.identities[0], &ground.empty),
            there: chance
                .percent(30)
                .then(|| Side::new(&ground.identities[1], &ground.empty)),
            submitted: Vec::new(),
            held_limit: chance.pick(&[10_000, 10_000, 20]),
            window: chance.pick(&[100, 4, 2]),
            ground,
            seed,
            chance,
        };
        world.clocks.pass(Duration::ZERO);
        world.begin_controller().await;
        for _ in world.nodes() {
            let key = VerifyingKey::from_bytes(&world.here.identity.public_key());
            let admitted = world
                .controller()
                .admit(world.node(), key.expect("a key"))
                .await;
            admitted.expect("the node is admitted");
            world.begin_worker();
            world.turn();
        }
        world.settle().await;
        world
    }

    /// The node to which the next step happens.
    pub fn node(&self) -> NodeId {
        self.here.node()
    }

    /// All of them, that one first.
    pub fn nodes(&self) -> Vec<NodeId> {
        let all = [Some(&self.here), self.there.as_ref()];
        all.into_iter().flatten().map(Side::node).collect()
    }

    /// What happens next happens to the other node, if there is one.
    pub fn turn(&mut self) {
        if let Some(there) = &mut self.there {
            std::mem::swap(&mut self.here, there);
        }
    }

    pub fn sides(&mut self) -> impl Iterator<Item = &mut Side> {
        [Some(&mut self.here), self.there.as_mut()]
            .into_iter()
            .flatten()
    }

    pub fn say(&self, what: impl Into<String>) {
        self.trace.borrow_mut().push(what.into());
    }

    pub fn controller(&self) -> &controller::Life {
        self.controller
            .as_ref()
            .expect("it is asked for where there is one")
    }

    /// Waits until only another step can make anything happen.
    pub async fn settle(&self) {
        self.ground.quiet.settle_all().await;
    }

    /// The same after what cancels nothing.
    pub async fn settle_soon(&self) {
        self.ground.quiet.settle().await;
    }

    /// Time passes.
    pub fn pass(&mut self, time: Duration) {
        self.clocks.pass(time);
        {
            let mut facts = self.truth.facts();
            facts.worker_now = self.clocks.worker_wall();
            facts.worker_latest = self.clocks.worker_latest;
        }
        for side in self.sides() {
            if let Some(worker) = &side.worker {
                worker.life.dispatcher().look_at_clocks();
            }
        }
        if let Some(controller) = &self.controller {
            for node in self.nodes() {
                controller.wake(node);
            }
        }
    }

    pub async fn begin_controller(&mut self) {
        let settings = Settings {
            token_ttl: Duration::from_secs(30 * 24 * 3600),
            window: self.window,
            ..Settings::default()
        };
        let life = controller::Life::begin(self.ground.store.shared(), settings).await;
        self.controller = Some(life.expect("a controller"));
    }

    /// The controller's process ends.
    pub fn crash_controller(&mut self) {
        self.controller = None;
        for link in self.sides().flat_map(|side| &mut side.links) {
            link.controller_notices();
        }
    }

    /// The real store can't be cut off in the middle.
    pub fn can_cut_power(&self) -> bool {
        matches!(self.ground.store, Kept::Memory(_))
    }

    /// The controller's machine loses power, between two of its lives.
    pub fn cut_power(&mut self) -> usize {
        match &self.ground.store {
            Kept::Memory(store) => store.cut_power(&mut self.chance),
            Kept::Disk(_) => 0,
        }
    }

    pub fn begin_worker(&mut self) {
        self.here.boots += 1;
        let limits = JournalLimits {
            held: self.held_limit,
            ..JournalLimits::default()
        };
        let lost = std::mem::take(&mut self.here.lost);
        let opened = Journal::open_on(self.here.medium.clone(), limits, lost);
        let (journal, recovery) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.truth
                    .facts()
                    .ledger
                    .breach(format!("the journal cannot be opened: {error:?}"));
                self.here.medium = self.ground.empty.copy();
                Journal::open_on(self.here.medium.clone(), limits, true).expect("an empty journal")
            }
        };
        for recovered in &recovery.commands {
            let attempt = recovered.attempt.as_ref().map(|attempt| attempt.number);
            self.say(format!(
                "  recovered {} attempt {attempt:?}",
                recovered.command.id
            ));
        }
        let mut plugin = None;
        let (truth, kept) = (self.truth.clone(), journal.clone());
        let life = worker::Life::begin(
            Arc::clone(&self.here.identity),
            Uuid::from_u64_pair(self.seed, self.here.boots),
            journal,
            recovery.commands,
            Inventory {
                plugins: Vec::new(),
                handlers: KINDS.map(Kind::info).into(),
            },
            |state| {
                let made = Plugin::new(truth, state, kept);
                let catalog = made.catalog();
                plugin = Some(made);
                catalog
            },
            DispatchLimits {
                queue: 3,
                scheduled: 3,
                ..DispatchLimits::default()
            },
        );
        let plugin = plugin.expect("made with the handlers");
        self.here.worker = Some(Worker {
            life,
            plugin,
            leaving: None,
        });
    }

    /// The worker's process ends without a word.
    pub fn crash_worker(&mut self) {
        let Some(worker) = self.here.worker.take() else {
            return;
        };
        worker.plugin.die();
        for link in &mut self.here.links {
            link.session.abort();
            link.worker_notices();
        }
        self.truth.facts().ledger.crashes += 1;
        let chance = Chance::new(self.chance.next());
        self.here.medium = self.here.medium.crash(chance);
        worker.life.journal().close_medium();
    }

    /// Begins an orderly end of the worker, as its lifecycle does.
    pub fn stop_worker(&mut self) {
        let grace = match self.chance.percent(50) {
            true => Duration::ZERO,
            // Longer than any schedule takes.
            false => Duration::from_secs(24 * 3600),
        };
        if let Some(worker) = &mut self.here.worker {
            let dispatcher = worker.life.dispatcher().clone();
            let leaving = async move { dispatcher.shut_down(grace).await };
            worker.leaving = Some(tokio::spawn(leaving));
        }
    }

    /// Whether the worker is on its way out and has nothing left to do.
    pub fn may_leave(&self) -> bool {
        self.here.worker.as_ref().is_some_and(|worker| {
            let ended = worker.leaving.as_ref().is_some_and(JoinHandle::is_finished);
            ended && worker.life.journal().outbox_len() == 0
        })
    }

    /// It says goodbye, if anybody is there to hear it, and its process ends.
    pub async fn leave(&mut self) {
        let Some(worker) = self.here.worker.take() else {
            return;
        };
        let open = worker.life.journal().held();
        if !open.is_empty() {
            let what = format!("the worker left and these have no outcome: {open:?}");
            self.truth.facts().ledger.breach(what);
        }
        if let Some(controller) = &self.controller {
            let gone = controller.deregister(self.node()).await;
            gone.expect("the store works");
        }
        for link in &mut self.here.links {
            link.session.abort();
            link.worker_notices();
        }
        while worker.life.journal().write_staged() {}
        self.here.medium = self.here.medium.copy();
        worker.life.journal().close_medium();
    }

    /// The worker's disk is replaced by an empty one. Between two of its lives.
    pub fn lose_journal(&mut self) {
        self.here.medium = self.ground.empty.copy();
        self.here.lost = true;
        self.truth.facts().ledger.journal_lost = true;
    }

    pub fn has_session(&self) -> bool {
        self.here
            .links
            .iter()
            .any(|link| !link.session.is_finished())
    }

    pub async fn connect(&mut self) {
        let (Some(controller), Some(worker)) = (&self.controller, &self.here.worker) else {
            return;
        };
        let registered = controller.register(self.node()).await;
        registered.expect("the store works");
        let Ok(token) = controller.token(self.node()) else {
            return;
        };
        let Ok(ends) = controller.connect(ROOM) else {
            return;
        };
        let (outbound, said) = mpsc::channel(OUTBOUND);
        let (to_worker, inbound) = mpsc::channel(ROOM);
        let session = worker
            .life
            .connect(token, outbound, ReceiverStream::new(inbound));
        self.here
            .links
            .push(Link::new(ends, said, to_worker, session));
    }

    /// Has the ledger see what the controller says of its commands: of those
    /// that ended since the last look, or of all.
    pub async fn look(&self, all: bool) {
        let store = self.ground.store.shared();
        let mut open = Vec::new();
        for node in self.nodes() {
            let all = store.open(node).await.expect("the store works");
            self.look_at_window(&all);
            open.extend(all);
        }
        let ids: Vec<_> = {
            let facts = self.truth.facts();
            let commands = facts.ledger.commands.iter();
            let is_open = |id| open.iter().any(|command| command.id == id);
            let wanted = commands.filter(|(id, entry)| match entry.end {
                Some(_) => all || is_open(**id),
                None => !is_open(**id),
            });
            wanted.map(|(id, _)| *id).collect()
        };
        for id in ids {
            let found = store.command(id).await.expect("the store works");
            let mut facts = self.truth.facts();
            match found {
                Some(found) => facts.ledger.look(found),
                None => facts.ledger.breach(format!("{id} is gone")),
            }
        }
    }

    /// No node has more of a name than it can queue.
    fn look_at_window(&self, open: &[CommandRecord]) {
        for kind in KINDS
            .map(Kind::name)
            .into_iter()
            .filter(|name| *name != "drain")
        {
            let in_hand = open
                .iter()
                .filter(|command| command.name == kind && command.state != CommandState::Queued);
            let in_hand = in_hand.count();
            if in_hand > self.window {
                let what = format!("{in_hand} of {kind} are in hand");
                self.truth.facts().ledger.breach(what);
            }
        }
    }

    /// Leaves nothing for the next schedule.
    pub async fn end(mut self) {
        for node in self.nodes() {
            self.crash_worker();
            self.crash_controller();
            self.here.links.clear();
            self.settle().await;
            self.ground.store.clear(node).await;
            self.turn();
        }
        self.settle().await;
    }
}
