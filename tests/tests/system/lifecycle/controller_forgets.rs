use aegis_proto::worker::v1::CommandState;
use aegis_tests::{Cluster, eventually};

/// The controller was installed anew. The worker that has an enrolment token
/// that is good there comes back with its key, by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_joins_a_controller_with_a_fresh_store_again() {
    let mut cluster = Cluster::start().await;
    cluster.run("hello", r#"{"name": "before"}"#).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let end = folder.path().join("end");
    let payload = format!(r#"{{"file": {end:?}}}"#);
    let submitted = cluster
        .operator
        .submit(cluster.node(), "unruly.wait", &payload)
        .await;
    let forgotten = submitted.expect("committed").command_id;
    cluster.operator.until_running(&forgotten).await;
    cluster.controller.replace().await;
    // It ends, and nobody is left who asked for it.
    std::fs::write(&end, "").expect("the directory is ours");
    let operator = cluster.controller.operator();
    // The worker reads the file again when it is asked for a token.
    let token = cluster.controller.enrolment_token().await;
    std::fs::write(cluster.worker.token_file(), token).expect("the directory is ours");

    let node = cluster.node().to_owned();
    eventually("the node is there again", async || {
        if !cluster.program.runs() {
            // Refused once, it may end with 3; its service manager starts it.
            cluster.program = cluster.worker.start();
        }
        let nodes = operator.nodes().await;
        nodes.into_iter().find(|it| it.transport == "session")
    })
    .await;
    let outcome = operator.run(&node, "hello", r#"{"name": "after"}"#).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    // Its outcome does not wait for ever, and is not taken for another's.
    let event = operator.until_event("result-dropped").await;
    assert_eq!(event.command_id, forgotten);
    let told = |it: &aegis_proto::operator::v1::NodeView| it.outbox_length == 0;
    operator
        .until_node(&node, "the outbox is empty", told)
        .await;
}
