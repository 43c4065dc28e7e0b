//! What it costs to call a plugin, beside the same work called directly.
//!
//! All bodies parse `{"text":"…"}` and write it again, but for the C plugin's,
//! which copies its payload.

use std::{
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    time::Duration,
};

use aegis_core::{
    command::{CancelReason, CommandId, HandlerError},
    plugin::{Call, CallSink, Completion, Lookup, Started},
};
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use serde::{Deserialize, Serialize};

#[allow(dead_code)]
#[path = "../tests/plugin_host/fixture.rs"]
mod fixture;
#[path = "../tests/sdk_plugins/linked.rs"]
mod linked;
#[allow(dead_code)]
#[path = "../tests/plugin_host/world.rs"]
mod world;

const PAYLOAD: &[u8] = br#"{"text":"hello, node"}"#;

#[derive(Serialize, Deserialize)]
struct Text {
    text: String,
}

enum Command {
    Echo(Vec<u8>),
    Nothing,
}

/// What a worker without plugins would do.
fn hard_coded(command: &Command) -> Vec<u8> {
    match command {
        Command::Echo(payload) => {
            let text: Text = serde_json::from_slice(payload).expect("JSON");
            serde_json::to_vec(&text).expect("JSON")
        }
        Command::Nothing => Vec::new(),
    }
}

struct Sink(SyncSender<Completion>);

impl CallSink for Sink {
    fn progress(&self, _: u32, _: &str) {}
    fn output(&self, _: &[u8]) {}
    fn save_checkpoint(&self, _: &[u8]) -> Result<(), HandlerError> {
        Ok(())
    }
    fn checkpoint(&self) -> Option<Bytes> {
        None
    }
    fn complete(&self, completion: Completion) {
        self.0.send(completion).expect("the bench waits");
    }
    fn cancelled(&self) -> Option<CancelReason> {
        None
    }
}

fn boundary(criterion: &mut Criterion) {
    let mut world = world::World::new();
    world.plugin("linked").grants = vec!["node-control".into()];
    fixture::Fixture::new("c").build(&world.directory(), "c.so");
    let catalog = world.load();
    let mut group = criterion.benchmark_group("boundary");

    let command = Command::Echo(PAYLOAD.to_vec());
    let _ = hard_coded(&Command::Nothing);
    group.bench_function("hard-coded match", |bench| {
        bench.iter(|| hard_coded(std::hint::black_box(&command)));
    });
    for (label, name) in [
        ("built-in, inline", "linked.echo"),
        ("built-in, async", "linked.later"),
        ("loaded C library, at once", "c.echo"),
        ("loaded C library, on a new thread", "c.later"),
    ] {
        let (told, end) = sync_channel(1);
        let sink: Arc<dyn CallSink> = Arc::new(Sink(told));
        group.bench_function(label, |bench| {
            bench.iter(|| {
                let Lookup::Found(handler) = catalog.lookup(name) else {
                    panic!("{name}")
                };
                let call = Call {
                    handler: handler.index,
                    command_id: CommandId::from_uuid(uuid::Uuid::nil()),
                    payload: PAYLOAD,
                    timeout: Some(Duration::from_secs(60)),
                    issuer: "bench",
                    traceparent: "",
                    attempt: 1,
                };
                match handler.instance.start(call, Arc::clone(&sink)) {
                    Started::Done(completion) => completion,
                    Started::Pending(_) => end.recv().expect("an end"),
                    Started::Refused(error) => panic!("{error}"),
                }
            });
        });
    }
    group.finish();
    catalog.quiesce(Duration::from_secs(5));
}

criterion_group!(benches, boundary);
criterion_main!(benches);
