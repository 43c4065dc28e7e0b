use std::time::SystemTime;

use aegis_proto::{
    cluster::v1::NodeStatus,
    operator::v1::{BanNodeRequest, CreateEnrolmentTokenRequest},
};
use aegis_tests::{Controller, FixedClient, eventually, reason, refused};
use tonic::{Code, Status};

#[tokio::test(flavor = "multi_thread")]
async fn bad_enrolment_tokens_are_denied_each_with_its_reason() {
    let controller = Controller::start().await;
    let operator = controller.operator();
    let fresh = || FixedClient::new(&controller.endpoint());

    assert_eq!(
        reason(&admission(&mut fresh(), "").await),
        "ENROLMENT_TOKEN_MISSING"
    );
    assert_eq!(
        reason(&admission(&mut fresh(), "made-up").await),
        "ENROLMENT_TOKEN_UNKNOWN"
    );

    let spent = controller.enrolment_token().await;
    fresh().join(&spent).await.expect("it joins");
    assert_eq!(
        reason(&admission(&mut fresh(), &spent).await),
        "ENROLMENT_TOKEN_SPENT"
    );

    let bound = operator.enrol(&fresh().node_id).await;
    assert_eq!(
        reason(&admission(&mut fresh(), &bound).await),
        "ENROLMENT_TOKEN_WRONG_NODE"
    );

    let ttl = Some(prost_types::Duration {
        seconds: 1,
        nanos: 0,
    });
    let request = CreateEnrolmentTokenRequest {
        ttl,
        ..Default::default()
    };
    let answer = operator
        .rpc
        .clone()
        .create_enrolment_token(request)
        .await
        .expect("a token");
    let expired = answer.into_inner();
    let expires_at = SystemTime::try_from(expired.expires_at.expect("an expiry")).expect("a time");
    eventually("the token expires", async || {
        (SystemTime::now() > expires_at).then_some(())
    })
    .await;
    assert_eq!(
        reason(&admission(&mut fresh(), &expired.enrolment_token).await),
        "ENROLMENT_TOKEN_EXPIRED"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_token_bound_to_a_node_lets_that_node_in() {
    let controller = Controller::start().await;
    let mut client = FixedClient::new(&controller.endpoint());
    let token = controller.operator().enrol(&client.node_id).await;
    assert!(client.join(&token).await.expect("it joins").accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_for_a_pinned_node_is_denied() {
    let controller = Controller::start().await;
    let client = controller.fixed_client().await;
    let mut thief = FixedClient::new(&controller.endpoint());
    thief.node_id.clone_from(&client.node_id);
    assert_eq!(reason(&admission(&mut thief, "").await), "KEY_MISMATCH");
    let token = controller.enrolment_token().await;
    assert_eq!(reason(&admission(&mut thief, &token).await), "KEY_MISMATCH");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_node_is_denied_from_its_next_call_on() {
    let controller = Controller::start().await;
    let operator = controller.operator();
    let mut client = controller.fixed_client().await;
    client
        .heartbeat(NodeStatus::Active)
        .await
        .expect("a heartbeat");
    let request = BanNodeRequest {
        node: client.node_id.clone(),
        reason: "test".into(),
    };
    operator
        .rpc
        .clone()
        .ban_node(request)
        .await
        .expect("banned");
    let status = refused(
        client.heartbeat(NodeStatus::Active).await,
        Code::PermissionDenied,
    );
    assert_eq!(reason(&status), "NODE_BANNED");
    assert_eq!(reason(&admission(&mut client, "").await), "NODE_BANNED");
}

/// At whichever of the two calls the controller looks at the token.
async fn admission(client: &mut FixedClient, token: &str) -> Status {
    refused(
        client.attest_and_challenge(token).await,
        Code::PermissionDenied,
    )
}
