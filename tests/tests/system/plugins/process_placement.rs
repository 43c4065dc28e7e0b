use aegis_proto::worker::v1::CommandState;
use aegis_tests::{Cluster, eventually};
use serde_json::Value;

/// The same files, the same commands, the same outcomes, wherever they run.
async fn a_worker_with_its_plugins(placement: &str) {
    let section = format!("[plugins]\ndefault_placement = {placement:?}\n");
    let mut cluster = Cluster::start_with(|worker| worker.config(&section)).await;
    let operator = cluster.operator.clone();
    let node = cluster.node().to_owned();
    let shown = operator.show(&node).await;
    for name in ["hello-plugin", "unruly"] {
        let plugin = shown.plugins.iter().find(|it| it.name == name);
        let plugin = plugin.expect("it is in the inventory");
        assert_eq!(
            (plugin.placement.as_str(), plugin.state.as_str()),
            (placement, "active")
        );
        assert_eq!(plugin.sha256.len(), 32);
    }

    let outcome = cluster.run("hello", r#"{"name": "Ada"}"#).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    let response: Value = serde_json::from_slice(&outcome.response).expect("JSON");
    assert_eq!(response["text"], "hello, Ada");

    let refused = cluster.run("hello", r#"{"nome": "Ada"}"#).await;
    assert_eq!(refused.state(), CommandState::Rejected, "{refused:#?}");

    let flooded = cluster.run("unruly.flood", r#"{"kib": 3072}"#).await;
    assert_eq!(flooded.state(), CommandState::Succeeded, "{flooded:#?}");
    let kept = operator.command(&flooded.command_id).await.output.len();
    assert_eq!(kept as u64 + flooded.output_cut, 3072 * 1024);

    let bloated = cluster.run("unruly.bloat", r#"{"kib": 2048}"#).await;
    assert_eq!(bloated.state(), CommandState::Failed, "{:?}", bloated.error);

    for round in 0..2 {
        let panicked = cluster.run("unruly.panic", r#"{"message": "oh no"}"#).await;
        assert_eq!(
            panicked.state(),
            CommandState::Failed,
            "{round}: {panicked:#?}"
        );
        let error = panicked.error.expect("an error");
        assert_eq!(error.code, "panicked", "{error:?}");
        assert!(error.message.contains("oh no"), "{error:?}");
    }

    // Progress is seen while it runs, and a cancel reaches it.
    let folder = tempfile::tempdir().expect("a temporary directory");
    let never = format!(r#"{{"file": {:?}}}"#, folder.path().join("never"));
    let waiting = operator.submit(&node, "unruly.wait", &never).await;
    let id = waiting.expect("committed").command_id;
    eventually("its progress", async || {
        let command = operator.command(&id).await.command?;
        (command.progress?.note == "waiting").then_some(())
    })
    .await;
    let answer = cluster
        .controller
        .ctl()
        .run(&["command", "cancel", &id])
        .await;
    assert_eq!(answer.code, 0, "{answer:#?}");
    let cancelled = operator.outcome(&id).await;
    assert_eq!(cancelled.state(), CommandState::Cancelled, "{cancelled:#?}");

    // What it keeps for its next attempt is there after a crash of the worker.
    let counting = operator
        .submit(&node, "hello.count", r#"{"to": 40, "pause_ms": 50}"#)
        .await
        .expect("committed")
        .command_id;
    eventually("it has come to 3", async || {
        let output = operator.command(&counting).await.output;
        let output = String::from_utf8(output).expect("UTF-8");
        output.lines().any(|line| line == "3").then_some(())
    })
    .await;
    cluster.program.kill().await;
    cluster.program = cluster.worker.start();
    let counted = operator.outcome(&counting).await;
    assert_eq!(counted.state(), CommandState::Succeeded, "{counted:#?}");
    let response: Value = serde_json::from_slice(&counted.response).expect("JSON");
    assert!(
        response["resumed_from"].as_u64().expect("a number") >= 2,
        "{response}"
    );

    cluster.program.terminate();
    assert_eq!(cluster.program.exit_code().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_do_their_work_in_the_workers_process() {
    a_worker_with_its_plugins("in-process").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_do_their_work_in_processes_of_their_own() {
    a_worker_with_its_plugins("process").await;
}
