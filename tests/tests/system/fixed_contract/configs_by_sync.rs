use aegis_tests::{FixedController, PluginDir, Rpc, Seen, Worker};
use tonic::Status;

fn told(version: &str) -> impl Fn(&Seen) -> bool {
    move |seen| matches!(seen, Seen::SyncConfig(it) if it.current_config_version == version)
}

fn offer(controller: &FixedController, version: &str, document: &str) {
    let config = Some((version.to_owned(), document.as_bytes().to_vec()));
    controller.script(|script| script.config = config);
}

fn worker(controller: &FixedController, plugins: &PluginDir) -> Worker {
    let line = "min_heartbeat_interval = \"100ms\"";
    let probation = format!("{line}\nconfig_probation = \"300ms\"");
    Worker::new(&controller.endpoint())
        .token("an-enrolment-token")
        .plugins(plugins)
        .replace(line, &probation)
}

/// Its token still lasts, so it does not register again: it asks all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_lost_its_connection_asks_for_its_config_again() {
    let controller = FixedController::start().await;
    let plugins = PluginDir::empty();
    let worker = worker(&controller, &plugins);
    let _program = worker.start();
    controller.until_count("a question", 1, told("")).await;
    let heartbeat = |seen: &Seen| matches!(seen, Seen::Heartbeat(_));
    controller.until_count("heartbeats", 2, heartbeat).await;

    offer(&controller, "v1", r#"{"site": 1}"#);
    controller.script(|script| {
        let failure = (Rpc::Heartbeat, Status::unavailable("a cable"));
        script.failures.push_back(failure);
    });
    controller
        .until_count("another question", 2, told(""))
        .await;
    controller
        .until_count("it is in force", 1, told("v1"))
        .await;
    let registered = |seen: &&Seen| matches!(seen, Seen::Register(_));
    assert_eq!(controller.seen().iter().filter(registered).count(), 1);
}

/// The one that kills the worker is offered with every registration, and takes
/// it down once.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadly_config_kills_once_however_often_it_is_offered() {
    let controller = FixedController::start().await;
    let plugins = PluginDir::with(&["moody_plugin"]);
    let worker = worker(&controller, &plugins);
    offer(
        &controller,
        "v1",
        r#"{"plugins": {"moody": {"mood": "calm"}}}"#,
    );
    let mut program = worker.start();
    controller
        .until_count("it is in force", 1, told("v1"))
        .await;
    program.says("has proved itself").await;
    program.kill().await;

    offer(
        &controller,
        "v2",
        r#"{"plugins": {"moody": {"mood": "deadly"}}}"#,
    );
    let mut program = worker.start();
    assert!(!program.exit().await.success());
    for life in 0..2 {
        let before = controller.seen().iter().filter(|it| told("v1")(it)).count();
        let mut program = worker.start();
        controller
            .until_count("the good one is told", before + 1, told("v1"))
            .await;
        if life == 0 {
            program.says("going back to the last good one").await;
        }
        let beats = |seen: &Seen| matches!(seen, Seen::Heartbeat(_));
        let count = controller.seen().iter().filter(|it| beats(it)).count();
        controller.until_count("it lives", count + 3, beats).await;
        assert!(program.runs());
        program.kill().await;
    }
    assert!(!controller.seen().iter().any(|it| told("v2")(it)));
}
