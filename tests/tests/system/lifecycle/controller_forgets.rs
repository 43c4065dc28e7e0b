use aegis_proto::worker::v1::CommandState;
use aegis_tests::{Cluster, eventually};

/// The controller was installed anew. The worker that has an enrolment token
/// that is good there comes back with its key, by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_joins_a_controller_with_a_fresh_store_again() {
    let mut cluster = Cluster::start().await;
    cluster.run("hello", r#"{"name": "before"}"#).await;
    cluster.controller.replace().await;
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
}
