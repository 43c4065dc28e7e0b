use std::path::Path;

use aegis_proto::worker::v1::CommandState;
use aegis_tests::Cluster;

async fn running(cluster: &Cluster, name: &str, file: &Path) -> String {
    let payload = format!(r#"{{"file": {file:?}}}"#);
    let command = cluster
        .operator
        .submit(cluster.node(), name, &payload)
        .await
        .expect("committed");
    cluster.operator.until_running(&command.command_id).await;
    command.command_id
}

/// Whoever follows a drain sees what blocks it, and sees it through a restart
/// of the worker.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_followed_through_a_restart_of_its_worker() {
    let mut cluster = Cluster::start().await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let end = folder.path().join("end");
    running(&cluster, "unruly.wait", &end).await;
    let ctl = cluster.controller.ctl();
    let mut follower = ctl.spawn(&["drain", cluster.node(), "--reason", "a new kernel"]);
    follower.says("waits for a command").await;
    follower.says("unruly.wait (").await;

    cluster.program.kill().await;
    follower.says("is not connected").await;
    cluster.program = cluster.worker.start();
    cluster.operator.until_session(cluster.node()).await;
    std::fs::write(&end, "").expect("the directory is ours");
    assert_eq!(follower.exit_code().await, 0);
    assert!(
        follower.text().contains("is drained"),
        "{}",
        follower.text()
    );
}

/// A forced drain asks what runs to end at once, and says of what does not that
/// only a restart frees it.
#[tokio::test(flavor = "multi_thread")]
async fn a_forced_drain_cancels_what_runs_and_says_what_ignores_that() {
    let cluster = Cluster::start().await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let end = folder.path().join("end");
    let polite = running(&cluster, "unruly.wait", &end).await;
    let rude = running(&cluster, "unruly.block", &end).await;
    let ctl = cluster.controller.ctl();
    let mut follower = ctl.spawn(&["drain", cluster.node(), "--force"]);
    follower.says("only a restart of the worker frees it").await;
    let outcome = cluster.operator.outcome(&polite).await;
    assert_eq!(outcome.state(), CommandState::Cancelled, "{outcome:#?}");
    let outcome = cluster.operator.outcome(&rude).await;
    assert_eq!(outcome.state(), CommandState::Unknown, "{outcome:#?}");
    let shown = ctl.json(&["node", "show", cluster.node()]).await.remove(0);
    assert_eq!(shown["drain"]["in_flight"][0]["given_up"], true);

    std::fs::write(&end, "").expect("the directory is ours");
    assert_eq!(follower.exit_code().await, 0);
}
