//! The whole life of a node that speaks `aegis.cluster.v1` alone.

use std::time::Duration;

use aegis_proto::{
    cluster::v1::{ListPeersInner, ListPeersRequest, NodeStatus, node_command::Command},
    operator::v1::{ListNodesRequest, SetConfigRequest, ShowNodeRequest},
    worker::v1::{CommandState, ConfigStatus},
};
use tonic::Code;

use crate::peer::{Controller, Node, all, only, soon};

async fn statuses(controller: &Controller, node: &Node) -> Vec<NodeStatus> {
    let request = ListPeersRequest {
        envelope: node.seal(&ListPeersInner::default()),
    };
    let peers = controller
        .cluster()
        .list_peers(request)
        .await
        .expect("peers")
        .into_inner();
    peers.nodes.iter().map(|info| info.status()).collect()
}

#[tokio::test]
async fn drain_is_repeated_until_the_node_drains() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    assert!(
        node.heartbeat(&controller, NodeStatus::Active)
            .await
            .expect("alive")
            .is_empty()
    );

    let drain = controller
        .submit(only(&node), "drain", r#"{"drain":true}"#)
        .await;
    for _ in 0..3 {
        let told = node
            .heartbeat(&controller, NodeStatus::Active)
            .await
            .expect("alive");
        assert!(
            matches!(&told[..], [Command::Drain(drain)] if drain.drain),
            "{told:?}"
        );
    }
    assert_eq!(
        controller.command(&drain.command_id).await.state(),
        CommandState::Delivered
    );
    assert!(
        node.heartbeat(&controller, NodeStatus::Draining)
            .await
            .expect("alive")
            .is_empty()
    );
    assert_eq!(
        controller.outcome(&drain.command_id).await.state(),
        CommandState::Succeeded
    );
    assert_eq!(statuses(&controller, &node).await, [NodeStatus::Draining]);

    let undo = controller
        .submit(only(&node), "drain", r#"{"drain":false}"#)
        .await;
    let told = node
        .heartbeat(&controller, NodeStatus::Draining)
        .await
        .expect("alive");
    assert!(
        matches!(&told[..], [Command::Drain(drain)] if !drain.drain),
        "{told:?}"
    );
    assert!(
        node.heartbeat(&controller, NodeStatus::Active)
            .await
            .expect("alive")
            .is_empty()
    );
    assert_eq!(
        controller.outcome(&undo.command_id).await.state(),
        CommandState::Succeeded
    );
}

#[tokio::test]
async fn a_pushed_config_is_repeated_until_sync_config_names_it() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let fresh = node.sync_config(&controller, "").await.expect("synced");
    assert!(
        fresh.up_to_date,
        "nothing is wanted of a node without layers"
    );

    let request = SetConfigRequest {
        selector: Some(all()),
        document: br#"{"b":1,"a":2}"#.to_vec(),
        ..Default::default()
    };
    let set = controller
        .operator()
        .set_config(request)
        .await
        .expect("set")
        .into_inner();
    let command = &set.commands[0];
    let mut version = String::new();
    for _ in 0..2 {
        let told = node
            .heartbeat(&controller, NodeStatus::Active)
            .await
            .expect("alive");
        let [Command::PushConfig(push)] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(push.config_payload, br#"{"a":2,"b":1}"#);
        version.clone_from(&push.config_version);
    }
    let behind = node.sync_config(&controller, "").await.expect("synced");
    assert!(!behind.up_to_date);
    assert_eq!(behind.latest_version, version);
    assert_eq!(behind.config_delta, br#"{"a":2,"b":1}"#);
    assert_eq!(
        controller.command(&command.command_id).await.state(),
        CommandState::Delivered
    );

    let synced = node
        .sync_config(&controller, &version)
        .await
        .expect("synced");
    assert!(synced.up_to_date && synced.config_delta.is_empty());
    assert_eq!(
        controller.outcome(&command.command_id).await.state(),
        CommandState::Succeeded
    );
    assert!(
        node.heartbeat(&controller, NodeStatus::Active)
            .await
            .expect("alive")
            .is_empty()
    );
}

#[tokio::test]
async fn a_newer_config_takes_the_place_of_an_older_push() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let set = async |document: &str| {
        let request = SetConfigRequest {
            selector: Some(only(&node)),
            document: document.into(),
            ..Default::default()
        };
        controller
            .operator()
            .set_config(request)
            .await
            .expect("set")
            .into_inner()
            .commands
            .remove(0)
    };
    let first = set(r#"{"v":1}"#).await;
    let second = set(r#"{"v":2}"#).await;
    node.heartbeat(&controller, NodeStatus::Active)
        .await
        .expect("alive");
    let third = set(r#"{"v":3}"#).await;
    let told = node
        .heartbeat(&controller, NodeStatus::Active)
        .await
        .expect("alive");
    let [Command::PushConfig(push)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(push.config_payload, br#"{"v":3}"#);
    let state = async |id: &str| controller.command(id).await.state();
    assert_eq!(state(&first.command_id).await, CommandState::Cancelled);
    assert_eq!(state(&second.command_id).await, CommandState::Unknown);
    assert_eq!(state(&third.command_id).await, CommandState::Delivered);
}

#[tokio::test]
async fn a_shutdown_has_succeeded_when_the_node_deregisters() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let shutdown = controller
        .submit(only(&node), "shutdown", r#"{"reason":"upgrade"}"#)
        .await;
    let told = node
        .heartbeat(&controller, NodeStatus::Active)
        .await
        .expect("alive");
    assert!(
        matches!(&told[..], [Command::Shutdown(s)] if s.reason == "upgrade"),
        "{told:?}"
    );
    node.deregister(&controller).await.expect("gone");
    assert_eq!(
        controller.outcome(&shutdown.command_id).await.state(),
        CommandState::Succeeded
    );
    let refused = node
        .heartbeat(&controller, NodeStatus::Active)
        .await
        .expect_err("gone");
    assert_eq!(refused.code(), Code::Unauthenticated);
    let nodes = controller
        .operator()
        .list_nodes(ListNodesRequest::default())
        .await
        .expect("nodes");
    assert!(nodes.into_inner().nodes[0].deregistered);
}

#[tokio::test]
async fn a_node_that_comes_back_without_goodbye_leaves_its_shutdown_unknown() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let shutdown = controller.submit(only(&node), "shutdown", "{}").await;
    node.heartbeat(&controller, NodeStatus::Active)
        .await
        .expect("alive");
    node.register(&controller).await.expect("back");
    assert_eq!(
        controller.outcome(&shutdown.command_id).await.state(),
        CommandState::Unknown
    );
    assert!(
        node.heartbeat(&controller, NodeStatus::Active)
            .await
            .expect("alive")
            .is_empty()
    );
}

#[tokio::test]
async fn several_commands_come_in_one_response() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    controller
        .submit(only(&node), "drain", r#"{"drain":true}"#)
        .await;
    let config = r#"{"config_version":"v5","config_payload":"e30="}"#;
    controller.submit(only(&node), "push-config", config).await;
    let told = node
        .heartbeat(&controller, NodeStatus::Active)
        .await
        .expect("alive");
    let [Command::Drain(_), Command::PushConfig(push)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(
        (push.config_version.as_str(), &push.config_payload[..]),
        ("v5", &b"{}"[..])
    );
    let synced = node.sync_config(&controller, "v5").await.expect("synced");
    assert!(synced.up_to_date, "a version pushed by hand is left alone");
}

#[tokio::test]
async fn a_payload_that_the_fixed_contract_can_not_carry_is_rejected() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let command = controller
        .submit(only(&node), "push-config", r#"{"configVersion":3}"#)
        .await;
    assert!(
        node.heartbeat(&controller, NodeStatus::Active)
            .await
            .expect("alive")
            .is_empty()
    );
    let outcome = controller.outcome(&command.command_id).await;
    assert_eq!(outcome.state(), CommandState::Rejected);
    assert_eq!(outcome.error.expect("an error").code, "invalid-payload");
}

#[tokio::test]
async fn silence_makes_a_node_unhealthy_and_a_heartbeat_heals_it() {
    let controller = Controller::start_with(|config| {
        config.settings.stale_after = Duration::from_millis(200);
        config.settings.sweep_interval = Duration::from_millis(20);
    })
    .await;
    let node = controller.node().await;
    assert_eq!(statuses(&controller, &node).await, [NodeStatus::Active]);
    soon(async {
        while statuses(&controller, &node).await != [NodeStatus::Unhealthy] {
            tokio::task::yield_now().await;
        }
    })
    .await;
    node.heartbeat(&controller, NodeStatus::Active)
        .await
        .expect("alive");
    let kinds = controller.event_kinds().await;
    let missed = kinds
        .iter()
        .position(|kind| kind == "node-unhealthy")
        .expect("missed");
    assert!(kinds[missed..].iter().any(|kind| kind == "node-healthy"));
}

#[tokio::test]
async fn peers_can_be_filtered() {
    let controller = Controller::start().await;
    let (one, other) = (controller.node().await, controller.node().await);
    one.heartbeat(&controller, NodeStatus::Draining)
        .await
        .expect("alive");
    let filter = ListPeersInner {
        filter_status: vec![NodeStatus::Draining.into()],
        filter_role: vec![one.role.into()],
    };
    let request = ListPeersRequest {
        envelope: other.seal(&filter),
    };
    let peers = controller
        .cluster()
        .list_peers(request)
        .await
        .expect("peers")
        .into_inner();
    let ids: Vec<_> = peers
        .nodes
        .iter()
        .map(|info| info.node_id.clone())
        .collect();
    assert_eq!(ids, [one.id]);
    assert!(!peers.cluster_id.is_empty());
}

#[tokio::test]
async fn a_version_that_is_named_overwrites_nothing_that_a_session_told() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let told = ConfigStatus {
        active_version: "v1".into(),
        attempted_version: "v2".into(),
        failed_step: "apply".into(),
        reason: "not this one".into(),
        ..Default::default()
    };
    let mut hello = node.hello(&["hello"]);
    hello.config = Some(told.clone());
    let session = node.session(&controller, hello).await.expect("welcome");
    let config = async || {
        let request = ShowNodeRequest {
            node: node.id.clone(),
        };
        let shown = controller.operator().show_node(request).await;
        let view = shown.expect("known").into_inner().node.expect("a view");
        view.config.expect("a status")
    };
    node.sync_config(&controller, "v0").await.expect("synced");
    assert_eq!(config().await, told);
    drop(session);
}
