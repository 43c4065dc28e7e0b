use std::fs;

use aegis_proto::{operator::v1::NodeView, worker::v1::CommandState};
use aegis_tests::Cluster;

fn version(view: &NodeView) -> &str {
    view.config
        .as_ref()
        .map(|it| it.active_version.as_str())
        .unwrap_or_default()
}

async fn push(cluster: &Cluster, document: &str) -> aegis_tests::Answer {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("config.json");
    fs::write(&file, document).expect("the directory is ours");
    let file = file.to_str().expect("UTF-8");
    cluster
        .controller
        .ctl()
        .run(&["push-config", cluster.node(), file])
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_config_is_applied_and_acknowledged() {
    let cluster = Cluster::start().await;
    let answer = push(&cluster, r#"{"site": {"name": "lab"}}"#).await;
    assert_eq!(answer.code, 0, "{answer:#?}");
    let acknowledged = |view: &NodeView| {
        !view.wanted_config_version.is_empty() && version(view) == view.wanted_config_version
    };
    cluster
        .operator
        .until_node(cluster.node(), "it is acknowledged", acknowledged)
        .await;
}

/// Whatever is wrong with it, the last good one stays in force and the
/// operator hears at which step it failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_the_node_cannot_take_leaves_the_last_good_one() {
    let cluster = Cluster::start().await;
    let operator = &cluster.operator;
    assert_eq!(
        push(&cluster, r#"{"worker": {"log_level": "debug"}}"#)
            .await
            .code,
        0
    );
    let applied = |view: &NodeView| !version(view).is_empty();
    let view = operator
        .until_node(cluster.node(), "the first is in force", applied)
        .await;
    let good = version(&view).to_owned();

    let answer = push(
        &cluster,
        r#"{"worker": {"log_level": 7, "no_such_key": true}}"#,
    )
    .await;
    assert_eq!(answer.code, 1, "{answer:#?}");
    let rejected = |view: &NodeView| {
        view.config
            .as_ref()
            .is_some_and(|it| !it.attempt_succeeded && it.attempted_version != good)
    };
    let view = operator
        .until_node(cluster.node(), "the refusal is told", rejected)
        .await;
    let status = view.config.expect("its status");
    assert_eq!(status.active_version, good);
    assert_eq!(status.failed_step, "validate", "{status:?}");
    assert!(!status.reason.is_empty());
}

/// The config survives a restart of the worker and is not pushed again.
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_worker_still_has_its_config() {
    let mut cluster = Cluster::start().await;
    assert_eq!(push(&cluster, r#"{"site": 1}"#).await.code, 0);
    let applied = |view: &NodeView| !version(view).is_empty();
    let before = cluster
        .operator
        .until_node(cluster.node(), "it is in force", applied)
        .await;
    cluster.program.kill().await;
    cluster.program = cluster.worker.start();
    cluster.program.says("registered").await;
    let view = cluster
        .operator
        .until_node(cluster.node(), "it is in force", applied)
        .await;
    assert_eq!(version(&view), version(&before));
}

/// What the fleet may say is bounded by what the node's own file allows.
#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_config_narrows_what_a_node_runs_and_never_widens_it() {
    let cluster = Cluster::start_with(|worker| worker.arguments(&["--disable", "hello"])).await;
    push(
        &cluster,
        r#"{"worker": {"handlers": {"hello": {"enabled": true}}}}"#,
    )
    .await;
    let outcome = cluster.run("hello", r#"{"name": "Ada"}"#).await;
    assert_eq!(outcome.state(), CommandState::Rejected, "{outcome:#?}");
}
