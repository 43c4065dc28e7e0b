use aegis_proto::worker::v1::CommandState;
use aegis_tests::{Cluster, eventually};

/// SIGTERM drains, reports, deregisters and ends with 0.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_worker_finishes_its_work_and_deregisters() {
    let mut cluster = Cluster::start().await;
    let operator = cluster.operator.clone();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let end = folder.path().join("end");
    let payload = format!(r#"{{"file": {end:?}}}"#);
    let long = operator
        .submit(cluster.node(), "unruly.wait", &payload)
        .await
        .expect("committed");
    operator.until_running(&long.command_id).await;

    cluster.program.terminate();
    let draining = |it: &aegis_proto::operator::v1::NodeView| it.drain.is_some();
    operator
        .until_node(cluster.node(), "it drains", draining)
        .await;
    assert!(cluster.program.runs(), "a command still runs");
    std::fs::write(&end, "").expect("the directory is ours");

    assert_eq!(cluster.program.exit_code().await, 0);
    let outcome = operator.outcome(&long.command_id).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    eventually("it is deregistered", async || {
        let nodes = operator.nodes().await;
        nodes.iter().all(|it| it.deregistered).then_some(())
    })
    .await;
}

/// A second signal cuts it short.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_worker_at_once_and_not_with_0() {
    let mut cluster = Cluster::start().await;
    let operator = cluster.operator.clone();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let payload = format!(r#"{{"file": {:?}}}"#, folder.path().join("never"));
    let long = operator
        .submit(cluster.node(), "unruly.block", &payload)
        .await
        .expect("committed");
    operator.until_running(&long.command_id).await;
    cluster.program.terminate();
    let draining = |it: &aegis_proto::operator::v1::NodeView| it.drain.is_some();
    operator
        .until_node(cluster.node(), "it drains", draining)
        .await;
    cluster.program.terminate();
    let status = cluster.program.exit().await;
    assert!(!status.success(), "{status}");
}

/// The operator's shutdown goes the same way.
#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_command_ends_the_worker_with_0() {
    let mut cluster = Cluster::start().await;
    let ctl = cluster.controller.ctl();
    let answer = ctl
        .run(&["shutdown", cluster.node(), "--reason", "kernel update"])
        .await;
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert_eq!(cluster.program.exit_code().await, 0);
    let nodes = cluster.operator.nodes().await;
    assert!(nodes.iter().all(|it| it.deregistered), "{nodes:#?}");
}
