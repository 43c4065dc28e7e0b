use aegis_tests::{FixedController, Seen, Worker};

/// A command without a variant is one that the worker is too old to know.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_a_variant_disturbs_nothing() {
    let controller = FixedController::start().await;
    controller.script(|script| script.sends_empty_command = true);
    let worker = Worker::new(&controller.endpoint()).token("t");
    let mut program = worker.start();
    controller
        .until_count("heartbeats go on", 4, |it| matches!(it, Seen::Heartbeat(_)))
        .await;
    assert!(program.runs());
    let joins = controller
        .seen()
        .iter()
        .filter(|it| matches!(it, Seen::Attest(_)))
        .count();
    assert_eq!(joins, 1, "it did not reconnect");
    program.terminate();
    assert_eq!(program.exit_code().await, 0);
}
