//! What lasts across restarts of the controller.

use aegis_controller::{Server, StartError};
use aegis_proto::{
    cluster::v1::{ListPeersInner, ListPeersRequest, NodeStatus},
    operator::v1::{BanNodeRequest, SetConfigRequest},
    worker::v1::{CommandState, worker_message::Message as FromWorker},
};
use tonic::Code;

use crate::peer::{Controller, all, config, only, soon};

async fn restart(controller: Controller) -> Controller {
    let Controller {
        server,
        dir,
        channel,
    } = controller;
    drop(channel);
    soon(server.stop()).await.expect("a clean end");
    Controller::start_in(dir, |_| {}).await
}

#[tokio::test]
async fn nodes_commands_config_and_tokens_last() {
    let controller = Controller::start().await;
    let token = controller.enrolment_token().await;
    let mut node = controller.node().await;
    let banned = controller.node().await;
    let request = BanNodeRequest {
        node: banned.id.clone(),
        reason: "gone".into(),
    };
    controller
        .operator()
        .ban_node(request)
        .await
        .expect("banned");
    let request = SetConfigRequest {
        selector: Some(only(&node)),
        document: br#"{"a":1}"#.to_vec(),
        ..Default::default()
    };
    controller
        .operator()
        .set_config(request)
        .await
        .expect("set");
    let queued = controller.submit(only(&node), "hello", "{}").await;

    let controller = restart(controller).await;
    // The signing key is the same: the token is still good.
    node.heartbeat(&controller, NodeStatus::Active)
        .await
        .expect("still registered");
    node.enrol(&controller, "").await.expect("still pinned");
    let refused = banned
        .heartbeat(&controller, NodeStatus::Active)
        .await
        .expect_err("still banned");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let synced = node.sync_config(&controller, "").await.expect("synced");
    assert_eq!(synced.config_delta, br#"{"a":1}"#);
    assert_eq!(
        controller.command(&queued.command_id).await.state(),
        CommandState::Queued
    );
    crate::peer::Node::new()
        .enrol(&controller, &token)
        .await
        .expect("the token is still good");
}

#[tokio::test]
async fn a_command_survives_the_controller_that_delivered_it() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut session = node
        .session(&controller, node.hello(&["hello"]))
        .await
        .expect("welcome");
    controller.submit(only(&node), "hello", "{}").await;
    let command = session.command().await;
    drop(session);

    let controller = restart(controller).await;
    let mut hello = node.hello(&["hello"]);
    hello.held_command_ids = vec![command.command_id.clone()];
    let mut session = node.session(&controller, hello).await.expect("welcome");
    let result = node.result(&command, CommandState::Succeeded, "{}");
    session.send(FromWorker::CommandResult(result)).await;
    assert_eq!(session.ack().await, command.command_id);
    let outcome = controller.outcome(&command.command_id).await;
    assert_eq!(outcome.state(), CommandState::Succeeded);
}

#[tokio::test]
async fn after_a_restart_a_node_is_nothing_until_it_is_heard() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let controller = restart(controller).await;
    let status = async || {
        let request = ListPeersRequest {
            envelope: node.seal(&ListPeersInner::default()),
        };
        let peers = controller
            .cluster()
            .list_peers(request)
            .await
            .expect("peers")
            .into_inner();
        peers.nodes[0].status()
    };
    assert_eq!(status().await, NodeStatus::Unspecified);
    node.heartbeat(&controller, NodeStatus::Active)
        .await
        .expect("alive");
    assert_eq!(status().await, NodeStatus::Active);
}

#[tokio::test]
async fn a_data_directory_in_use_is_refused() {
    let controller = Controller::start().await;
    match Server::start(config(&controller.dir)).await {
        Err(StartError::InUse { .. }) => {}
        Err(error) => panic!("refused for another reason: {error}"),
        Ok(_) => panic!("two controllers over one directory"),
    }
}

#[tokio::test]
async fn the_endpoint_file_says_where_the_controller_listens() {
    let controller = Controller::start().await;
    let text = std::fs::read_to_string(controller.dir.path().join("endpoint")).expect("written");
    assert_eq!(text.trim(), controller.server.endpoint());
    assert!(controller.server.address().port() > 0);
    // Nobody can submit to an empty cluster, but the port answers.
    let request = SetConfigRequest {
        selector: Some(all()),
        document: b"{}".to_vec(),
        ..Default::default()
    };
    controller
        .operator()
        .set_config(request)
        .await
        .expect("it answers");
}
