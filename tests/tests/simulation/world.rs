//! Both ends, and everything between and under them.

use std::{cell::RefCell, sync::Arc, time::Duration};

use aegis_controller::{
    Settings, simulation as controller,
    store::{NewAudit, Nodes, SharedStore, SqliteStore},
};
use aegis_core::{
    dispatch::DispatchLimits,
    identity::Identity,
    journal::{Journal, JournalLimits},
    session::Inventory,
    simulation as worker,
};
use aegis_proto::NodeId;
use ed25519_dalek::VerifyingKey;
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::mpsc};
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
    identity: Arc<Identity>,
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
    pub worker: Option<Worker>,
    pub medium: Medium,
    /// The journal was lost since the last life of the worker.
    pub lost: bool,
    pub links: Vec<Link>,
    /// Requests that were made.
    pub submitted: Vec<Submitted>,
    boots: u64,
    held_limit: usize,
}

/// One life of the worker.
pub struct Worker {
    pub life: worker::Life,
    pub plugin: Arc<Plugin>,
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
        let node = NodeId::from_uuid(Uuid::from_u128(0x51));
        let identity = Identity::open(&directory.path().join("state"), Some(node));
        let empty = Medium::default();
        drop(Journal::open_on(empty.clone(), JournalLimits::default(), false).expect("a journal"));
        let ground = Self {
            runtime,
            quiet,
            store: match on {
                On::Memory => Kept::Memory(Arc::new(Memory::new(Arc::new(store)))),
                On::Disk => Kept::Disk(Arc::new(store)),
            },
            identity: Arc::new(identity.expect("an identity")),
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
            worker: None,
            medium: ground.empty.copy(),
            lost: false,
            links: Vec::new(),
            submitted: Vec::new(),
            boots: 0,
            held_limit: chance.pick(&[10_000, 10_000, 20]),
            ground,
            seed,
            chance,
        };
        world.clocks.pass(Duration::ZERO);
        world.begin_controller().await;
        let key = VerifyingKey::from_bytes(&world.ground.identity.public_key()).expect("a key");
        let admitted = world.controller().admit(world.node(), key).await;
        admitted.expect("the node is admitted");
        world.begin_worker();
        world.settle().await;
        world
    }

    pub fn node(&self) -> NodeId {
        self.ground.identity.node_id()
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
        if let Some(worker) = &self.worker {
            worker.life.dispatcher().look_at_clocks();
        }
        if let Some(controller) = &self.controller {
            controller.wake(self.node());
        }
    }

    pub async fn begin_controller(&mut self) {
        let settings = Settings {
            token_ttl: Duration::from_secs(30 * 24 * 3600),
            ..Settings::default()
        };
        let life = controller::Life::begin(self.ground.store.shared(), settings).await;
        self.controller = Some(life.expect("a controller"));
    }

    /// The controller's process ends.
    pub fn crash_controller(&mut self) {
        self.controller = None;
        for link in &mut self.links {
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
        self.boots += 1;
        let limits = JournalLimits {
            held: self.held_limit,
            ..JournalLimits::default()
        };
        let lost = std::mem::take(&mut self.lost);
        let opened = Journal::open_on(self.medium.clone(), limits, lost);
        let (journal, recovery) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.truth
                    .facts()
                    .ledger
                    .breach(format!("the journal cannot be opened: {error:?}"));
                self.medium = self.ground.empty.copy();
                Journal::open_on(self.medium.clone(), limits, true).expect("an empty journal")
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
            Arc::clone(&self.ground.identity),
            Uuid::from_u64_pair(self.seed, self.boots),
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
        self.worker = Some(Worker { life, plugin });
    }

    /// The worker's process ends without a word.
    pub fn crash_worker(&mut self) {
        let Some(worker) = self.worker.take() else {
            return;
        };
        worker.plugin.die();
        for link in &mut self.links {
            link.session.abort();
            link.worker_notices();
        }
        self.truth.facts().ledger.crashes += 1;
        let chance = Chance::new(self.chance.next());
        self.medium = self.medium.crash(chance);
        worker.life.journal().close_medium();
    }

    /// The worker's disk is replaced by an empty one. Between two of its lives.
    pub fn lose_journal(&mut self) {
        self.medium = self.ground.empty.copy();
        self.lost = true;
        self.truth.facts().ledger.journal_lost = true;
    }

    pub fn has_session(&self) -> bool {
        self.links.iter().any(|link| !link.session.is_finished())
    }

    pub async fn connect(&mut self) {
        let (Some(controller), Some(worker)) = (&self.controller, &self.worker) else {
            return;
        };
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
        self.links.push(Link::new(ends, said, to_worker, session));
    }

    /// Has the ledger see what the controller says of its commands: of those
    /// that ended since the last look, or of all.
    pub async fn look(&self, all: bool) {
        let store = self.ground.store.shared();
        let open = store.open(self.node()).await.expect("the store works");
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

    /// Leaves nothing for the next schedule.
    pub async fn end(mut self) {
        self.crash_worker();
        self.crash_controller();
        self.links.clear();
        self.settle().await;
        self.ground.store.clear(self.node()).await;
        self.settle().await;
    }
}
