use aegis_proto::{cluster::v1::NodeStatus, operator::v1::NodeView, worker::v1::CommandState};
use aegis_tests::{Cluster, Disk};

/// What cannot be written down is refused with the reason, what ran is told as
/// soon as there is room, and the node says what is wrong with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_disk_is_full_refuses_what_is_new_and_loses_nothing() {
    let mut disk = None;
    let mut cluster = Cluster::start_with(|mut worker| {
        std::fs::create_dir(worker.state_dir()).expect("the directory is ours");
        let full = Disk::over(&worker.state_dir());
        for (name, value) in full.environment() {
            worker = worker.environment(&name, &value);
        }
        disk = Some(full);
        worker
    })
    .await;
    let disk = disk.expect("it was made");
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (end, marks) = (folder.path().join("end"), folder.path().join("marks"));
    let payload = format!(r#"{{"file": {marks:?}, "until": {end:?}}}"#);
    let node = cluster.node().to_owned();
    let operator = cluster.operator.clone();
    let long = operator
        .submit(&node, "effect.once", &payload)
        .await
        .expect("committed");
    operator.until_running(&long.command_id).await;

    disk.fill();
    // The first one finds it out.
    let waits = operator
        .submit(&node, "hello", r#"{"name": "you"}"#)
        .await
        .expect("committed");
    let unhealthy = |it: &NodeView| {
        let status = it.info.as_ref().map(|info| info.status());
        status == Some(NodeStatus::Unhealthy) && it.unhealthy_reason.contains("journal")
    };
    operator
        .until_node(&node, "it says what is wrong", unhealthy)
        .await;
    let refused = cluster.run("hello", r#"{"name": "you"}"#).await;
    assert_eq!(refused.state(), CommandState::Rejected, "{refused:#?}");
    let error = refused.error.expect("a reason");
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("journal-unwritable", true)
    );
    std::fs::write(&end, "").expect("another directory has room");
    assert!(cluster.program.runs());

    disk.free();
    for command in [&long, &waits] {
        let outcome = operator.outcome(&command.command_id).await;
        assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    }
    let ran = std::fs::read_to_string(&marks).expect("it ran");
    assert_eq!(ran.lines().count(), 1);
    let active = |it: &NodeView| {
        let status = it.info.as_ref().map(|info| info.status());
        status == Some(NodeStatus::Active) && it.unhealthy_reason.is_empty()
    };
    operator.until_node(&node, "it is well again", active).await;
    let outcome = cluster.run("hello", r#"{"name": "you"}"#).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
}
