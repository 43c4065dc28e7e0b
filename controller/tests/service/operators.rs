//! Who may call the operator API, and what is written down of it.

use aegis_proto::operator::v1::{
    BanNodeRequest, ListAuditRequest, ListEventsRequest, ListNodesRequest, ShowNodeRequest,
    SubmitCommandRequest, WatchNodesRequest,
};
use aegis_proto::{
    cluster::v1::NodeStatus, operator::v1::operator_service_client::OperatorServiceClient,
};
use tonic::Code;

use crate::peer::{Controller, all, only, soon, tag};

#[tokio::test]
async fn nobody_passes_without_the_operators_token() {
    let controller = Controller::start().await;
    let mut bare = OperatorServiceClient::new(controller.channel.clone());
    let refused = bare
        .list_nodes(ListNodesRequest::default())
        .await
        .expect_err("no token");
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(
        refused.message().contains("operator.token"),
        "{}",
        refused.message()
    );
    for wrong in [
        "",
        "wrong",
        "aegis-op-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        let mut operator = controller.operator_with(wrong);
        let refused = operator
            .list_nodes(ListNodesRequest::default())
            .await
            .expect_err(wrong);
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
}

#[tokio::test]
async fn every_changing_call_is_audited_refused_ones_too() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut operator = controller.operator();
    controller
        .submit(only(&node), "drain", r#"{"secret":"payload"}"#)
        .await;
    let request = BanNodeRequest {
        node: "ffffffff".into(),
        reason: "why not".into(),
    };
    operator.ban_node(request).await.expect_err("no such node");

    let audit = operator
        .list_audit(ListAuditRequest::default())
        .await
        .expect("audit");
    let entries = audit.into_inner().entries;
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry.action.as_str(), entry.result.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("CreateEnrolmentToken", "ok"),
            ("SubmitCommand", "ok"),
            ("BanNode", "NOT_FOUND")
        ]
    );
    assert!(
        entries
            .iter()
            .all(|entry| entry.operator == "operator" && entry.at.is_some())
    );
    assert!(entries[1].detail.contains("drain") && !entries[1].detail.contains("secret"));
    assert!(entries[2].detail.contains("why not"));

    let request = ListAuditRequest {
        limit: 1,
        after: entries[0].audit_id,
    };
    let page = operator
        .list_audit(request)
        .await
        .expect("audit")
        .into_inner()
        .entries;
    assert_eq!(page[0].audit_id, entries[1].audit_id);
}

#[tokio::test]
async fn a_selector_that_means_nothing_says_what_to_do() {
    let controller = Controller::start().await;
    let mut operator = controller.operator();
    let submit = |selector| SubmitCommandRequest {
        selector,
        name: "drain".into(),
        ..Default::default()
    };
    let refused = operator
        .submit_command(submit(Some(all())))
        .await
        .expect_err("no nodes");
    assert_eq!(refused.code(), Code::NotFound);
    assert!(
        refused.message().contains("aegisctl enrol"),
        "{}",
        refused.message()
    );
    let node = controller
        .node_with(|has| has.tags = vec!["blue".into()])
        .await;
    let refused = operator
        .submit_command(submit(Some(tag("red"))))
        .await
        .expect_err("no such tag");
    assert_eq!(refused.code(), Code::NotFound);
    let refused = operator
        .submit_command(submit(None))
        .await
        .expect_err("no selector");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let made = operator
        .submit_command(submit(Some(tag("blue"))))
        .await
        .expect("one node");
    assert_eq!(made.into_inner().commands[0].node_id, node.id);
}

#[tokio::test]
async fn a_node_is_found_by_a_unique_prefix() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut operator = controller.operator();
    let request = ShowNodeRequest {
        node: node.id[..6].to_uppercase(),
    };
    let shown = operator
        .show_node(request)
        .await
        .expect("found")
        .into_inner();
    assert_eq!(
        shown.node.and_then(|view| view.info).expect("info").node_id,
        node.id
    );
    for (bad, code) in [("zzz", Code::InvalidArgument), ("", Code::InvalidArgument)] {
        let request = ShowNodeRequest { node: bad.into() };
        assert_eq!(
            operator.show_node(request).await.expect_err(bad).code(),
            code
        );
    }
}

#[tokio::test]
async fn a_watcher_of_nodes_sees_them_and_then_their_changes() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let request = WatchNodesRequest::default();
    let mut views = controller
        .operator()
        .watch_nodes(request)
        .await
        .expect("watched")
        .into_inner();
    let mut next = async || {
        soon(views.message())
            .await
            .expect("a view")
            .expect("a view")
    };
    let first = next().await;
    assert_eq!(first.info.expect("info").node_id, node.id);
    let _session = node
        .session(&controller, node.hello(&["hello"]))
        .await
        .expect("welcome");
    loop {
        let view = next().await;
        if view.transport == "session" {
            assert!(view.connected);
            assert_eq!(view.worker_version, "0.1.0");
            break;
        }
    }
    node.heartbeat(&controller, NodeStatus::Draining)
        .await
        .expect("alive");
    while next().await.info.expect("info").status() != NodeStatus::Draining {}
}

#[tokio::test]
async fn events_can_be_read_page_by_page_and_by_node() {
    let controller = Controller::start().await;
    let (one, _other) = (controller.node().await, controller.node().await);
    let mut operator = controller.operator();
    let request = ListEventsRequest {
        selector: Some(only(&one)),
        ..Default::default()
    };
    let events = operator
        .list_events(request)
        .await
        .expect("events")
        .into_inner()
        .events;
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["node-enrolled", "node-registered"]);
    let request = ListEventsRequest {
        after: events[0].event_id,
        limit: 1,
        selector: Some(only(&one)),
    };
    let page = operator
        .list_events(request)
        .await
        .expect("events")
        .into_inner()
        .events;
    assert_eq!(page[0].event_id, events[1].event_id);
    let request = ListEventsRequest {
        limit: 1001,
        ..Default::default()
    };
    let refused = operator
        .list_events(request)
        .await
        .expect_err("too many at once");
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn what_a_caller_of_the_original_service_finds_missing_is_unimplemented() {
    use tonic::codegen::http::uri::PathAndQuery;
    let controller = Controller::start().await;
    let mut grpc = tonic::client::Grpc::new(controller.channel.clone());
    for name in [
        "ForwardExecution",
        "ConnectEdge",
        "RotateEdgeKey",
        "IssueEnrollmentToken",
    ] {
        grpc.ready().await.expect("ready");
        let path = format!("/aegis.cluster.v1.NodeClusterService/{name}");
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let path = PathAndQuery::try_from(path).expect("a path");
        let refused = grpc
            .unary(tonic::Request::new(()), path, codec)
            .await
            .expect_err(name);
        assert_eq!(refused.code(), Code::Unimplemented);
    }
}
