use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aegis_proto::{operator::v1::CommandView, worker::v1::CommandState};
use aegis_tests::{Cluster, Rounds, eventually};
use serde_json::{Value, json};

/// Every labelled point between receipt and acknowledgement, and how often a
/// worker passes it in a round, at the most.
const POINTS: [(&str, u64); 12] = [
    ("command.received", 6),
    ("command.staged", 6),
    ("attempt.staged", 6),
    ("journal.committing", 14),
    ("journal.committed", 14),
    ("handler.starting", 6),
    ("handler.started", 6),
    ("checkpoint.staged", 3),
    ("outcome.staged", 6),
    ("message.sent", 20),
    ("acknowledgement.received", 6),
    ("acknowledgement.staged", 6),
];

/// What each round submits.
const COMMANDS: [&str; 6] = [
    "effect.once",
    "effect.again",
    "effect.once",
    "effect.again",
    "hello",
    "hello.count",
];

/// How often a handler begins where crashes interrupt it.
const ATTEMPTS: u32 = 3;

/// A worker that is killed at every point, again and again: every command has
/// exactly one outcome that never changes, what may run once ran at most once,
/// what succeeded ran, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_worker_is_killed_its_commands_end_as_their_handlers_declare() {
    let mut rounds = Rounds::begin("AEGIS_CRASH_ROUNDS", 220);
    let mut cluster =
        Cluster::start_with(|worker| worker.config("[plugins]\nquarantine_after = 0\n")).await;
    let marks = tempfile::tempdir().expect("a temporary directory");
    let marks = marks.path().join("marks");
    let node = cluster.node().to_owned();
    let mut submitted: Vec<CommandView> = Vec::new();
    let mut killed: BTreeMap<&str, u32> = BTreeMap::new();
    for round in 0..rounds.count {
        let (point, most) = POINTS[round % POINTS.len()];
        let times = 1 + rounds.below(most);
        cluster.program.kill().await;
        let environment = ("AEGIS_KILL_POINT", format!("{point}:{times}"));
        cluster.program = cluster.worker.start_with(environment.0, &environment.1);
        for name in COMMANDS {
            let payload = match name {
                "hello" => json!({ "name": "you" }),
                "hello.count" => json!({ "to": 3 }),
                _ => json!({ "file": marks }),
            };
            let command = cluster
                .operator
                .submit(&node, name, &payload.to_string())
                .await;
            submitted.push(command.expect("the controller lives"));
        }
        if dies(&mut cluster, &submitted).await {
            *killed.entry(point).or_default() += 1;
        }
    }
    cluster.program.kill().await;
    cluster.program = cluster.worker.start();

    let mut seen = BTreeMap::new();
    for command in &submitted {
        let outcome = cluster.operator.outcome(&command.command_id).await;
        seen.insert(command.command_id.clone(), outcome);
    }
    let ran = count(&std::fs::read_to_string(&marks).expect("some ran"));
    for outcome in seen.values() {
        let ran = ran.get(&outcome.command_id).copied().unwrap_or_default();
        check(outcome, ran);
    }
    let known = ran.keys().all(|id| seen.contains_key(id));
    assert!(known, "something ran that nobody asked for");
    // Of nothing is anything left to be told, and nothing changes any more.
    eventually("the outbox is empty", async || {
        let nodes = cluster.operator.nodes().await;
        let empty = nodes
            .iter()
            .all(|it| it.outbox_length == 0 && it.queued_commands == 0);
        empty.then_some(())
    })
    .await;
    for (id, outcome) in &seen {
        let now = cluster
            .operator
            .command(id)
            .await
            .command
            .expect("it is kept");
        assert_eq!((now.state, &now.receipt), (outcome.state, &outcome.receipt));
    }
    eprintln!("killed: {killed:?}");
    let missed: Vec<&str> = POINTS
        .iter()
        .map(|(point, _)| *point)
        .filter(|point| !killed.contains_key(point))
        .collect();
    assert!(
        missed.is_empty() || rounds.count < 5 * POINTS.len(),
        "no worker was ever killed at {missed:?}: {killed:?}"
    );
}

/// Whether the worker died before everything so far had an outcome.
async fn dies(cluster: &mut Cluster, submitted: &[CommandView]) -> bool {
    let patience = Instant::now() + Duration::from_secs(30);
    while Instant::now() < patience {
        if !cluster.program.runs() {
            return true;
        }
        let nodes = cluster.operator.nodes().await;
        if nodes.iter().all(|it| it.queued_commands == 0) {
            // It may still be on its way to the point.
            tokio::time::sleep(Duration::from_millis(30)).await;
            return !cluster.program.runs();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let last = submitted.last().map(|it| it.command_id.as_str());
    panic!("a worker neither dies nor finishes its commands, the last of which is {last:?}");
}

fn check(outcome: &CommandView, ran: u32) {
    let state = outcome.state();
    let code = outcome.error.as_ref().map(|error| error.code.as_str());
    match outcome.name.as_str() {
        "hello" | "effect.again" if state == CommandState::Succeeded => {
            assert!(ran > 0 || outcome.name == "hello", "{outcome:#?}");
        }
        // Crashes used its attempts up.
        "hello" => assert_eq!(
            (state, code, outcome.attempt),
            (CommandState::Failed, Some("interrupted"), ATTEMPTS),
            "{outcome:#?}"
        ),
        "hello.count" if state == CommandState::Succeeded => {
            let response: Value = serde_json::from_slice(&outcome.response).expect("JSON");
            assert_eq!(response["counted_to"], 3);
            let resumed = response["resumed_from"].as_u64().expect("a number");
            assert!(resumed == 0 || outcome.attempt > 1, "{outcome:#?}");
        }
        "effect.again" | "hello.count" => assert_eq!(
            (state, code, outcome.attempt),
            (CommandState::Unknown, Some("interrupted"), ATTEMPTS),
            "{outcome:#?}"
        ),
        "effect.once" if state == CommandState::Succeeded => assert_eq!(ran, 1, "{outcome:#?}"),
        "effect.once" => {
            assert!(ran <= 1, "it ran {ran} times: {outcome:#?}");
            assert_eq!(
                (state, code),
                (CommandState::Unknown, Some("interrupted")),
                "{outcome:#?}"
            );
        }
        other => panic!("nobody asked for {other}"),
    }
}

/// How often each command ran.
fn count(marks: &str) -> BTreeMap<String, u32> {
    let mut ran = BTreeMap::new();
    for id in marks.lines() {
        *ran.entry(id.to_owned()).or_default() += 1;
    }
    ran
}
