use aegis_proto::{
    cluster::v1::{NodeStatus, node_command::Command},
    operator::v1::{Selector, SetConfigRequest, selector::Selector as Choice},
    worker::v1::CommandState,
};
use aegis_tests::{Controller, FixedClient, eventually};

async fn heartbeat(client: &mut FixedClient, status: NodeStatus) -> Vec<Command> {
    client.heartbeat(status).await.expect("a heartbeat")
}

/// The operator's drain is in every answer until the node says DRAINING.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_repeated_until_the_node_says_draining() {
    let controller = Controller::start().await;
    let operator = controller.operator();
    let mut client = controller.fixed_client().await;
    heartbeat(&mut client, NodeStatus::Active).await;
    let node = client.node_id.clone();

    for (drain, before, after) in [
        (true, NodeStatus::Active, NodeStatus::Draining),
        (false, NodeStatus::Draining, NodeStatus::Active),
    ] {
        let payload = format!(r#"{{"drain": {drain}}}"#);
        let command = operator
            .submit(&node, "drain", &payload)
            .await
            .expect("committed");
        for _ in 0..2 {
            let commands = heartbeat(&mut client, before).await;
            assert!(
                matches!(commands.as_slice(), [Command::Drain(it)] if it.drain == drain),
                "{commands:?}",
            );
        }
        assert_eq!(heartbeat(&mut client, after).await, []);
        let outcome = operator.outcome(&command.command_id).await;
        assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    }
}

/// A pushed config is acknowledged by SyncConfig with its version.
#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_config_is_offered_until_sync_config_acknowledges_it() {
    let controller = Controller::start().await;
    let operator = controller.operator();
    let mut client = controller.fixed_client().await;
    heartbeat(&mut client, NodeStatus::Active).await;

    let request = SetConfigRequest {
        selector: Some(Selector {
            selector: Some(Choice::Node(client.node_id.clone())),
        }),
        document: br#"{"site": {"name": "lab"}}"#.to_vec(),
        ..Default::default()
    };
    let answer = operator
        .rpc
        .clone()
        .set_config(request)
        .await
        .expect("set")
        .into_inner();
    assert_eq!(answer.commands.len(), 1, "{answer:#?}");

    let offer = eventually("the config is offered", async || {
        heartbeat(&mut client, NodeStatus::Active)
            .await
            .into_iter()
            .find_map(|it| match it {
                Command::PushConfig(offer) => Some(offer),
                _ => None,
            })
    })
    .await;
    let document: serde_json::Value =
        serde_json::from_slice(&offer.config_payload).expect("a JSON document");
    assert_eq!(document["site"]["name"], "lab");

    // Whoever asks before it is told hears the same.
    let sync = client.sync_config("").await.expect("an answer");
    assert!(!sync.up_to_date);
    assert_eq!(sync.latest_version, offer.config_version);
    let delta: serde_json::Value = serde_json::from_slice(&sync.config_delta).expect("JSON");
    assert_eq!(delta, document);

    let sync = client
        .sync_config(&offer.config_version)
        .await
        .expect("an answer");
    assert!(sync.up_to_date, "{sync:?}");
    let outcome = operator.outcome(&answer.commands[0].command_id).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    assert_eq!(heartbeat(&mut client, NodeStatus::Active).await, []);
}

/// A shutdown is done when the node deregisters.
#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_is_delivered_and_is_over_when_the_node_deregisters() {
    let controller = Controller::start().await;
    let operator = controller.operator();
    let mut client = controller.fixed_client().await;
    heartbeat(&mut client, NodeStatus::Active).await;

    let payload = r#"{"reason": "retired"}"#;
    let command = operator
        .submit(&client.node_id, "shutdown", payload)
        .await
        .expect("committed");
    let commands = heartbeat(&mut client, NodeStatus::Active).await;
    assert!(
        matches!(commands.as_slice(), [Command::Shutdown(it)] if it.reason == "retired"),
        "{commands:?}",
    );
    client.deregister("retired").await.expect("an answer");
    let outcome = operator.outcome(&command.command_id).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
}

/// The fixed contract can carry three commands; any other must not wait for
/// ever in the queue of a node that can never take it.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_the_fixed_contract_cannot_carry_is_refused() {
    let controller = Controller::start().await;
    let operator = controller.operator();
    let mut client = controller.fixed_client().await;
    heartbeat(&mut client, NodeStatus::Active).await;
    match operator
        .submit(&client.node_id, "hello", r#"{"name": "x"}"#)
        .await
    {
        Err(status) => assert!(!status.message().is_empty()),
        Ok(command) => {
            heartbeat(&mut client, NodeStatus::Active).await;
            let outcome = operator.outcome(&command.command_id).await;
            assert_eq!(outcome.state(), CommandState::Rejected, "{outcome:#?}");
        }
    }
}
