use aegis_proto::worker::v1::CommandState;
use aegis_tests::{Controller, PluginDir, Worker};

/// A worker that was suspended until its token was long worthless comes back
/// by its key, finishes what it ran, and runs what came meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_slept_beyond_its_token_loses_nothing() {
    let controller = Controller::start_with(&["--token-ttl", "2s"]).await;
    let operator = controller.operator();
    let plugins = PluginDir::with(&["hello_plugin", "unruly_plugin"]);
    let worker = Worker::new(&controller.endpoint())
        .token(&controller.enrolment_token().await)
        .plugins(&plugins);
    let program = worker.start();
    operator.until_session(worker.node_id()).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let end = folder.path().join("end");
    let payload = format!(r#"{{"file": {end:?}}}"#);
    let node = worker.node_id().to_owned();
    let long = operator
        .submit(&node, "unruly.wait", &payload)
        .await
        .expect("committed");
    operator.until_running(&long.command_id).await;

    program.suspend();
    std::fs::write(&end, "").expect("the directory is ours");
    // Longer than any token that it can have.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    let meanwhile = operator
        .submit(&node, "hello", r#"{"name": "you"}"#)
        .await
        .expect("committed");
    program.resume();

    for command in [&long, &meanwhile] {
        let outcome = operator.outcome(&command.command_id).await;
        assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
        assert_eq!(outcome.attempt, 1);
    }
}
