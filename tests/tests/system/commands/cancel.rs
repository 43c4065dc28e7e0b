use aegis_proto::worker::v1::CommandState;
use aegis_tests::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_command_is_cancelled_from_the_command_line() {
    let cluster = Cluster::start().await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let payload = format!(r#"{{"file": {:?}}}"#, folder.path().join("never"));
    let command = cluster
        .operator
        .submit(cluster.node(), "unruly.wait", &payload)
        .await
        .expect("committed");
    cluster.operator.until_running(&command.command_id).await;

    let ctl = cluster.controller.ctl();
    let answer = ctl.run(&["command", "cancel", &command.command_id]).await;
    assert_eq!(answer.code, 0, "{answer:#?}");
    let outcome = cluster.operator.outcome(&command.command_id).await;
    assert_eq!(outcome.state(), CommandState::Cancelled, "{outcome:#?}");
}

/// Two may run, so the third waits in the queue; it ends there.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_waits_for_a_slot_is_cancelled_without_running() {
    let cluster = Cluster::start().await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("end");
    let payload = format!(r#"{{"file": {file:?}}}"#);
    let mut commands = Vec::new();
    for _ in 0..3 {
        let node = cluster.node();
        let command = cluster.operator.submit(node, "unruly.wait", &payload).await;
        commands.push(command.expect("committed").command_id);
    }
    let (running, waiting) = commands.split_at(2);
    for id in running {
        cluster.operator.until_running(id).await;
    }
    let ctl = cluster.controller.ctl();
    assert_eq!(ctl.run(&["command", "cancel", &waiting[0]]).await.code, 0);
    let outcome = cluster.operator.outcome(&waiting[0]).await;
    assert_eq!(outcome.state(), CommandState::Cancelled, "{outcome:#?}");
    assert!(outcome.started_at.is_none(), "{outcome:#?}");

    std::fs::write(&file, "").expect("the directory is ours");
    for id in running {
        assert_eq!(
            cluster.operator.outcome(id).await.state(),
            CommandState::Succeeded
        );
    }
}
