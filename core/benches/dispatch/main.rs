//! What a command costs between its delivery and its outcome, by the kind of
//! its handler, beside a hard-coded `match` over an enum with the same body.
//!
//! Every round is the whole way: parse, policy, journal, slot, handler,
//! outcome, reader, acknowledgement. `instance` is that way around a handler
//! that is a plain function behind the facade: what it costs more than `match`
//! is dispatch itself, what the others cost more than it is the ABI.

mod library;
mod plugin;

use std::{
    collections::BTreeMap,
    hint::black_box,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aegis_core::{
    catalog::{Catalog, CatalogOptions, NodeDescription},
    command::{CancelReason, Command, CommandId, FinalState, HandlerError},
    config::model::{HandlersConfig, PluginsConfig},
    dispatch::{DispatchLimits, Dispatcher},
    drain::NodeState,
    journal::{Journal, JournalReader, JournalUpdate},
    log_tail::LogTail,
    plugin::{
        Call, CallId, CallSink, Completion, Handler, HandlerInfo, Handlers, Lookup, Placement,
        PluginInstance, Started,
    },
    policy::Policy,
    pushed_config::{PushedConfig, PushedConfigOptions},
};
use aegis_plugin_api::Effect;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use uuid::Uuid;

const PAYLOAD: &[u8] = br#"{"name":"ada"}"#;

fn greet(payload: &[u8]) -> Bytes {
    let request = serde_json::from_slice(payload).expect("the payload fits");
    let greeting = plugin::greet(request);
    serde_json::to_vec(&greeting)
        .expect("a string can be written")
        .into()
}

/// What a worker without plugins would have.
enum HardCoded {
    Hello,
    Unknown,
}

fn named(name: &str) -> HardCoded {
    match name {
        "hello" => HardCoded::Hello,
        _ => HardCoded::Unknown,
    }
}

async fn hard_coded(command: HardCoded, payload: &[u8]) -> Option<Bytes> {
    match command {
        HardCoded::Hello => Some(greet(payload)),
        HardCoded::Unknown => None,
    }
}

/// The same body behind the facade, without an ABI.
struct Plain;

impl PluginInstance for Plain {
    fn start_may_block(&self) -> bool {
        false
    }

    fn start(&self, call: Call<'_>, _: Arc<dyn CallSink>) -> Started {
        Started::Done(Completion::Succeeded(greet(call.payload)))
    }

    fn cancel(&self, _: CallId, _: CancelReason) {}

    fn abandon(&self, _: CallId) {}

    fn reconfigure(&self, _: &serde_json::Value) -> Result<(), HandlerError> {
        Ok(())
    }

    fn quiesce(&self, _: Duration) -> bool {
        true
    }
}

struct One(Handler);

impl Handlers for One {
    fn lookup(&self, name: &str, see: &mut dyn FnMut(Lookup<'_>)) {
        see(if name == self.0.info.name {
            Lookup::Found(&self.0)
        } else {
            Lookup::Unknown { nearest: None }
        });
    }
}

/// A dispatcher with everything around it.
struct Worker {
    dispatcher: Dispatcher,
    journal: Journal,
    reader: JournalReader,
}

impl Worker {
    fn new(handlers: Arc<dyn Handlers>) -> Self {
        let journal = Journal::new(1 << 20);
        let dispatcher = Dispatcher::new(
            journal.clone(),
            NodeState::new(),
            handlers,
            Policy::local(HandlersConfig::default()),
            // A busy machine is no reason to measure a thread instead.
            DispatchLimits {
                inline_budget: Duration::MAX,
                ..DispatchLimits::default()
            },
        );
        let reader = journal.reader();
        Self {
            dispatcher,
            journal,
            reader,
        }
    }

    fn submit(&self, name: &str) {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let id = u128::from(IDS.fetch_add(1, Ordering::Relaxed));
        self.dispatcher.submit(Command {
            id: CommandId::from_uuid(Uuid::from_u128(id)),
            name: name.to_owned(),
            payload: Bytes::from_static(PAYLOAD),
            not_before: None,
            start_by: None,
            timeout: None,
            issuer: "bench".to_owned(),
            traceparent: String::new(),
            delivery: 0,
        });
    }

    /// Whether this update was an outcome; it is acknowledged.
    fn settle(&self, update: &JournalUpdate) -> bool {
        let JournalUpdate::Finished(outcome) = update else {
            return false;
        };
        assert_eq!(outcome.state, FinalState::Succeeded, "{:?}", outcome.error);
        self.journal.acknowledge(&[outcome.id]);
        true
    }

    /// One command that ends on this thread.
    fn inline(&mut self, name: &str) {
        self.submit(name);
        let update = self.reader.ready().expect("an inline command is over");
        assert!(self.settle(&update));
    }

    /// One command that ends on another.
    async fn asynchronous(&mut self, name: &str) {
        self.submit(name);
        loop {
            let update = self.reader.next().await;
            if self.settle(&update) {
                return;
            }
        }
    }
}

fn plain() -> Arc<dyn Handlers> {
    let info = HandlerInfo {
        name: "hello".to_owned(),
        plugin: "plain".to_owned(),
        summary: String::new(),
        effect: Effect::Read,
        timeout: Duration::from_secs(60),
        concurrency: 4,
        inline: true,
        runs_while_draining: false,
        request_schema: None,
        response_schema: None,
        disabled: None,
    };
    Arc::new(One(Handler {
        info,
        index: 0,
        instance: Arc::new(Plain),
    }))
}

fn dispatch(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    let _entered = runtime.enter();
    let mut group = criterion.benchmark_group("dispatch");

    group.bench_function("match", |bench| {
        bench.iter(|| {
            let command = named(black_box("hello"));
            hard_coded(command, black_box(PAYLOAD))
                .now_or_never()
                .flatten()
                .expect("it is known")
        });
    });

    let mut worker = Worker::new(plain());
    group.bench_function(BenchmarkId::new("instance", "inline"), |bench| {
        bench.iter(|| worker.inline("hello"));
    });

    let directory = library::directory();
    let state = tempfile::tempdir().expect("a directory");
    let catalog = catalog(directory.path(), state.path());
    let mut worker = Worker::new(Arc::clone(&catalog) as Arc<dyn Handlers>);
    for (placement, plugin) in [("built-in", "dispatch"), ("in-process", "dispatch_plugin")] {
        let inline = format!("{plugin}.inline");
        group.bench_function(BenchmarkId::new(placement, "inline"), |bench| {
            bench.iter(|| worker.inline(&inline));
        });
        let asynchronous = format!("{plugin}.async");
        group.bench_function(BenchmarkId::new(placement, "async"), |bench| {
            bench.iter(|| runtime.block_on(worker.asynchronous(&asynchronous)));
        });
    }
    group.finish();
    runtime.block_on(worker.dispatcher.shut_down(Duration::ZERO));
    catalog.quiesce(Duration::from_secs(5));
}

fn catalog(plugins: &Path, state: &Path) -> Arc<Catalog> {
    let (pushed, _requests) = PushedConfig::open(PushedConfigOptions {
        state_dir: state.to_owned(),
        local: PluginsConfig::default(),
        probation: Duration::from_secs(60),
        log_tail: LogTail::default(),
    })
    .expect("an empty directory");
    let catalog = Catalog::load(CatalogOptions {
        plugins: PluginsConfig {
            dirs: vec![plugins.to_owned()],
            default_placement: Some(Placement::InProcess),
            ..PluginsConfig::default()
        },
        handlers: HandlersConfig::default(),
        default_grants: BTreeMap::new(),
        node: NodeDescription {
            node_id: Uuid::nil().to_string(),
            role: "worker".to_owned(),
            tags: Vec::new(),
            worker_version: "0".to_owned(),
        },
        state_dir: state.to_owned(),
        node_control: NodeState::new(),
        config_control: pushed,
        expected_built_ins: &["dispatch"],
        plugin_host: None,
        crashes: BTreeMap::new(),
        starting: Box::new(|_| {}),
    });
    Arc::new(catalog.expect("nothing is required"))
}

criterion_group!(benches, dispatch);
criterion_main!(benches);
