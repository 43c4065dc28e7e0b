//! RouteExecution.

use aegis_proto::cluster::v1::{
    NodeCapabilities, NodeStatus, RouteExecutionInner, RouteExecutionRequest,
    RouteExecutionResponse,
};
use tonic::{Code, Status};

use crate::peer::{Controller, Node};

async fn route(
    controller: &Controller,
    asker: &Node,
    required: NodeCapabilities,
    preferred: &[&str],
) -> Result<RouteExecutionResponse, Status> {
    let inner = RouteExecutionInner {
        execution_id: "e".into(),
        required_capabilities: Some(required),
        preferred_tags: preferred.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    let request = RouteExecutionRequest {
        envelope: asker.seal(&inner),
    };
    Ok(controller
        .cluster()
        .route_execution(request)
        .await?
        .into_inner())
}

#[tokio::test]
async fn an_execution_goes_to_a_fitting_node() {
    let controller = Controller::start().await;
    let small = controller.node().await;
    let large = controller
        .node_with(|has| {
            has.gpu_count = 2;
            has.supported_runtimes = vec!["python".into()];
        })
        .await;
    let required = NodeCapabilities {
        gpu_count: 1,
        supported_runtimes: vec!["python".into()],
        ..Default::default()
    };
    for _ in 0..2 {
        let routed = route(&controller, &small, required.clone(), &[])
            .await
            .expect("routed");
        assert_eq!(routed.target_node_id, large.id);
        assert_eq!(routed.worker_grpc_address, "127.0.0.1:7000");
    }
    large
        .heartbeat(&controller, NodeStatus::Draining)
        .await
        .expect("alive");
    let refused = route(&controller, &small, required, &[])
        .await
        .expect_err("none is left");
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test]
async fn among_equals_the_least_loaded_is_taken() {
    let controller = Controller::start().await;
    let (one, other) = (controller.node().await, controller.node().await);
    let mut targets = Vec::new();
    for _ in 0..4 {
        let routed = route(&controller, &one, NodeCapabilities::default(), &[]).await;
        targets.push(routed.expect("routed").target_node_id);
    }
    assert_eq!(targets.iter().filter(|id| **id == one.id).count(), 2);
    assert_eq!(targets.iter().filter(|id| **id == other.id).count(), 2);
}

#[tokio::test]
async fn preferred_tags_come_before_load() {
    let controller = Controller::start().await;
    let plain = controller.node().await;
    let tagged = controller
        .node_with(|has| has.tags = vec!["ssd".into()])
        .await;
    for _ in 0..3 {
        let routed = route(
            &controller,
            &plain,
            NodeCapabilities::default(),
            &["ssd", "x"],
        )
        .await;
        assert_eq!(routed.expect("routed").target_node_id, tagged.id);
    }
}
