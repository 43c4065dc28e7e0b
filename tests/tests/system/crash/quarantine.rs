use aegis_proto::worker::v1::{CommandState, Plugin};
use aegis_tests::Cluster;

async fn unruly(cluster: &Cluster) -> Plugin {
    let shown = cluster.operator.show(cluster.node()).await;
    let plugin = shown.plugins.into_iter().find(|it| it.name == "unruly");
    plugin.expect("it is in the inventory")
}

/// A plugin that ran at three crashes in a row is not started, the controller
/// hears why, the others go on, and the operator releases it.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_ran_at_three_crashes_in_a_row_waits_for_its_release() {
    let mut cluster = Cluster::start().await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (marks, never) = (folder.path().join("marks"), folder.path().join("never"));
    let payload = format!(r#"{{"file": {marks:?}, "until": {never:?}}}"#);
    let node = cluster.node().to_owned();
    let operator = cluster.operator.clone();
    let command = operator
        .submit(&node, "effect.again", &payload)
        .await
        .expect("committed");
    for attempt in 1..=3 {
        let runs = |it: &aegis_proto::operator::v1::CommandView| it.attempt == attempt;
        operator
            .until_command(&command.command_id, "the next attempt", runs)
            .await;
        cluster.program.kill().await;
        cluster.program = cluster.worker.start();
    }

    let outcome = operator.outcome(&command.command_id).await;
    assert_eq!(outcome.state(), CommandState::Unknown, "{outcome:#?}");
    assert_eq!(outcome.attempt, 3);
    let plugin = unruly(&cluster).await;
    assert_eq!(plugin.state, "quarantined", "{plugin:#?}");
    assert!(
        plugin.reason.contains("plugins release unruly"),
        "{plugin:#?}"
    );
    let listed = cluster.worker.run(&["plugins", "list"]).await;
    assert!(
        listed
            .stdout
            .contains("is quarantined: the worker crashed 3"),
        "{listed:#?}"
    );
    let refused = cluster.run("effect.again", &payload).await;
    assert_eq!(refused.state(), CommandState::Rejected, "{refused:#?}");
    let other = cluster.run("hello", r#"{"name": "you"}"#).await;
    assert_eq!(other.state(), CommandState::Succeeded, "{other:#?}");

    let released = cluster.worker.run(&["plugins", "release", "unruly"]).await;
    assert_eq!(released.code, 0, "{released:#?}");
    let again = cluster.worker.run(&["plugins", "release", "unruly"]).await;
    assert!(again.stdout.contains("nothing to release"), "{again:#?}");
    cluster.program.kill().await;
    cluster.program = cluster.worker.start();
    operator.until_session(&node).await;
    std::fs::write(&never, "").expect("the directory is ours");
    let outcome = cluster.run("effect.again", &payload).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    assert_eq!(unruly(&cluster).await.state, "active");
}

/// The same for a worker that is stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_has_nothing_to_release_and_says_so() {
    let mut cluster = Cluster::start().await;
    cluster.program.terminate();
    assert_eq!(cluster.program.exit_code().await, 0);
    let unknown = cluster.worker.run(&["plugins", "release", "nobody"]).await;
    assert_eq!(unknown.code, 2, "{unknown:#?}");
    assert!(unknown.stderr.contains("unruly"), "{unknown:#?}");
    let answer = cluster
        .worker
        .run(&["plugins", "release", "hello-plugin"])
        .await;
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert!(answer.stdout.contains("nothing to release"), "{answer:#?}");
}
