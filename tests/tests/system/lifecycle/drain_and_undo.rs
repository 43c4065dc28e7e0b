use aegis_proto::{
    cluster::v1::NodeStatus, error_code, operator::v1::NodeView, worker::v1::CommandState,
};
use aegis_tests::Cluster;

fn status(view: &NodeView) -> NodeStatus {
    view.info
        .as_ref()
        .map(|info| info.status())
        .unwrap_or_default()
}

/// "Drained" is said only once the last handler has returned; meanwhile new
/// work is refused; and all of it can be undone.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_the_running_command_and_can_be_undone() {
    let cluster = Cluster::start().await;
    let operator = &cluster.operator;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let end = folder.path().join("end");
    let payload = format!(r#"{{"file": {end:?}}}"#);
    let long = operator
        .submit(cluster.node(), "unruly.wait", &payload)
        .await
        .expect("committed");
    operator.until_running(&long.command_id).await;

    let drain = cluster.run("drain", r#"{"drain": true}"#).await;
    assert_eq!(drain.state(), CommandState::Succeeded, "{drain:#?}");
    let view = operator
        .until_node(cluster.node(), "it drains", |view| {
            status(view) == NodeStatus::Draining && view.drain.is_some()
        })
        .await;
    let drain = view.drain.expect("the drain");
    assert!(
        drain.finished_at.is_none(),
        "a handler still runs: {drain:?}"
    );
    assert_eq!(drain.in_flight.len(), 1);
    assert_eq!(drain.in_flight[0].command_id, long.command_id);
    assert_eq!(drain.in_flight[0].plugin, "unruly");

    let refused = cluster.run("hello", r#"{"name": "Ada"}"#).await;
    assert_eq!(refused.state(), CommandState::Rejected, "{refused:#?}");
    let error = refused.error.expect("an error");
    assert_eq!(error.code, error_code::DRAINING);
    assert!(error.retryable, "{error:?}");

    let undo = cluster.run("drain", r#"{"drain": false}"#).await;
    assert_eq!(undo.state(), CommandState::Succeeded, "{undo:#?}");
    let active = |view: &NodeView| status(view) == NodeStatus::Active && view.drain.is_none();
    operator
        .until_node(cluster.node(), "it is active again", active)
        .await;
    let outcome = cluster.run("hello", r#"{"name": "Ada"}"#).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    // The long command went on through all of that.
    let now = operator
        .command(&long.command_id)
        .await
        .command
        .expect("the command");
    assert_eq!(now.state(), CommandState::Running, "{now:#?}");

    // Once more, to the end.
    cluster.run("drain", r#"{"drain": true}"#).await;
    std::fs::write(&end, "").expect("the directory is ours");
    assert_eq!(
        operator.outcome(&long.command_id).await.state(),
        CommandState::Succeeded
    );
    let drained = |view: &NodeView| {
        view.drain
            .as_ref()
            .is_some_and(|drain| drain.finished_at.is_some())
    };
    operator
        .until_node(cluster.node(), "it is drained", drained)
        .await;
}

/// The command line follows the drain to its end.
#[tokio::test(flavor = "multi_thread")]
async fn aegisctl_drains_and_undoes() {
    let cluster = Cluster::start().await;
    let ctl = cluster.controller.ctl();
    let answer = ctl.run(&["drain", cluster.node()]).await;
    assert_eq!(answer.code, 0, "{answer:#?}");
    let view = cluster.operator.until_session(cluster.node()).await;
    assert_eq!(status(&view), NodeStatus::Draining);
    let answer = ctl.run(&["drain", cluster.node(), "--undo"]).await;
    assert_eq!(answer.code, 0, "{answer:#?}");
    let active = |view: &NodeView| status(view) == NodeStatus::Active;
    cluster
        .operator
        .until_node(cluster.node(), "it is active again", active)
        .await;
}

/// Past its deadline a drain cancels what still runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_past_its_deadline_cancels_what_runs() {
    let cluster = Cluster::start().await;
    let operator = &cluster.operator;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let payload = format!(r#"{{"file": {:?}}}"#, folder.path().join("never"));
    let long = operator
        .submit(cluster.node(), "unruly.wait", &payload)
        .await
        .expect("committed");
    operator.until_running(&long.command_id).await;
    cluster
        .run("drain", r#"{"drain": true, "deadlineMs": 300}"#)
        .await;
    let outcome = operator.outcome(&long.command_id).await;
    assert_eq!(outcome.state(), CommandState::Cancelled, "{outcome:#?}");
    let drained = |view: &NodeView| {
        view.drain
            .as_ref()
            .is_some_and(|drain| drain.finished_at.is_some())
    };
    operator
        .until_node(cluster.node(), "it is drained", drained)
        .await;
}
