//! The table of status codes that a client of the fixed contract expects, row
//! by row.

use aegis_proto::{
    cluster::v1::{
        AttestNodeRequest, NodeHeartbeatInner, NodeHeartbeatRequest, NodeRole, NodeStatus,
        RegisterNodeInner, RegisterNodeRequest, SealNodeEnvelope,
    },
    error_info,
};
use ed25519_dalek::{Signer, SigningKey};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::peer::{Controller, Node, soon};

/// The identity: every signature by it holds under lax verification.
const WEAK_KEY: [u8; 32] = {
    let mut key = [0; 32];
    key[0] = 1;
    key
};

async fn attest(controller: &Controller, change: impl FnOnce(&mut AttestNodeRequest)) -> Status {
    let mut request = Node::new().attestation("");
    change(&mut request);
    controller
        .cluster()
        .attest_node(request)
        .await
        .expect_err("refused")
}

async fn heartbeat(controller: &Controller, envelope: Option<SealNodeEnvelope>) -> Status {
    let request = NodeHeartbeatRequest { envelope };
    controller
        .cluster()
        .heartbeat(request)
        .await
        .expect_err("refused")
}

fn beat(node: &Node) -> NodeHeartbeatInner {
    NodeHeartbeatInner {
        node_id: node.id.clone(),
        ..Default::default()
    }
}

fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

#[tokio::test]
async fn a_malformed_attestation_is_an_invalid_argument() {
    let controller = Controller::start().await;
    let c = &controller;
    let invalid = |status: Status| assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    invalid(attest(c, |r| r.node_id = "node-1".into()).await);
    invalid(attest(c, |r| r.node_id.clear()).await);
    invalid(attest(c, |r| r.role = NodeRole::Unspecified.into()).await);
    invalid(attest(c, |r| r.role = 99).await);
    invalid(attest(c, |r| r.capabilities = None).await);
    invalid(attest(c, |r| r.public_key.clear()).await);
    invalid(attest(c, |r| r.public_key.truncate(31)).await);
    invalid(attest(c, |r| r.public_key = WEAK_KEY.to_vec()).await);
    invalid(attest(c, |r| r.public_key = vec![0; 32]).await);
}

#[tokio::test]
async fn an_undecodable_or_incomplete_payload_is_an_invalid_argument() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let payload = vec![0xff; 16];
    let envelope = SealNodeEnvelope {
        node_security_token: node.token.clone(),
        signature: node.key.sign(&payload).to_bytes().to_vec(),
        payload,
    };
    assert_eq!(
        heartbeat(&controller, Some(envelope)).await.code(),
        Code::InvalidArgument
    );

    let nameless = NodeHeartbeatInner::default();
    let refused = heartbeat(&controller, node.seal(&nameless)).await;
    assert_eq!(refused.code(), Code::InvalidArgument);

    let inner = RegisterNodeInner {
        node_id: node.id.clone(),
        ..Default::default()
    };
    let request = RegisterNodeRequest {
        envelope: node.seal(&inner),
    };
    let refused = controller
        .cluster()
        .register_node(request)
        .await
        .expect_err("no capabilities");
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn an_unknown_foreign_or_wrongly_signed_challenge_is_unauthenticated() {
    let controller = Controller::start().await;
    let mut cluster = controller.cluster();
    let node = Node::new();

    let challenge = cluster
        .attest_node(node.attestation(""))
        .await
        .expect("a challenge")
        .into_inner();
    let mut unknown = node.answer(&challenge);
    unknown.challenge_id = uuid::Uuid::new_v4().to_string();
    let refused = cluster.challenge_node(unknown).await.expect_err("unknown");
    assert_eq!(refused.code(), Code::Unauthenticated);

    let mut foreign = node.answer(&challenge);
    foreign.node_id = Node::new().id;
    let refused = cluster
        .challenge_node(foreign)
        .await
        .expect_err("of another node");
    assert_eq!(refused.code(), Code::Unauthenticated);

    for signature in [
        vec![],
        vec![0; 64],
        SigningKey::from_bytes(&[1; 32]).sign(b"x").to_vec(),
    ] {
        let challenge = cluster
            .attest_node(node.attestation(""))
            .await
            .expect("a challenge")
            .into_inner();
        let mut wrong = node.answer(&challenge);
        wrong.challenge_signature = signature;
        let refused = cluster
            .challenge_node(wrong)
            .await
            .expect_err("wrongly signed");
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
}

#[tokio::test]
async fn an_expired_challenge_is_unauthenticated() {
    let controller = Controller::start_with(|config| {
        config.settings.challenge_ttl = std::time::Duration::ZERO;
    })
    .await;
    let node = Node::new();
    let mut cluster = controller.cluster();
    let challenge = cluster
        .attest_node(node.attestation(""))
        .await
        .expect("a challenge");
    let answer = node.answer(challenge.get_ref());
    let refused = cluster.challenge_node(answer).await.expect_err("expired");
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_missing_envelope_is_unauthenticated() {
    let controller = Controller::start().await;
    assert_eq!(
        heartbeat(&controller, None).await.code(),
        Code::Unauthenticated
    );
}

#[tokio::test]
async fn a_wrong_or_missing_signature_is_unauthenticated() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut stranger = node.clone();
    stranger.key = SigningKey::from_bytes(&[1; 32]);
    let refused = heartbeat(&controller, stranger.seal(&beat(&node))).await;
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(
        reason(&refused).as_deref(),
        Some(error_info::SIGNATURE_INVALID)
    );

    let mut unsigned = node.seal(&beat(&node)).expect("an envelope");
    unsigned.signature.clear();
    assert_eq!(
        heartbeat(&controller, Some(unsigned)).await.code(),
        Code::Unauthenticated
    );

    let mut changed = node.seal(&beat(&node)).expect("an envelope");
    changed.payload.push(0);
    assert_eq!(
        heartbeat(&controller, Some(changed)).await.code(),
        Code::Unauthenticated
    );
}

#[tokio::test]
async fn a_token_that_is_none_or_another_controllers_is_unauthenticated() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    for token in ["", "no.jwt.here", "eyJhbGciOiJub25lIn0.e30."] {
        let mut bad = node.clone();
        bad.token = token.into();
        let refused = heartbeat(&controller, bad.seal(&beat(&node))).await;
        assert_eq!(refused.code(), Code::Unauthenticated, "{token}");
    }
    let other = Controller::start().await;
    let foreign = other.node().await;
    let refused = heartbeat(&controller, foreign.seal(&beat(&foreign))).await;
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(reason(&refused).as_deref(), Some(error_info::NODE_UNKNOWN));
}

#[tokio::test]
async fn another_nodes_token_or_name_is_unauthenticated() {
    let controller = Controller::start().await;
    let (one, other) = (controller.node().await, controller.node().await);
    let mut borrowed = one.clone();
    borrowed.token = other.token.clone();
    let refused = heartbeat(&controller, borrowed.seal(&beat(&one))).await;
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = heartbeat(&controller, one.seal(&beat(&other))).await;
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn an_expired_token_is_unauthenticated_and_says_so() {
    let controller = Controller::start_with(|config| {
        config.settings.token_ttl = std::time::Duration::from_secs(2);
    })
    .await;
    let node = controller.node().await;
    let refused = soon(async {
        loop {
            if let Err(refused) = node.heartbeat(&controller, NodeStatus::Active).await {
                return refused;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(reason(&refused).as_deref(), Some(error_info::TOKEN_EXPIRED));
}

#[tokio::test]
async fn a_node_that_is_not_registered_is_unauthenticated_and_told_so() {
    let controller = Controller::start().await;
    let mut node = Node::new();
    node.enrol(&controller, &controller.enrolment_token().await)
        .await
        .expect("enrolled");
    let refused = node
        .heartbeat(&controller, NodeStatus::Active)
        .await
        .expect_err("not registered");
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(reason(&refused).as_deref(), Some(error_info::NODE_UNKNOWN));
}
