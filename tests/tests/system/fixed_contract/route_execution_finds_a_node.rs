use aegis_proto::cluster::v1::{NodeCapabilities, NodeStatus};
use aegis_tests::{Controller, FixedClient};
use tonic::Code;

async fn node(controller: &Controller, gpus: u32, tags: &[&str]) -> FixedClient {
    let mut client = FixedClient::new(&controller.endpoint());
    client.capabilities.gpu_count = gpus;
    client.capabilities.tags = tags.iter().map(|it| (*it).to_owned()).collect();
    client.grpc_address = format!("10.0.0.{gpus}:50057");
    client
        .join(&controller.enrolment_token().await)
        .await
        .expect("it joins");
    client
        .heartbeat(NodeStatus::Active)
        .await
        .expect("a heartbeat");
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_is_routed_to_an_active_node_that_can_run_it() {
    let controller = Controller::start().await;
    let mut plain = node(&controller, 0, &[]).await;
    let mut one = node(&controller, 1, &["slow"]).await;
    let mut two = node(&controller, 2, &["fast"]).await;

    let needs = |gpu_count| NodeCapabilities {
        gpu_count,
        ..NodeCapabilities::default()
    };
    let target = plain.route(needs(2), &[]).await.expect("a node");
    assert_eq!(target.target_node_id, two.node_id);
    assert_eq!(target.worker_grpc_address, two.grpc_address);

    // A preference decides between nodes that all can.
    let target = plain.route(needs(1), &["fast"]).await.expect("a node");
    assert_eq!(target.target_node_id, two.node_id);
    let target = plain.route(needs(1), &["slow"]).await.expect("a node");
    assert_eq!(target.target_node_id, one.node_id);
    // It is no requirement.
    plain.route(needs(1), &["nowhere"]).await.expect("a node");

    // A draining node takes nothing new, nor does one that left.
    two.heartbeat(NodeStatus::Draining)
        .await
        .expect("a heartbeat");
    let target = plain.route(needs(1), &["fast"]).await.expect("a node");
    assert_eq!(target.target_node_id, one.node_id);
    one.deregister("done").await.expect("an answer");
    let error = plain.route(needs(1), &[]).await.expect_err("none is left");
    assert!(
        matches!(
            error.code(),
            Code::NotFound | Code::FailedPrecondition | Code::ResourceExhausted | Code::Unavailable
        ),
        "{error:?}",
    );

    let wasm = NodeCapabilities {
        supported_runtimes: vec!["wasm".into()],
        ..needs(0)
    };
    assert_eq!(
        plain.route(wasm, &[]).await.expect("a node").target_node_id,
        plain.node_id
    );
    let absent = NodeCapabilities {
        supported_runtimes: vec!["jvm".into()],
        ..needs(0)
    };
    plain
        .route(absent, &[])
        .await
        .expect_err("no node has that runtime");
}
