use aegis_proto::worker::v1::CommandState;
use aegis_tests::{Cluster, Disk, eventually};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// While its disk is full a controller refuses what it could not keep, says so,
/// and acknowledges no result; when there is room, all goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_controller_whose_disk_is_full_loses_nothing_and_recovers_by_itself() {
    let mut cluster = Cluster::start().await;
    let disk = Disk::over(cluster.controller.data_dir());
    cluster.controller.restart_with(&disk.environment()).await;
    let node = cluster.node().to_owned();
    cluster.operator.until_session(&node).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let end = folder.path().join("end");
    let payload = format!(r#"{{"file": {end:?}}}"#);
    let command = cluster
        .operator
        .submit(&node, "unruly.wait", &payload)
        .await
        .expect("there is room");
    cluster.operator.until_running(&command.command_id).await;

    disk.fill();
    let refused = cluster
        .operator
        .submit(&node, "hello", r#"{"name": "you"}"#)
        .await
        .expect_err("there is no room");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let text = refused.message();
    assert!(
        text.contains("disk") && text.contains("try again"),
        "{text}"
    );
    // Its result can't be committed, and so it is not acknowledged.
    std::fs::write(&end, "").expect("another directory has room");
    until_health(&cluster, ServingStatus::NotServing).await;
    cluster.program.says("the disk of its database").await;
    let now = cluster.operator.command(&command.command_id).await;
    let now = now.command.expect("what is kept can be read");
    assert_eq!(now.state(), CommandState::Running, "{now:#?}");

    disk.free();
    until_health(&cluster, ServingStatus::Serving).await;
    let outcome = cluster.operator.outcome(&command.command_id).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    assert_eq!(outcome.attempt, 1);
    cluster.operator.until_event("storage-recovered").await;
    let outcome = cluster.run("hello", r#"{"name": "you"}"#).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    assert!(cluster.program.runs() && cluster.controller.program.runs());
}

async fn until_health(cluster: &Cluster, status: ServingStatus) {
    let channel = Endpoint::from_shared(cluster.controller.endpoint())
        .expect("an endpoint")
        .connect_lazy();
    let mut health = HealthClient::new(channel);
    eventually("another health", async || {
        let request = HealthCheckRequest::default();
        let answer = health.check(request).await.expect("a health check");
        (answer.into_inner().status() == status).then_some(())
    })
    .await;
}
