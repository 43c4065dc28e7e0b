//! Figures of the whole system, over the real programs and real sockets:
//! start to registered, idle memory, a command's round trip, commands per second.
//!
//! Prints a table; asserts on nothing. Wall times are given beside what they
//! contain (fsyncs of the same disk in the same run), because the machines that
//! this runs on differ and are noisy.

use std::{
    fs::File,
    io::Write,
    time::{Duration, Instant},
};

use aegis_proto::{
    operator::v1::{
        Selector, SubmitCommandRequest, WatchCommandsRequest, command_event::Event,
        selector::Selector as Choice,
    },
    worker::v1::CommandState,
};
use aegis_tests::{Cluster, Operator, Program};

const STARTS: usize = 20;
const ROUND_TRIPS: usize = 500;
const FSYNCS: usize = 200;
const COMMANDS: usize = 10_000;

#[tokio::main]
async fn main() {
    let mut cluster = Cluster::start().await;
    println!("figure                                         p50        p99");
    idle_memory(&cluster).await;
    round_trip(&cluster).await;
    throughput(&cluster).await;
    start_to_registered(&mut cluster).await;
}

/// Of the worker with all shipped plugins and two loaded ones, after its first
/// heartbeats.
async fn idle_memory(cluster: &Cluster) {
    tokio::time::sleep(Duration::from_secs(5)).await;
    let id = cluster.program.id();
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the worker runs");
    for key in ["VmRSS", "RssAnon", "RssFile", "Threads"] {
        let line = status.lines().find(|line| line.starts_with(key));
        let value = line
            .and_then(|line| line.split_once(':'))
            .map_or("?", |(_, v)| v.trim());
        println!("worker, idle: {key:<33} {value}");
    }
}

/// From a request to commit a command until its outcome is known to whoever
/// asked, both ends of it on the operator API.
async fn round_trip(cluster: &Cluster) {
    let fsync = fsyncs();
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    for index in 0..ROUND_TRIPS + 20 {
        let begin = Instant::now();
        run(&cluster.operator, cluster.node()).await;
        // The first ones open connections and fill caches.
        if index >= 20 {
            times.push(begin.elapsed());
        }
    }
    let (fsync_p50, fsync_p99) = percentiles(fsync);
    let (p50, p99) = percentiles(times);
    row("fsync of 4 KiB appended, same disk", fsync_p50, fsync_p99);
    row("command, operator to handler to operator", p50, p99);
    let ratio = p50.as_secs_f64() / fsync_p50.as_secs_f64();
    println!("round trip / fsync, p50                        {ratio:.1}");
}

/// Commands through one controller and one worker, each committed by itself,
/// so many at once.
async fn throughput(cluster: &Cluster) {
    let worker = cluster.program.id();
    let controller = cluster.controller.program.id();
    for at_once in [1, 8, 64] {
        let commands = if at_once == 1 {
            COMMANDS / 10
        } else {
            COMMANDS
        };
        let before = [cpu_time(worker), cpu_time(controller)];
        let begin = Instant::now();
        let mut lines = tokio::task::JoinSet::new();
        for _ in 0..at_once {
            let (operator, node) = (cluster.operator.clone(), cluster.node().to_owned());
            lines.spawn(async move {
                for _ in 0..commands / at_once {
                    run(&operator, &node).await;
                }
            });
        }
        while let Some(line) = lines.join_next().await {
            line.expect("every command succeeds");
        }
        let took = begin.elapsed();
        let each = |after: Duration, before: Duration| {
            (after - before).as_secs_f64() * 1e6 / commands as f64
        };
        println!(
            "commands per second, {at_once:>2} at once                {:>8.0}    \
             CPU each: worker {:.0} µs, controller {:.0} µs",
            commands as f64 / took.as_secs_f64(),
            each(cpu_time(worker), before[0]),
            each(cpu_time(controller), before[1]),
        );
    }
}

/// That a process has used, its threads together.
fn cpu_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    // After the name, which may hold anything; then fields 3 and on.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .expect("a name in parentheses")
        .1
        .split_whitespace()
        .collect();
    let ticks: u64 = [fields[11], fields[12]]
        .iter()
        .map(|field| field.parse::<u64>().expect("a number"))
        .sum();
    // USER_HZ is 100 on every Linux.
    Duration::from_millis(ticks * 10)
}

async fn run(operator: &Operator, node: &str) {
    let mut rpc = operator.rpc.clone();
    let submit = SubmitCommandRequest {
        selector: Some(Selector {
            selector: Some(Choice::Node(node.to_owned())),
        }),
        name: "hello".to_owned(),
        payload: br#"{"name": "Ada"}"#.to_vec(),
        ..Default::default()
    };
    let group = rpc
        .submit_command(submit)
        .await
        .expect("it is committed")
        .into_inner();
    let watch = WatchCommandsRequest {
        group_id: group.group_id,
        ..Default::default()
    };
    let mut events = rpc
        .watch_commands(watch)
        .await
        .expect("a watch")
        .into_inner();
    let mut succeeded = false;
    while let Some(event) = events.message().await.expect("the watch goes on") {
        if let Some(Event::Command(view)) = event.event
            && view.state() >= CommandState::Succeeded
        {
            assert_eq!(view.state(), CommandState::Succeeded, "{view:?}");
            succeeded = true;
        }
    }
    // To its end: a stream that is given up costs the connection a reset.
    assert!(succeeded, "the watch ended without an outcome");
}

/// From the start of a worker's process until the controller has accepted it,
/// by the worker's own log.
async fn start_to_registered(cluster: &mut Cluster) {
    let mut times = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        stop(&mut cluster.program).await;
        let begin = Instant::now();
        cluster.program = cluster.worker.start();
        cluster.program.says("registered").await;
        times.push(begin.elapsed());
    }
    let (p50, p99) = percentiles(times);
    row("worker's start to registered", p50, p99);
}

async fn stop(program: &mut Program) {
    program.terminate();
    assert_eq!(program.exit_code().await, 0);
}

fn fsyncs() -> Vec<Duration> {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut file = File::create(folder.path().join("fsync")).expect("a file");
    let page = [7u8; 4096];
    (0..FSYNCS)
        .map(|_| {
            let begin = Instant::now();
            file.write_all(&page).expect("room on the disk");
            file.sync_data().expect("the disk works");
            begin.elapsed()
        })
        .collect()
}

fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (
        times[times.len() / 2],
        times[(times.len() * 99 / 100).min(times.len() - 1)],
    )
}

fn row(what: &str, p50: Duration, p99: Duration) {
    println!(
        "{what:<42} {:>8.0} µs {:>8.0} µs",
        p50.as_secs_f64() * 1e6,
        p99.as_secs_f64() * 1e6
    );
}
