use std::{fs, time::Duration};

use aegis_proto::{
    error_code,
    operator::v1::{CommandView, Selector, SubmitCommandRequest, selector::Selector as Choice},
    worker::v1::CommandState,
};
use aegis_tests::Cluster;

async fn run_for_a_second(cluster: &Cluster, name: &str, file: &std::path::Path) -> CommandView {
    let request = SubmitCommandRequest {
        selector: Some(Selector {
            selector: Some(Choice::Node(cluster.node().to_owned())),
        }),
        name: name.to_owned(),
        payload: format!(r#"{{"file": {file:?}}}"#).into_bytes(),
        timeout: Some(Duration::from_secs(1).try_into().expect("a duration")),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let answer = cluster
        .operator
        .rpc
        .clone()
        .submit_command(request)
        .await
        .expect("committed");
    let command = answer.into_inner().commands.remove(0);
    cluster.operator.outcome(&command.command_id).await
}

/// Whether it ends when asked, when dropped, or not at all, the command has its
/// outcome and what comes next is not held up.
#[tokio::test(flavor = "multi_thread")]
async fn an_overrun_timeout_ends_the_command_and_not_the_worker() {
    let mut cluster = Cluster::start().await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let never = folder.path().join("never");

    for (name, state) in [
        ("unruly.wait", CommandState::Cancelled),
        ("unruly.ignore", CommandState::Cancelled),
        ("unruly.block", CommandState::Unknown),
        ("unruly.lie", CommandState::Unknown),
    ] {
        let outcome = run_for_a_second(&cluster, name, &never).await;
        assert_eq!(outcome.state(), state, "{name}: {outcome:#?}");
        let error = outcome.error.expect("an error");
        let codes = [error_code::DEADLINE_EXCEEDED, error_code::ABANDONED];
        assert!(codes.contains(&error.code.as_str()), "{name}: {error:?}");
        // Neither its neighbours in the plugin nor other plugins wait for it.
        let outcome = cluster.run("unruly.flood", r#"{"kib": 1}"#).await;
        assert_eq!(
            outcome.state(),
            CommandState::Succeeded,
            "after {name}: {outcome:#?}"
        );
        let outcome = cluster.run("hello", r#"{"name": "Ada"}"#).await;
        assert_eq!(
            outcome.state(),
            CommandState::Succeeded,
            "after {name}: {outcome:#?}"
        );
    }
    assert!(cluster.program.runs());

    // Drain has its own capacity although a handler hangs.
    let outcome = cluster.run("drain", r#"{"drain": true}"#).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    fs::write(&never, "").expect("the handler may end now");
}
