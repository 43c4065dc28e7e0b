use aegis_proto::worker::v1::CommandState;
use aegis_tests::{Controller, PluginDir, Proxy, Worker};

/// Packets vanish and nobody closes anything: the worker notices by itself and
/// is back on a new connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_black_holed_connection_is_noticed_and_replaced() {
    let controller = Controller::start().await;
    let operator = controller.operator();
    let proxy = Proxy::start(&controller.endpoint()).await;
    let plugins = PluginDir::with(&["hello_plugin"]);
    let worker = Worker::new(&proxy.endpoint())
        .token(&controller.enrolment_token().await)
        .plugins(&plugins);
    let mut program = worker.start();
    operator.until_session(worker.node_id()).await;
    let outcome = operator
        .run(worker.node_id(), "hello", r#"{"name": "before"}"#)
        .await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");

    proxy.black_hole();
    // Committed while the way is dead, delivered again on the new one.
    let outcome = operator
        .run(worker.node_id(), "hello", r#"{"name": "after"}"#)
        .await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    assert!(program.runs());
}
