//! How a node gets in.

use aegis_core::{
    client::EnrolmentRefusal,
    lifecycle::{LifecycleError, WorkerLifecycle},
};
use aegis_proto::cluster::v1::challenge_node_request::BootstrapProof;
use tonic::{Code, Status};

use crate::{
    controller::{Controller, Heard, refusal},
    worker::{Worker, config, state_dir},
};

#[tokio::test]
async fn the_token_is_sent_at_the_first_attestation_and_never_again() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    let Heard::Attest(attest) = controller.next().await else {
        panic!("attestation comes first")
    };
    assert_eq!(attest.enrolment_token, "token-1");
    assert_eq!(attest.node_id, worker.node_id);
    assert_eq!(attest.public_key, worker.public_key);
    assert!(attest.capabilities.expect("capabilities").cpu_cores >= 1);
    let Heard::Challenge(challenge) = controller.next().await else {
        panic!("then the challenge")
    };
    assert_eq!(
        challenge.bootstrap_proof,
        Some(BootstrapProof::EnrollmentToken("token-1".to_owned()))
    );
    assert!(matches!(controller.next().await, Heard::Register(_)));
    worker.stop().await.expect("a clean end");

    let worker = Worker::start(&controller.endpoint(), &dir);
    assert_eq!(controller.attest().await.enrolment_token, "");
    let Heard::Challenge(challenge) = controller.next().await else {
        panic!("then the challenge")
    };
    assert_eq!(challenge.bootstrap_proof, None);
    worker.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_controller_that_lost_its_memory_gets_the_token_once_more() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    controller.session().await;
    worker.stop().await.expect("a clean end");
    controller.forget();

    let worker = Worker::start(&controller.endpoint(), &dir);
    assert_eq!(controller.attest().await.enrolment_token, "");
    assert_eq!(controller.attest().await.enrolment_token, "token-1");
    controller.session().await;
    worker.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_node_that_is_refused_at_its_first_enrolment_ends_with_the_reason() {
    for (status, expected) in [
        (
            refusal(Code::PermissionDenied, "ENROLMENT_TOKEN_SPENT"),
            EnrolmentRefusal::TokenSpent,
        ),
        (
            refusal(Code::PermissionDenied, "ENROLMENT_TOKEN_WRONG_NODE"),
            EnrolmentRefusal::TokenOfAnotherNode,
        ),
        (
            Status::permission_denied("no details"),
            EnrolmentRefusal::Unspecified,
        ),
    ] {
        let controller = Controller::start().await;
        controller.knobs().refusals.push_back(status);
        let dir = state_dir();
        let worker = Worker::start(&controller.endpoint(), &dir);
        assert_eq!(
            worker.ended().await,
            Err(LifecycleError::NotAdmitted(expected))
        );
    }
}

#[tokio::test]
async fn a_nonce_of_another_length_is_not_signed() {
    let mut controller = Controller::start().await;
    controller.knobs().nonce = vec![7; 64];
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    for _ in 0..2 {
        let heard = controller.next().await;
        assert!(matches!(heard, Heard::Attest(_)), "{heard:?}");
    }
    worker.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_token_file_that_is_missing_stops_only_a_node_that_needs_it() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    controller.session().await;
    worker.stop().await.expect("a clean end");

    let mut config = config(&controller.endpoint(), &dir, "");
    config.controller.enrolment_token = Some(
        aegis_core::config::model::EnrolmentTokenSource::File("/nowhere/token".into()),
    );
    WorkerLifecycle::builder(config.clone())
        .build()
        .expect("an enrolled node needs no token");
    let fresh = state_dir();
    config.node.state_dir = fresh.path().to_owned();
    let error = WorkerLifecycle::builder(config)
        .build()
        .expect_err("a new node does");
    assert!(error.to_string().contains("/nowhere/token"), "{error}");
}

#[tokio::test]
async fn another_token_is_offered_after_one_was_refused() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let tokens = state_dir();
    let file = tokens.path().join("token");
    std::fs::write(&file, "token-1").expect("written");
    let mut config = config(&controller.endpoint(), &dir, "");
    config.controller.enrolment_token = Some(
        aegis_core::config::model::EnrolmentTokenSource::File(file.clone()),
    );
    let worker = Worker::start_with(config.clone());
    controller.session().await;
    worker.stop().await.expect("a clean end");
    controller.forget();
    controller.knobs().refusals.extend([
        refusal(Code::PermissionDenied, "ENROLMENT_TOKEN_MISSING"),
        refusal(Code::PermissionDenied, "ENROLMENT_TOKEN_SPENT"),
    ]);

    let worker = Worker::start_with(config);
    assert_eq!(controller.attest().await.enrolment_token, "");
    assert_eq!(controller.attest().await.enrolment_token, "token-1");
    std::fs::write(&file, "token-2").expect("written");
    let offered = controller
        .until(|heard| match heard {
            Heard::Attest(attest) => Some(attest.enrolment_token).filter(|it| !it.is_empty()),
            _ => None,
        })
        .await;
    assert_eq!(offered, "token-2");
    controller.session().await;
    worker.stop().await.expect("a clean end");
}
