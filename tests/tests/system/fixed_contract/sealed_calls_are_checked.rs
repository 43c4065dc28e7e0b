use aegis_proto::cluster::v1::*;
use aegis_tests::{Controller, FixedClient, eventually, reason, refused};
use ed25519_dalek::Signer;
use prost::Message;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn envelopes_that_prove_nothing_are_unauthenticated() {
    let controller = Controller::start().await;
    let mut client = controller.fixed_client().await;
    let stranger = controller.fixed_client().await;
    let good = client.seal(&client.beat(NodeStatus::Active));

    let mut cases: Vec<(&str, Option<SealNodeEnvelope>)> = vec![("no envelope", None)];
    let mut case = |what, spoil: &dyn Fn(&mut SealNodeEnvelope)| {
        let mut envelope = good.clone();
        spoil(&mut envelope);
        cases.push((what, Some(envelope)));
    };
    case("an empty envelope", &|it| *it = SealNodeEnvelope::default());
    case("no token", &|it| it.node_security_token.clear());
    case("no JWT", &|it| it.node_security_token = "a.b.c".into());
    case("a changed token", &|it| {
        let end = it.node_security_token.len() - 10;
        let other = if it.node_security_token.as_bytes()[end] == b'A' {
            "B"
        } else {
            "A"
        };
        it.node_security_token.replace_range(end..=end, other);
    });
    case("a token without a signature", &|it| {
        let end = it.node_security_token.rfind('.').expect("three parts");
        it.node_security_token.truncate(end + 1);
    });
    case("another node's token", &|it| {
        it.node_security_token.clone_from(&stranger.token)
    });
    case("no signature", &|it| it.signature.clear());
    case("a short signature", &|it| it.signature.truncate(63));
    case("a wrong signature", &|it| it.signature[5] ^= 1);
    case("a changed payload", &|it| it.payload.push(0));
    case("another key's signature", &|it| {
        it.signature = stranger.key.sign(&it.payload).to_vec()
    });
    case("another node's payload", &|it| {
        it.payload = stranger.beat(NodeStatus::Active).encode_to_vec();
        it.signature = client.key.sign(&it.payload).to_vec();
    });
    for (what, envelope) in cases {
        let status = client
            .rpc
            .heartbeat(NodeHeartbeatRequest { envelope })
            .await
            .expect_err(what);
        assert_eq!(status.code(), Code::Unauthenticated, "{what}: {status:?}");
    }
    client
        .heartbeat(NodeStatus::Active)
        .await
        .expect("the good one still holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn undecodable_and_malformed_payloads_are_invalid_arguments() {
    let controller = Controller::start().await;
    let mut client = controller.fixed_client().await;
    let payload = vec![0xff; 16];
    let envelope = SealNodeEnvelope {
        node_security_token: client.token.clone(),
        signature: client.key.sign(&payload).to_vec(),
        payload,
    };
    let request = NodeHeartbeatRequest {
        envelope: Some(envelope),
    };
    refused(client.rpc.heartbeat(request).await, Code::InvalidArgument);

    let inner = NodeHeartbeatInner {
        node_id: "node-1".into(),
        ..client.beat(NodeStatus::Active)
    };
    let request = NodeHeartbeatRequest {
        envelope: Some(client.seal(&inner)),
    };
    refused(client.rpc.heartbeat(request).await, Code::InvalidArgument);

    let inner = RegisterNodeInner {
        node_id: client.node_id.clone(),
        ..Default::default()
    };
    let request = RegisterNodeRequest {
        envelope: Some(client.seal(&inner)),
    };
    refused(
        client.rpc.register_node(request).await,
        Code::InvalidArgument,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_past_its_expiry_is_unauthenticated_and_says_so() {
    let controller = Controller::start_with(&["--token-ttl", "2s"]).await;
    let mut client = controller.fixed_client().await;
    let status = eventually("the token expires", async || {
        client.heartbeat(NodeStatus::Active).await.err()
    })
    .await;
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(reason(&status), "TOKEN_EXPIRED");
    client
        .attest_and_challenge("")
        .await
        .expect("a new token by the key alone");
    client
        .heartbeat(NodeStatus::Active)
        .await
        .expect("a heartbeat");
}

/// The same key and address in front of a controller with another store.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_never_registered_here_is_unauthenticated() {
    let mut controller = Controller::start().await;
    let mut client = controller.fixed_client().await;
    controller.replace().await;
    let mut client = {
        let mut fresh = FixedClient::new(&controller.endpoint());
        fresh.node_id.clone_from(&client.node_id);
        fresh.key = client.key.clone();
        fresh.token = std::mem::take(&mut client.token);
        fresh
    };
    refused(
        client.heartbeat(NodeStatus::Active).await,
        Code::Unauthenticated,
    );

    // Attested here, but not registered.
    let token = controller.enrolment_token().await;
    client.attest_and_challenge(&token).await.expect("a token");
    let status = refused(
        client.heartbeat(NodeStatus::Active).await,
        Code::Unauthenticated,
    );
    assert_eq!(reason(&status), "NODE_UNKNOWN");
}

/// More than 4 MiB is not even read; the connection and the node live on.
#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_message_is_refused_and_disturbs_nothing() {
    let controller = Controller::start().await;
    let mut client = controller.fixed_client().await;
    let mut envelope = client.seal(&client.beat(NodeStatus::Active));
    envelope.payload = vec![0; 5 * 1024 * 1024];
    envelope.signature = client.key.sign(&envelope.payload).to_vec();
    let request = NodeHeartbeatRequest {
        envelope: Some(envelope),
    };
    let status = client.rpc.heartbeat(request).await.expect_err("too large");
    let known = matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted);
    assert!(known, "{status:?}");
    client
        .heartbeat(NodeStatus::Active)
        .await
        .expect("a heartbeat");
}
