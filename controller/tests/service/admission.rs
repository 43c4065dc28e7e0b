//! Enrolment tokens, pinned keys, bans.

use aegis_proto::{
    cluster::v1::{NodeRole, NodeStatus, challenge_node_request::BootstrapProof},
    error_info,
    operator::v1::{
        BanNodeRequest, CreateEnrolmentTokenRequest, EvictNodeRequest, ListEnrolmentTokensRequest,
        RevokeEnrolmentTokenRequest, UnbanNodeRequest,
    },
};
use ed25519_dalek::SigningKey;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::peer::{Controller, Node};

fn reason(status: &Status) -> String {
    status.get_details_error_info().expect("a reason").reason
}

#[tokio::test]
async fn an_enrolment_token_is_good_for_one_node() {
    let controller = Controller::start().await;
    let token = controller.enrolment_token().await;
    Node::new()
        .enrol(&controller, &token)
        .await
        .expect("enrolled");
    let refused = Node::new()
        .enrol(&controller, &token)
        .await
        .expect_err("spent");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(reason(&refused), error_info::ENROLMENT_TOKEN_SPENT);
}

#[tokio::test]
async fn an_enrolment_token_may_come_with_the_challenge() {
    let controller = Controller::start().await;
    let token = controller.enrolment_token().await;
    let node = Node::new();
    let mut cluster = controller.cluster();
    let challenge = cluster
        .attest_node(node.attestation(""))
        .await
        .expect("a challenge");
    let mut answer = node.answer(challenge.get_ref());
    answer.bootstrap_proof = Some(BootstrapProof::EnrollmentToken(token));
    cluster.challenge_node(answer).await.expect("enrolled");
}

#[tokio::test]
async fn a_failed_challenge_spends_no_token() {
    let controller = Controller::start().await;
    let token = controller.enrolment_token().await;
    let mut node = Node::new();
    let mut cluster = controller.cluster();
    let challenge = cluster
        .attest_node(node.attestation(&token))
        .await
        .expect("a challenge");
    let mut answer = node.answer(challenge.get_ref());
    answer.challenge_signature = vec![0; 64];
    cluster
        .challenge_node(answer.clone())
        .await
        .expect_err("wrong signature");
    let right = node.answer(challenge.get_ref());
    let refused = cluster
        .challenge_node(right)
        .await
        .expect_err("a challenge can be tried once");
    assert_eq!(refused.code(), Code::Unauthenticated);
    node.enrol(&controller, &token)
        .await
        .expect("the token is still good");
}

#[tokio::test]
async fn a_known_node_attests_again_with_its_key_alone() {
    let controller = Controller::start().await;
    let mut node = controller.node().await;
    node.enrol(&controller, "").await.expect("known");
    node.deregister(&controller).await.expect("gone");
    node.enrol(&controller, "").await.expect("still known");
}

#[tokio::test]
async fn another_key_for_a_known_node_is_refused() {
    let controller = Controller::start().await;
    let mut thief = controller.node().await;
    thief.key = SigningKey::from_bytes(&[1; 32]);
    let token = controller.enrolment_token().await;
    let refused = thief
        .enrol(&controller, &token)
        .await
        .expect_err("another key");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(reason(&refused), error_info::KEY_MISMATCH);
}

#[tokio::test]
async fn missing_unknown_bound_and_revoked_tokens_are_refused_for_their_reason() {
    let controller = Controller::start().await;
    let mut operator = controller.operator();

    let refused = Node::new()
        .enrol(&controller, "")
        .await
        .expect_err("missing");
    assert_eq!(reason(&refused), error_info::ENROLMENT_TOKEN_MISSING);
    let refused = Node::new()
        .enrol(&controller, "aegis-enrol-made-up")
        .await
        .expect_err("unknown");
    assert_eq!(reason(&refused), error_info::ENROLMENT_TOKEN_UNKNOWN);

    let mut chosen = Node::new();
    let request = CreateEnrolmentTokenRequest {
        node_id: chosen.id.clone(),
        ..Default::default()
    };
    let bound = operator
        .create_enrolment_token(request)
        .await
        .expect("made")
        .into_inner();
    let refused = Node::new()
        .enrol(&controller, &bound.enrolment_token)
        .await
        .expect_err("bound");
    assert_eq!(reason(&refused), error_info::ENROLMENT_TOKEN_WRONG_NODE);
    chosen
        .enrol(&controller, &bound.enrolment_token)
        .await
        .expect("the node it is bound to");

    let made = operator
        .create_enrolment_token(CreateEnrolmentTokenRequest::default())
        .await;
    let made = made.expect("made").into_inner();
    let request = RevokeEnrolmentTokenRequest {
        token_id: made.token_id,
    };
    operator
        .revoke_enrolment_token(request)
        .await
        .expect("revoked");
    let refused = Node::new()
        .enrol(&controller, &made.enrolment_token)
        .await
        .expect_err("revoked");
    assert_eq!(refused.code(), Code::PermissionDenied);

    let listed = operator
        .list_enrolment_tokens(ListEnrolmentTokensRequest {})
        .await
        .expect("listed");
    let states: Vec<_> = listed
        .into_inner()
        .tokens
        .into_iter()
        .map(|token| token.state)
        .collect();
    assert_eq!(states, ["spent", "revoked"]);
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let controller = Controller::start_with(|config| {
        // It attests until the token has expired.
        config.settings.attestations_per_minute = 1_000_000;
    })
    .await;
    let request = CreateEnrolmentTokenRequest {
        ttl: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        ..Default::default()
    };
    let made = controller
        .operator()
        .create_enrolment_token(request)
        .await
        .expect("made");
    let token = made.into_inner().enrolment_token;
    // Expiry is on the wall clock: wait until the controller says so.
    let refused = crate::peer::soon(async {
        loop {
            let node = Node::new();
            match controller
                .cluster()
                .attest_node(node.attestation(&token))
                .await
            {
                Ok(_) => tokio::task::yield_now().await,
                Err(refused) => return refused,
            }
        }
    })
    .await;
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(reason(&refused), error_info::ENROLMENT_TOKEN_EXPIRED);
}

#[tokio::test]
async fn a_banned_node_is_refused_everywhere_until_it_is_unbanned() {
    let controller = Controller::start().await;
    let mut node = controller.node().await;
    let request = BanNodeRequest {
        node: node.id.clone(),
        reason: "lost laptop".into(),
    };
    controller
        .operator()
        .ban_node(request)
        .await
        .expect("banned");

    let refused = node
        .heartbeat(&controller, NodeStatus::Active)
        .await
        .expect_err("banned");
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::PermissionDenied, "NODE_BANNED".into())
    );
    assert!(refused.message().contains("lost laptop"));
    let refused = node
        .clone()
        .enrol(&controller, "")
        .await
        .expect_err("banned");
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::PermissionDenied, "NODE_BANNED".into())
    );

    let request = UnbanNodeRequest {
        node: node.id.clone(),
    };
    controller
        .operator()
        .unban_node(request)
        .await
        .expect("unbanned");
    node.enrol(&controller, "").await.expect("welcome again");
    node.heartbeat(&controller, NodeStatus::Active)
        .await
        .expect("welcome again");
}

#[tokio::test]
async fn an_evicted_node_has_to_be_enrolled_anew() {
    let controller = Controller::start().await;
    let mut node = controller.node().await;
    let request = EvictNodeRequest {
        node: node.id.clone(),
        reason: String::new(),
    };
    controller
        .operator()
        .evict_node(request)
        .await
        .expect("evicted");
    let refused = node
        .heartbeat(&controller, NodeStatus::Active)
        .await
        .expect_err("forgotten");
    assert_eq!(
        (refused.code(), reason(&refused)),
        (Code::Unauthenticated, "NODE_UNKNOWN".into())
    );
    let refused = node
        .enrol(&controller, "")
        .await
        .expect_err("its key is forgotten");
    assert_eq!(reason(&refused), error_info::ENROLMENT_TOKEN_MISSING);
    let token = controller.enrolment_token().await;
    node.key = SigningKey::from_bytes(&[9; 32]);
    node.enrol(&controller, &token)
        .await
        .expect("anew, with another key");
}

#[tokio::test]
async fn a_node_does_not_become_one_that_may_push_config() {
    let controller = Controller::start_with(|config| {
        config.settings.config_push_roles = vec!["controller".into()];
    })
    .await;
    let mut node = controller.node().await;
    node.role = NodeRole::Controller;
    let refused = node
        .enrol(&controller, "")
        .await
        .expect_err("a role with more rights");
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn attempts_are_limited_and_the_answer_says_when_to_come_back() {
    let controller = Controller::start_with(|config| {
        config.settings.attestations_per_minute = 2;
    })
    .await;
    let node = Node::new();
    let mut cluster = controller.cluster();
    for _ in 0..2 {
        cluster
            .attest_node(node.attestation(""))
            .await
            .expect("within the limit");
    }
    let refused = cluster
        .attest_node(node.attestation(""))
        .await
        .expect_err("too many");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let retry = refused
        .get_details_retry_info()
        .expect("a retry delay")
        .retry_delay;
    assert!(retry.is_some_and(|delay| !delay.is_zero()));
}
