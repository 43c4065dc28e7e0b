use std::path::PathBuf;

use aegis_proto::{
    cluster::v1::NodeStatus,
    error_code,
    operator::v1::{CommandView, NodeView},
    worker::v1::{CommandState, DrainStatus},
};
use aegis_tests::{Cluster, eventually};
use tempfile::TempDir;

fn status(view: &NodeView) -> NodeStatus {
    view.info
        .as_ref()
        .map(|info| info.status())
        .unwrap_or_default()
}

/// A command that runs until its file is there.
struct Long {
    command: CommandView,
    end: PathBuf,
    _folder: TempDir,
}

impl Long {
    async fn start(cluster: &Cluster, name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let end = folder.path().join("end");
        let payload = format!(r#"{{"file": {end:?}}}"#);
        let command = cluster
            .operator
            .submit(cluster.node(), name, &payload)
            .await
            .expect("committed");
        cluster.operator.until_running(&command.command_id).await;
        Self {
            command,
            end,
            _folder: folder,
        }
    }

    fn end(&self) {
        std::fs::write(&self.end, "").expect("the directory is ours");
    }
}

async fn drain(cluster: &Cluster, payload: &str) {
    let outcome = cluster.run("drain", payload).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
}

/// Waits for a drain as wanted, of a session that this process opened.
async fn until_drain(
    cluster: &Cluster,
    what: &str,
    is: impl Fn(&DrainStatus) -> bool,
) -> DrainStatus {
    let draining = |view: &NodeView| {
        view.connected
            && status(view) == NodeStatus::Draining
            && view.drain.as_ref().is_some_and(&is)
    };
    let node = cluster.node();
    let view = cluster.operator.until_node(node, what, draining).await;
    view.drain.expect("it drains")
}

async fn is_refused(cluster: &Cluster) {
    let refused = cluster.run("hello", r#"{"name": "Ada"}"#).await;
    assert_eq!(refused.state(), CommandState::Rejected, "{refused:#?}");
    assert_eq!(refused.error.expect("an error").code, error_code::DRAINING);
}

/// A command that the crash interrupted is what the drain waits for; new work is
/// refused; and the drain is the same one, with its beginning, reason and
/// deadline.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_goes_on_after_a_crash_and_waits_for_what_the_crash_interrupted() {
    let mut cluster = Cluster::start().await;
    let long = Long::start(&cluster, "unruly.wait").await;
    drain(
        &cluster,
        r#"{"drain": true, "deadlineMs": 3600000, "reason": "kernel update"}"#,
    )
    .await;
    let before = until_drain(&cluster, "it drains", |it| it.in_flight.len() == 1).await;

    cluster.program.kill().await;
    cluster.program = cluster.worker.start();
    cluster.program.says("was drained before").await;
    cluster.operator.until_session(cluster.node()).await;
    // It was told as running before, and begins once more.
    let began = before.in_flight[0].started_at;
    let after = until_drain(&cluster, "it runs again", |it| {
        let mut waits_for = it.in_flight.iter();
        waits_for.any(|it| it.started_at.is_some() && it.started_at != began)
    })
    .await;
    assert_eq!(
        (after.started_at, after.deadline, &after.reason),
        (before.started_at, before.deadline, &before.reason)
    );
    assert_eq!(after.finished_at, None);
    assert_eq!(after.in_flight[0].command_id, long.command.command_id);
    is_refused(&cluster).await;

    long.end();
    let outcome = cluster.operator.outcome(&long.command.command_id).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    assert_eq!(outcome.attempt, 2);
    let done = until_drain(&cluster, "it is drained", |it| it.finished_at.is_some()).await;

    // Drained is drained, however often it is started, until it is undone.
    cluster.program.kill().await;
    cluster.program = cluster.worker.start();
    cluster.program.says("session open").await;
    let again = until_drain(&cluster, "it is drained", |it| it.finished_at.is_some()).await;
    assert_eq!(again.finished_at, done.finished_at);
    drain(&cluster, r#"{"drain": false}"#).await;
    cluster.program.kill().await;
    cluster.program = cluster.worker.start();
    cluster.program.says("session open").await;
    let outcome = cluster.run("hello", r#"{"name": "Ada"}"#).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
}

/// What comes to an end by a signal is not drained; what was drained before is.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_worker_comes_back_as_it_was() {
    let mut cluster = Cluster::start().await;
    cluster.program.terminate();
    assert_eq!(cluster.program.exit_code().await, 0);
    cluster.program = cluster.worker.start();
    cluster.operator.until_session(cluster.node()).await;
    let outcome = cluster.run("hello", r#"{"name": "Ada"}"#).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");

    drain(&cluster, r#"{"drain": true, "reason": "disk swap"}"#).await;
    cluster.program.terminate();
    assert_eq!(cluster.program.exit_code().await, 0);
    cluster.program = cluster.worker.start();
    cluster.operator.until_session(cluster.node()).await;
    let drain = until_drain(&cluster, "it drains", |it| it.finished_at.is_some()).await;
    assert_eq!(drain.reason, "disk swap");
    is_refused(&cluster).await;
}

/// Forced, everything is cancelled at once; a handler that ignores that is what
/// blocks, and the operator sees so.
#[tokio::test(flavor = "multi_thread")]
async fn a_forced_drain_cancels_at_once_and_tells_what_ignores_it() {
    let cluster = Cluster::start().await;
    let polite = Long::start(&cluster, "unruly.wait").await;
    let deaf = Long::start(&cluster, "unruly.block").await;
    drain(&cluster, r#"{"drain": true, "deadlineMs": 0}"#).await;
    let outcome = cluster.operator.outcome(&polite.command.command_id).await;
    assert_eq!(outcome.state(), CommandState::Cancelled, "{outcome:#?}");
    let blocked = until_drain(&cluster, "one is left", |it| it.in_flight.len() == 1).await;
    let blocking = &blocked.in_flight[0];
    assert_eq!(blocking.command_id, deaf.command.command_id);
    assert!(blocking.cancelled_at.is_some(), "{blocking:?}");
    let given_up = |it: &DrainStatus| it.in_flight.iter().any(|it| it.given_up);
    let blocked = until_drain(&cluster, "it is given up", given_up).await;
    assert_eq!(blocked.finished_at, None, "its handler has not returned");
    deaf.end();
    until_drain(&cluster, "it is drained", |it| it.finished_at.is_some()).await;
}

/// Neither a shutdown by signal nor one by command waits for more than the drain
/// that is under way.
#[tokio::test(flavor = "multi_thread")]
async fn a_draining_worker_shuts_down_when_it_is_told_to() {
    for by_signal in [true, false] {
        let mut cluster = Cluster::start().await;
        let long = Long::start(&cluster, "unruly.wait").await;
        drain(&cluster, r#"{"drain": true}"#).await;
        if by_signal {
            cluster.program.terminate();
        } else {
            let payload = r#"{"reason": "kernel update"}"#;
            let outcome = cluster.run("shutdown", payload).await;
            assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
        }
        cluster.program.says("worker shuts down: draining").await;
        assert!(cluster.program.runs(), "a command still runs");
        long.end();
        assert_eq!(cluster.program.exit_code().await, 0);
        let outcome = cluster.operator.outcome(&long.command.command_id).await;
        assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    }
}

/// A second shutdown changes nothing, whatever deadline it brings.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_shutdown_changes_nothing() {
    let mut cluster = Cluster::start().await;
    let long = Long::start(&cluster, "unruly.wait").await;
    let first = cluster
        .run("shutdown", r#"{"drainTimeoutMs": 3600000}"#)
        .await;
    assert_eq!(first.state(), CommandState::Succeeded, "{first:#?}");
    cluster.program.says("worker shuts down: draining").await;
    let second = cluster.run("shutdown", r#"{"drainTimeoutMs": 0}"#).await;
    assert_eq!(second.state(), CommandState::Succeeded, "{second:#?}");
    assert!(cluster.program.runs());
    long.end();
    assert_eq!(cluster.program.exit_code().await, 0);
    let outcome = cluster.operator.outcome(&long.command.command_id).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
}

/// With the controller away an end does not take for ever, the worker says what
/// it could not hand over, and hands it over in its next life.
#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_handed_over_at_the_end_is_handed_over_later() {
    let mut cluster = Cluster::start().await;
    let long = Long::start(&cluster, "unruly.wait").await;
    cluster.controller.program.kill().await;
    long.end();
    eventually("the outcome is in the outbox", async || {
        let answer = cluster.worker.run(&["journal", "list", "-o", "json"]).await;
        answer.stdout.contains("\"waiting\"").then_some(())
    })
    .await;
    cluster.program.terminate();
    assert_eq!(cluster.program.exit_code().await, 0);
    let text = cluster.program.text();
    assert!(
        text.contains("are kept for the next start outcomes=1"),
        "{text}"
    );

    cluster.controller.restart().await;
    cluster.program = cluster.worker.start();
    let outcome = cluster.operator.outcome(&long.command.command_id).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    assert_eq!(outcome.attempt, 1, "it did not run again");
}
