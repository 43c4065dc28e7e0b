use aegis_proto::{error_code, worker::v1::CommandState};
use aegis_tests::{Cluster, Controller};

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_command_is_refused_with_the_nearest_name() {
    let cluster = Cluster::start().await;
    let submitted = cluster.operator.submit(cluster.node(), "helo", "{}").await;
    let refusal = submitted.expect_err("no node has it");
    assert_eq!(
        refusal.code(),
        tonic::Code::FailedPrecondition,
        "{refusal:?}"
    );
    assert!(refusal.message().contains("\"hello\""), "{refusal:?}");
    let ctl = cluster.controller.ctl();
    let answer = ctl.run(&["run", cluster.node(), "helo", "{}"]).await;
    assert_eq!(answer.code, 2, "{answer:#?}");
    assert!(answer.stderr.contains("hello"), "{answer:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_command_is_rejected_and_says_who_disabled_it() {
    let cluster = Cluster::start_with(|worker| worker.arguments(&["--disable", "hello"])).await;
    let outcome = cluster.run("hello", r#"{"name": "Ada"}"#).await;
    assert_eq!(outcome.state(), CommandState::Rejected, "{outcome:#?}");
    let error = outcome.error.expect("an error");
    assert_eq!(error.code, error_code::DISABLED, "{error:?}");

    let shown = cluster.operator.show(cluster.node()).await;
    let hello = shown
        .handlers
        .iter()
        .find(|it| it.name == "hello")
        .expect("it is listed");
    assert!(
        !hello.enabled && !hello.disabled_reason.is_empty(),
        "{hello:?}"
    );
}

/// `default = "disabled"` leaves what the node names.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_can_allow_a_few_commands_and_no_others() {
    let cluster = Cluster::start_with(|worker| {
        worker.config("[handlers]\ndefault = \"disabled\"\n\n[handlers.hello]\nenabled = true\n")
    })
    .await;
    let outcome = cluster.run("hello", r#"{"name": "Ada"}"#).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    let outcome = cluster.run("unruly.panic", r#"{"message": "never"}"#).await;
    assert_eq!(outcome.error.expect("an error").code, error_code::DISABLED);
}

/// Only some may give the command.
#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_the_node_does_not_list_is_refused() {
    let cluster = Cluster::start_with(|worker| {
        worker.config("[handlers.hello]\nissuers = [\"somebody-else\"]\n")
    })
    .await;
    let outcome = cluster.run("hello", r#"{"name": "Ada"}"#).await;
    assert_eq!(outcome.state(), CommandState::Rejected, "{outcome:#?}");
    assert_eq!(
        outcome.error.expect("an error").code,
        error_code::NOT_PERMITTED
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_for_a_node_that_does_not_exist_is_refused() {
    let controller = Controller::start().await;
    let node = uuid::Uuid::new_v4().to_string();
    let error = controller
        .operator()
        .submit(&node, "hello", "{}")
        .await
        .expect_err("refused");
    assert_eq!(error.code(), tonic::Code::NotFound, "{error:?}");
}
