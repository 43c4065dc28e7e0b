//! What durability costs a worker: commands per second through journal and
//! dispatch with every state on disk, the commits that they share, and how the
//! journal's size and the time to open it grow with 100,000 commands.
//!
//! Prints a table; asserts on nothing. `AEGIS_BENCH_DIR` names the disk.

use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use aegis_core::{
    command::{CancelReason, Command, CommandId, HandlerError},
    config::model::HandlersConfig,
    dispatch::{DispatchLimits, Dispatcher},
    drain::NodeState,
    journal::{Journal, JournalLimits, JournalOptions, JournalUpdate},
    plugin::{
        Call, CallId, CallSink, Completion, Handler, HandlerInfo, Handlers, Lookup, PluginInstance,
        Started,
    },
    policy::Policy,
};
use aegis_plugin_api::Effect;
use bytes::Bytes;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// In each run of the throughput.
const COMMANDS: usize = 20_000;

/// That the journal's growth is measured over.
const MANY: usize = 100_000;

/// Answers at once.
struct Echo;

impl PluginInstance for Echo {
    fn start_may_block(&self) -> bool {
        false
    }

    fn start(&self, call: Call<'_>, _: Arc<dyn CallSink>) -> Started {
        Started::Done(Completion::Succeeded(Bytes::copy_from_slice(call.payload)))
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
    fn lookup(&self, _: &str, see: &mut dyn FnMut(Lookup<'_>)) {
        see(Lookup::Found(&self.0));
    }
}

fn main() {
    let folder = match std::env::var_os("AEGIS_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let fsync = fsync(folder.path());
    println!("fsync of 4 KiB, same disk, p50: {:.0} µs", micros(fsync));
    println!("\nin flight   commands/s   µs of CPU each   commands per fsync of p50");
    for in_flight in [1, 10, 100] {
        let commands = if in_flight == 1 {
            COMMANDS / 10
        } else {
            COMMANDS
        };
        let path = folder.path().join(format!("throughput-{in_flight}.redb"));
        let (took, cpu) = runtime.block_on(run(&path, commands, in_flight));
        let each = commands as f64;
        println!(
            "{in_flight:>9}   {:>10.0}   {:>14.1}   {:>10.2}",
            each / took.as_secs_f64(),
            micros(cpu) / each,
            each * fsync.as_secs_f64() / took.as_secs_f64(),
        );
    }
    println!("\ncommands   journal MiB   opened in ms");
    let path = folder.path().join("many.redb");
    opened(&path, 0);
    let mut done = 0;
    while done < MANY {
        runtime.block_on(run(&path, MANY / 4, 100));
        done += MANY / 4;
        opened(&path, done);
    }
}

/// Takes commands to their acknowledgement, so many at once.
async fn run(path: &Path, commands: usize, in_flight: u32) -> (Duration, Duration) {
    let journal = open(path);
    let dispatcher = Dispatcher::new(
        journal.clone(),
        NodeState::new(),
        Arc::new(One(handler())),
        Policy::local(HandlersConfig::default()),
        DispatchLimits {
            inline_budget: Duration::MAX,
            ..DispatchLimits::default()
        },
    );
    dispatcher.start_intake().expect("a thread");
    let room = Arc::new(Semaphore::new(in_flight as usize));
    let begin = Instant::now();
    let cpu = cpu_time();
    let mut reader = journal.reader();
    let acknowledger = {
        let (journal, room) = (journal.clone(), Arc::clone(&room));
        tokio::spawn(async move {
            let mut ended = 0;
            while ended < commands {
                if let JournalUpdate::Finished(outcome) = reader.next().await {
                    journal.acknowledge(&[outcome.id]);
                    room.add_permits(1);
                    ended += 1;
                }
            }
        })
    };
    for _ in 0..commands {
        room.acquire().await.expect("it stays open").forget();
        dispatcher.take(command()).await;
    }
    acknowledger.await.expect("it ends");
    let (took, cpu) = (begin.elapsed(), cpu_time() - cpu);
    dispatcher.shut_down(Duration::from_secs(1)).await;
    tokio::task::spawn_blocking(move || journal.close())
        .await
        .expect("it ends")
        .expect("it is written");
    (took, cpu)
}

fn open(path: &Path) -> Journal {
    let options = JournalOptions {
        limits: JournalLimits::default(),
        expected: false,
    };
    Journal::open(path, options).expect("it opens").0
}

fn opened(path: &Path, commands: usize) {
    let begin = Instant::now();
    let journal = open(path);
    let took = begin.elapsed();
    journal.close().expect("it is written");
    let size = std::fs::metadata(path).expect("the file").len();
    println!(
        "{commands:>8}   {:>11.1}   {:>12.1}",
        size as f64 / (1024.0 * 1024.0),
        micros(took) / 1000.0
    );
}

fn handler() -> Handler {
    Handler {
        info: HandlerInfo {
            name: "echo".to_owned(),
            plugin: "bench".to_owned(),
            summary: String::new(),
            effect: Effect::AtMostOnce,
            timeout: Duration::from_secs(60),
            concurrency: 100,
            inline: true,
            runs_while_draining: false,
            request_schema: None,
            response_schema: None,
            disabled: None,
        },
        index: 0,
        instance: Arc::new(Echo),
    }
}

fn command() -> Command {
    Command {
        id: CommandId::from_uuid(Uuid::now_v7()),
        name: "echo".to_owned(),
        payload: Bytes::from_static(br#"{"name":"ada"}"#),
        not_before: None,
        start_by: None,
        timeout: None,
        issuer: "bench".to_owned(),
        traceparent: String::new(),
        delivery: 1,
    }
}

fn fsync(folder: &Path) -> Duration {
    let mut file = File::create(folder.join("fsync")).expect("a file");
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let begin = Instant::now();
            file.write_all(&[7; 4096]).expect("room on the disk");
            file.sync_data().expect("the disk works");
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Of this process.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
