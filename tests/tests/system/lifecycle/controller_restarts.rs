use aegis_proto::worker::v1::CommandState;
use aegis_tests::Cluster;

/// What was committed is still there, what ran meanwhile is reported, and no
/// enrolment token is needed.
#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_restarted_loses_nothing() {
    let mut cluster = Cluster::start().await;
    let done = cluster.run("hello", r#"{"name": "before"}"#).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let end = folder.path().join("end");
    let payload = format!(r#"{{"file": {end:?}}}"#);
    let node = cluster.node().to_owned();
    let long = cluster
        .operator
        .submit(&node, "unruly.wait", &payload)
        .await
        .expect("committed");
    cluster.operator.until_running(&long.command_id).await;

    cluster.controller.program.kill().await;
    // It ends while nobody listens.
    std::fs::write(&end, "").expect("the directory is ours");
    cluster.controller.restart().await;

    let outcome = cluster.operator.outcome(&long.command_id).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    assert_eq!(outcome.attempt, 1);
    let kept = cluster
        .operator
        .command(&done.command_id)
        .await
        .command
        .expect("it is kept");
    assert_eq!(kept.response, done.response);
    let outcome = cluster.run("hello", r#"{"name": "after"}"#).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    assert!(cluster.program.runs());
}

/// A command for a node that is away waits, and runs when the node returns.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_waits_for_a_node_that_is_away() {
    let mut cluster = Cluster::start().await;
    cluster.program.terminate();
    assert_eq!(cluster.program.exit_code().await, 0);
    let node = cluster.node().to_owned();
    let command = cluster
        .operator
        .submit(&node, "hello", r#"{"name": "late"}"#)
        .await;
    let command = command.expect("committed");
    assert_eq!(command.state(), CommandState::Queued);
    cluster.program = cluster.worker.start();
    let outcome = cluster.operator.outcome(&command.command_id).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
}
