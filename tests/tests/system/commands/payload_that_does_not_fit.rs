use aegis_proto::{error_code, worker::v1::CommandState};
use aegis_tests::Cluster;

/// aegisctl refuses it before it is sent.
#[tokio::test(flavor = "multi_thread")]
async fn aegisctl_sends_no_payload_that_the_schema_refuses() {
    let cluster = Cluster::start().await;
    let ctl = cluster.controller.ctl();
    for payload in [r#"{"name": 7}"#, "{}", "[]", "{"] {
        let answer = ctl.run(&["run", cluster.node(), "hello", payload]).await;
        assert_eq!(answer.code, 2, "{payload}: {answer:#?}");
        assert!(!answer.stderr.is_empty(), "{payload}: {answer:#?}");
    }
    let commands = ctl.run(&["commands"]).await;
    assert!(
        !commands.stdout.contains("hello"),
        "nothing was sent: {commands:#?}"
    );
}

/// Who goes around aegisctl is refused by the worker.
#[tokio::test(flavor = "multi_thread")]
async fn the_worker_runs_no_payload_that_the_handler_cannot_take() {
    let cluster = Cluster::start().await;
    for payload in [r#"{"name": 7}"#, "{}", "[]"] {
        let outcome = cluster.run("hello", payload).await;
        assert_eq!(
            outcome.state(),
            CommandState::Rejected,
            "{payload}: {outcome:#?}"
        );
        let error = outcome.error.expect("an error");
        assert_eq!(
            error.code,
            error_code::INVALID_PAYLOAD,
            "{payload}: {error:?}"
        );
        assert!(!error.retryable);
    }
    let outcome = cluster.run("hello", r#"{"name": "next"}"#).await;
    assert_eq!(outcome.state(), CommandState::Succeeded);
}

/// No JSON at all does not even become a command.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_api_takes_json_of_a_bounded_size_only() {
    let cluster = Cluster::start().await;
    let large = format!(r#"{{"name": "{}"}}"#, "x".repeat(1024 * 1024));
    for payload in ["{", "no json", &large] {
        let error = cluster
            .operator
            .submit(cluster.node(), "hello", payload)
            .await
            .expect_err("it is refused");
        assert_eq!(error.code(), tonic::Code::InvalidArgument, "{error:?}");
    }
}
