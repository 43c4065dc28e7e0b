use std::{fs, os::unix::fs::PermissionsExt};

use aegis_tests::{Answer, Cluster, Worker};
use serde_json::Value;

async fn list(worker: &Worker, arguments: &[&str]) -> Answer {
    worker
        .run(&[&["journal", "list"], arguments].concat())
        .await
}

async fn lines(worker: &Worker, arguments: &[&str]) -> Vec<Value> {
    let answer = list(worker, &[arguments, &["-o", "json"]].concat()).await;
    assert_eq!(answer.code, 0, "{answer:#?}");
    let listing: Value = serde_json::from_str(&answer.stdout).expect("JSON");
    assert_eq!(listing["left_off"], 0);
    listing["lines"].as_array().expect("lines").clone()
}

/// What runs and what is over, asked of the worker that runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_listed_beside_a_running_worker() {
    let cluster = Cluster::start().await;
    let operator = &cluster.operator;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let end = folder.path().join("end");
    let payload = format!(r#"{{"file": {end:?}}}"#);
    let over = cluster.run("hello", r#"{"name": "Ada"}"#).await;
    let long = operator
        .submit(cluster.node(), "unruly.wait", &payload)
        .await
        .expect("committed");
    operator.until_running(&long.command_id).await;

    let open = lines(&cluster.worker, &["--open"]).await;
    assert_eq!(open.len(), 1, "{open:#?}");
    assert_eq!(open[0]["command_id"], long.command_id);
    assert_eq!(open[0]["name"], "unruly.wait");
    assert_eq!(open[0]["state"], "running");
    assert_eq!(open[0]["attempt"], 1);
    assert_eq!(open[0]["outbox"], "empty");
    assert!(open[0]["started_at"].is_string(), "{open:#?}");

    let all = lines(&cluster.worker, &["--all"]).await;
    let ended = all.iter().find(|it| it["command_id"] == over.command_id);
    assert_eq!(ended.expect("it is remembered")["state"], "succeeded");

    let table = list(&cluster.worker, &[]).await;
    assert_eq!(table.code, 0, "{table:#?}");
    assert!(table.stdout.starts_with("COMMAND ID"), "{table:#?}");
    assert!(table.stdout.contains(&long.command_id), "{table:#?}");

    let socket = cluster.worker.state_dir().join("worker.sock");
    let mode = fs::metadata(socket).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// What a killed worker left, and what a stopped one did; and nobody mistakes
/// damage for an empty journal.
#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_listed_without_a_worker() {
    let mut cluster = Cluster::start().await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let payload = format!(r#"{{"file": {:?}}}"#, folder.path().join("never"));
    let long = cluster
        .operator
        .submit(cluster.node(), "unruly.wait", &payload)
        .await
        .expect("committed");
    cluster.operator.until_running(&long.command_id).await;
    cluster.program.kill().await;

    let open = lines(&cluster.worker, &["--open"]).await;
    assert_eq!(open.len(), 1, "{open:#?}");
    assert_eq!(open[0]["command_id"], long.command_id);
    assert_eq!(open[0]["state"], "running");
    assert!(open[0]["accepted_at"].is_string(), "{open:#?}");

    let journal = cluster.worker.state_dir().join("journal.redb");
    fs::write(&journal, "no database").expect("it is ours");
    let answer = list(&cluster.worker, &[]).await;
    assert_eq!(answer.code, 1, "{answer:#?}");
    assert!(answer.stderr.contains("journal is damaged"), "{answer:#?}");
    let left = fs::read_to_string(&journal).expect("it is where it was");
    assert_eq!(left, "no database");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_in_which_no_worker_ever_ran_is_said_to_be_none() {
    let worker = Worker::new("http://127.0.0.1:1");
    let answer = list(&worker, &[]).await;
    assert_eq!(answer.code, 1, "{answer:#?}");
    assert!(answer.stderr.contains("--state-dir"), "{answer:#?}");
    assert!(!worker.state_dir().exists(), "nothing was made");
}
