use std::time::{Duration, SystemTime};

use aegis_proto::cluster::v1::{NodeRole, NodeStatus};
use aegis_tests::{Controller, FixedClient, eventually, token_claims};

/// Attest, challenge, register, heartbeat, SyncConfig, ListPeers, refresh by
/// the key alone, deregister; with the waits of a real node between calls.
#[tokio::test(flavor = "multi_thread")]
async fn the_controller_serves_a_whole_life_to_a_client_of_the_fixed_contract() {
    let controller = Controller::start().await;
    let operator = controller.operator();
    let mut client = FixedClient::new(&controller.endpoint());

    let token = controller.enrolment_token().await;
    let challenge = client.attest(&token).await.expect("a challenge");
    assert_eq!(challenge.challenge_nonce.len(), 32);
    let answer = client.challenge(&challenge, &token).await.expect("a token");
    let claims = token_claims(&answer.node_security_token);
    assert_eq!(claims["sub"], client.node_id);
    assert_eq!(claims["role"], "worker");
    let cap_hash = claims["cap_hash"].as_str().expect("a cap_hash");
    assert!(cap_hash.len() == 64 && cap_hash.bytes().all(|it| it.is_ascii_hexdigit()));
    let expires_at = SystemTime::try_from(answer.expires_at.expect("an expiry")).expect("a time");
    let exp = claims["exp"].as_u64().expect("an exp");
    let iat = claims["iat"].as_u64().expect("an iat");
    let unix = expires_at
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    assert_eq!((exp, exp - iat), (unix, 3600));

    let registered = client.register().await.expect("registered");
    assert!(
        registered.accepted && !registered.cluster_id.is_empty(),
        "{registered:?}"
    );
    assert_eq!(
        client
            .heartbeat(NodeStatus::Active)
            .await
            .expect("a heartbeat"),
        []
    );
    let view = operator.until_connected(&client.node_id).await;
    assert_eq!(view.transport, "unary");
    assert_eq!(view.active_executions, 1);
    let info = view.info.expect("info");
    assert_eq!(info.role(), NodeRole::Worker);
    assert_eq!(info.status(), NodeStatus::Active);
    assert_eq!(info.grpc_address, client.grpc_address);
    assert_eq!(info.capabilities, Some(client.capabilities.clone()));

    let sync = client.sync_config("").await.expect("an answer");
    assert!(sync.up_to_date, "{sync:?}");

    // An idle connection of that length is normal life for such a node.
    tokio::time::sleep(Duration::from_secs(31)).await;
    client
        .heartbeat(NodeStatus::Active)
        .await
        .expect("a heartbeat");

    // The enrolment token is spent; the pinned key is enough, and the older
    // token holds until it expires.
    let older = client.token.clone();
    client.attest_and_challenge("").await.expect("a new token");
    client
        .heartbeat(NodeStatus::Active)
        .await
        .expect("a heartbeat");
    client.token = older;
    client
        .heartbeat(NodeStatus::Active)
        .await
        .expect("a heartbeat");

    assert!(client.deregister("done").await.expect("an answer").accepted);
    eventually("it is seen as gone", async || {
        let nodes = operator.nodes().await;
        nodes
            .iter()
            .all(|it| it.deregistered || !it.connected)
            .then_some(())
    })
    .await;
    // It may come back, by its key.
    assert!(client.join("").await.expect("joined").accepted);
}

/// Every call on a connection of its own, without a wait.
#[tokio::test(flavor = "multi_thread")]
async fn the_controller_takes_each_call_on_a_new_connection() {
    let controller = Controller::start().await;
    let mut client = controller.fixed_client().await;
    for _ in 0..20 {
        let mut fresh = FixedClient::new(&controller.endpoint());
        fresh.node_id.clone_from(&client.node_id);
        fresh.key = client.key.clone();
        fresh.token.clone_from(&client.token);
        fresh
            .heartbeat(NodeStatus::Active)
            .await
            .expect("a heartbeat");
        client = fresh;
    }
}
