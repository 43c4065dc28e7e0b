use aegis_proto::worker::v1::CommandState;
use aegis_tests::{Cluster, eventually};

/// A resumable handler is given its own checkpoint back after a crash.
#[tokio::test(flavor = "multi_thread")]
async fn a_resumable_command_goes_on_where_a_killed_worker_left_it() {
    let mut cluster = Cluster::start().await;
    let operator = cluster.operator.clone();
    let payload = r#"{"to": 40, "pause_ms": 50}"#;
    let submitted = operator
        .submit(cluster.node(), "hello.count", payload)
        .await;
    let command = submitted.expect("committed").command_id;
    // The number before the one that is told is kept by then.
    eventually("it has come to 3", async || {
        let output = operator.command(&command).await.output;
        let output = String::from_utf8(output).expect("UTF-8");
        output.lines().any(|line| line == "3").then_some(())
    })
    .await;
    cluster.program.kill().await;
    cluster.program = cluster.worker.start();

    let outcome = operator.outcome(&command).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    let response: serde_json::Value =
        serde_json::from_slice(&outcome.response).expect("it is JSON");
    assert_eq!(response["counted_to"], 40);
    let resumed_from = response["resumed_from"].as_u64().expect("a number");
    assert!((2..40).contains(&resumed_from), "{response}");
}
