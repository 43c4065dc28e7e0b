use aegis_proto::worker::v1::CommandState;
use aegis_tests::Cluster;

/// Ctrl-C leaves the command alone and says how to come back to it.
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_detaches_from_a_command_that_goes_on() {
    let cluster = Cluster::start().await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let end = folder.path().join("end");
    let payload = format!(r#"{{"file": {end:?}}}"#);
    let ctl = cluster.controller.ctl();
    let mut follower = ctl.spawn(&["run", cluster.node(), "unruly.wait", &payload]);
    let command = aegis_tests::eventually("it is submitted", async || {
        cluster
            .operator
            .commands()
            .await
            .into_iter()
            .find(|it| it.name == "unruly.wait")
    })
    .await;
    cluster.operator.until_running(&command.command_id).await;

    follower.says("waiting").await;
    follower.interrupt();
    assert_eq!(follower.exit_code().await, 130);
    let told = follower.text();
    assert!(told.contains("aegisctl command show"), "{told}");

    let now = cluster
        .operator
        .command(&command.command_id)
        .await
        .command
        .expect("it is there");
    assert_eq!(now.state(), CommandState::Running, "{now:#?}");
    std::fs::write(&end, "").expect("the directory is ours");
    let outcome = cluster.operator.outcome(&command.command_id).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
}
