//! What a command costs between its delivery and its outcome, by the kind of
//! its handler, beside a hard-coded `match` over an enum with the same body.
//!
//! Every round is the whole way: parse, policy, journal, slot, handler,
//! outcome, reader, acknowledgement. `instance` is that way around a handler
//! that is a plain function behind the facade: what it costs more than `match`
//! is dispatch itself, what the others cost more than it is the ABI.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aegis_core::{
    command::{CancelReason, Command, CommandId, FinalState, HandlerError},
    config::model::HandlersConfig,
    dispatch::{DispatchLimits, Dispatcher},
    drain::NodeState,
    journal::{Journal, JournalReader, JournalUpdate},
    plugin::{
        Call, CallId, CallSink, Completion, Handler, HandlerInfo, Handlers, Lookup, PluginInstance,
        Started,
    },
    policy::Policy,
};
use aegis_plugin_api::Effect;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const PAYLOAD: &[u8] = br#"{"name":"ada"}"#;

#[derive(Deserialize)]
struct Greet {
    name: String,
}

#[derive(Serialize)]
struct Greeting {
    text: String,
}

fn greet(payload: &[u8]) -> Bytes {
    let request: Greet = serde_json::from_slice(payload).expect("the payload fits");
    let greeting = Greeting {
        text: format!("hello, {}", request.name),
    };
    serde_json::to_vec(&greeting)
        .expect("a string can be written")
        .into()
}

/// What a worker without plugins would have.
enum HardCoded {
    Hello,
    Other,
}

async fn hard_coded(command: HardCoded, payload: &[u8]) -> Bytes {
    match command {
        HardCoded::Hello => greet(payload),
        HardCoded::Other => Bytes::new(),
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
            DispatchLimits::default(),
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
            let command = std::hint::black_box(HardCoded::Hello);
            let other = std::hint::black_box(HardCoded::Other);
            let _ = hard_coded(other, b"");
            futures_util::FutureExt::now_or_never(hard_coded(command, PAYLOAD)).expect("no await")
        });
    });

    let mut worker = Worker::new(plain());
    group.bench_function(BenchmarkId::new("instance", "inline"), |bench| {
        bench.iter(|| worker.inline("hello"));
    });
    group.finish();
}

criterion_group!(benches, dispatch);
criterion_main!(benches);
