use std::fs;

use aegis_proto::worker::v1::CommandState;
use aegis_tests::{Answer, Cluster, PluginDir, Program, eventually};
use serde_json::Value;
use tempfile::TempDir;

const GOOD: &str = r#"{"plugins": {"moody": {"mood": "calm"}}, "site": 1}"#;

/// A worker whose configs are on probation for so long.
async fn cluster(probation: &str) -> Cluster {
    let line = "min_heartbeat_interval = \"100ms\"";
    let probation = format!("{line}\nconfig_probation = \"{probation}\"");
    let plugins = PluginDir::with(&["hello_plugin", "moody_plugin"]);
    Cluster::start_in(plugins, |worker| worker.replace(line, &probation)).await
}

fn file(document: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("config.json");
    fs::write(&file, document).expect("the directory is ours");
    let file = file.to_str().expect("UTF-8").to_owned();
    (folder, file)
}

async fn push(cluster: &Cluster, document: &str) -> Answer {
    let (_folder, file) = file(document);
    let ctl = cluster.controller.ctl();
    ctl.run(&["push-config", cluster.node(), &file]).await
}

/// The same for a worker that does not live to see its end.
fn push_to_death(cluster: &Cluster, file: &str) -> Program {
    let ctl = cluster.controller.ctl();
    ctl.spawn(&["push-config", cluster.node(), file])
}

/// Pushes the good config and waits until it is known to be good. Its version.
async fn settle(cluster: &Cluster) -> Value {
    let answer = push(cluster, GOOD).await;
    assert_eq!(answer.code, 0, "{answer:#?}");
    cluster.program.says("has proved itself").await;
    let version = status(cluster).await["active_version"].clone();
    assert!(version.is_string(), "{version}");
    version
}

/// The node's config, as an operator sees it.
async fn status(cluster: &Cluster) -> Value {
    let ctl = cluster.controller.ctl();
    let mut shown = ctl.json(&["node", "show", cluster.node()]).await;
    shown.remove(0)["config"].take()
}

async fn until_failed_at(cluster: &Cluster, step: &str) -> Value {
    eventually(
        &format!("it is told to have failed at {step}"),
        async || {
            let status = status(cluster).await;
            (status["failed_step"] == step).then_some(status)
        },
    )
    .await
}

/// The good config is in force, the controller knows, and the node still works.
async fn is_good(cluster: &Cluster, good: &Value, status: &Value) {
    assert_eq!(status["active_version"], *good, "{status:#}");
    assert_eq!(status["attempt_succeeded"], false, "{status:#}");
    assert_ne!(status["attempted_version"], *good, "{status:#}");
    assert!(status["reason"].as_str().is_some_and(|it| !it.is_empty()));
    let told = cluster.run("moody.tell", "{}").await;
    assert_eq!(told.state(), CommandState::Succeeded, "{told:#?}");
    assert_eq!(told.response, b"\"Calm\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_is_no_json_is_refused() {
    let cluster = cluster("300ms").await;
    let good = settle(&cluster).await;
    // `{"a":` in base64.
    let payload = r#"{"configVersion": "broken", "configPayload": "eyJhIjo="}"#;
    let outcome = cluster.run("push-config", payload).await;
    assert_eq!(outcome.state(), CommandState::Failed, "{outcome:#?}");
    let status = until_failed_at(&cluster, "decode").await;
    is_good(&cluster, &good, &status).await;
    assert_eq!(status["rolled_back_to"], Value::Null, "nothing had to be");
    let tail = status["log_tail"].as_array().expect("lines");
    let told = |line: &Value| line.as_str().is_some_and(|it| it.contains("was rejected"));
    assert!(tail.iter().any(told), "{status:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_with_an_unknown_setting_is_refused() {
    let cluster = cluster("300ms").await;
    let good = settle(&cluster).await;
    let answer = push(&cluster, r#"{"worker": {"no_such_key": 1}}"#).await;
    assert_eq!(answer.code, 1, "{answer:#?}");
    let status = until_failed_at(&cluster, "validate").await;
    is_good(&cluster, &good, &status).await;
}

/// One plugin has taken its part when the next refuses: it gets back what it
/// had.
#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_a_plugin_refuses_is_undone() {
    let cluster = cluster("300ms").await;
    let good = settle(&cluster).await;
    let document = r#"{"plugins": {"hello-plugin": {}, "moody": {"mood": "stubborn"}}}"#;
    let answer = push(&cluster, document).await;
    assert_eq!(answer.code, 1, "{answer:#?}");
    let status = until_failed_at(&cluster, "apply").await;
    is_good(&cluster, &good, &status).await;
    assert_eq!(status["rolled_back_to"], good, "{status:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_under_which_a_plugin_panics_is_undone() {
    let cluster = cluster("3s").await;
    let good = settle(&cluster).await;
    let answer = push(&cluster, r#"{"plugins": {"moody": {"mood": "nervous"}}}"#).await;
    assert_eq!(answer.code, 0, "{answer:#?}");
    let told = cluster.run("moody.tell", "{}").await;
    assert_eq!(told.state(), CommandState::Failed, "{told:#?}");
    let status = until_failed_at(&cluster, "health").await;
    is_good(&cluster, &good, &status).await;
    assert_eq!(status["rolled_back_to"], good, "{status:#}");
}

/// Of a config that takes the worker with it, the next start is rid.
#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_kills_the_worker_does_so_once() {
    let mut cluster = cluster("300ms").await;
    let good = settle(&cluster).await;
    let (_folder, file) = file(r#"{"plugins": {"moody": {"mood": "deadly"}}}"#);
    let mut ctl = push_to_death(&cluster, &file);
    assert!(!cluster.program.exit().await.success());
    cluster.program = cluster.worker.start();
    cluster
        .program
        .says("going back to the last good one")
        .await;
    cluster.operator.until_session(cluster.node()).await;
    assert_eq!(ctl.exit_code().await, 1, "the push failed in the end");
    let status = until_failed_at(&cluster, "health").await;
    is_good(&cluster, &good, &status).await;
    assert_eq!(status["rolled_back_to"], good, "{status:#}");
    assert!(cluster.program.runs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_under_which_the_controller_is_out_of_reach_is_undone() {
    let mut cluster = cluster("2s").await;
    let good = settle(&cluster).await;
    let answer = push(&cluster, r#"{"site": 2}"#).await;
    assert_eq!(answer.code, 0, "{answer:#?}");
    cluster.controller.program.kill().await;
    cluster
        .program
        .says("the pushed config does this node no good")
        .await;
    cluster.controller.restart().await;
    cluster.operator.until_session(cluster.node()).await;
    let status = until_failed_at(&cluster, "health").await;
    is_good(&cluster, &good, &status).await;
    assert_eq!(status["rolled_back_to"], good, "{status:#}");
}

/// Killed at any point on the way, a worker ends with one config, and the
/// controller knows which.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_on_the_way_ends_with_one_config() {
    let mut cluster = cluster("300ms").await;
    let good = settle(&cluster).await;
    for (number, point) in [
        "config.on-trial",
        "config.applied",
        "config.acknowledging",
        "config.stored",
        "config.survived",
    ]
    .into_iter()
    .enumerate()
    {
        cluster.program.kill().await;
        cluster.program = cluster.worker.start_with("AEGIS_KILL_POINT", point);
        cluster.operator.until_session(cluster.node()).await;
        let document = format!(r#"{{"plugins": {{"moody": {{}}}}, "site": "{number}"}}"#);
        let (_folder, file) = file(&document);
        let mut ctl = push_to_death(&cluster, &file);
        assert!(!cluster.program.exit().await.success(), "{point}");
        cluster.program = cluster.worker.start();
        let code = ctl.exit_code().await;
        if !matches!(point, "config.stored" | "config.survived") {
            assert_eq!(code, 1, "{point}");
            let status = until_failed_at(&cluster, "health").await;
            is_good(&cluster, &good, &status).await;
            assert_eq!(status["rolled_back_to"], good, "{point}: {status:#}");
            continue;
        }
        // What was not in force yet is tried anew; what has proved itself stays.
        assert_eq!(code, 0, "{point}");
        let status = eventually(&format!("{point}: it is told to be in force"), async || {
            let status = status(&cluster).await;
            (status["attempt_succeeded"] == true).then_some(status)
        })
        .await;
        assert_ne!(status["active_version"], good, "{point}: {status:#}");
        assert_eq!(status["active_version"], status["wanted_version"]);
        if point == "config.stored" {
            cluster.program.says("has proved itself").await;
        }
    }
}
