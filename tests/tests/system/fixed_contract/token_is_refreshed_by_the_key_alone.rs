use std::time::Duration;

use aegis_proto::cluster::v1::challenge_node_request::BootstrapProof;
use aegis_tests::{FixedController, Seen, Worker};

/// Re-attestation comes before the expiry, so no call is ever refused; and the
/// enrolment token is not shown again.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_refreshed_before_it_expires_without_an_enrolment_token() {
    let controller = FixedController::start().await;
    controller.script(|script| script.token_lifetime = Duration::from_secs(5));
    let worker = Worker::new(&controller.endpoint())
        .token("spent-at-once")
        .replace(
            "[lifecycle]\n",
            "[lifecycle]\ntoken_refresh_margin = \"3s\"\n",
        );
    let _program = worker.start();

    controller
        .until_count("two refreshes", 3, |it| matches!(it, Seen::Challenge(_)))
        .await;
    let beats = controller
        .seen()
        .iter()
        .filter(|it| matches!(it, Seen::Heartbeat(_)))
        .count();
    let beat = |it: &Seen| matches!(it, Seen::Heartbeat(_));
    controller
        .until_count("heartbeats go on", beats + 1, beat)
        .await;

    let seen = controller.seen();
    let refused: Vec<_> = seen
        .iter()
        .filter(|it| matches!(it, Seen::Refused(..)))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
    let mut proofs = seen.iter().filter_map(|it| match it {
        Seen::Attest(request) => Some(request.enrolment_token.clone()),
        Seen::Challenge(request) => match &request.bootstrap_proof {
            Some(BootstrapProof::EnrollmentToken(token)) => Some(token.clone()),
            None => Some(String::new()),
        },
        _ => None,
    });
    assert_eq!(proofs.next().as_deref(), Some("spent-at-once"));
    assert!(
        proofs.skip(1).all(|it| it.is_empty()),
        "shown again after it was spent"
    );
}
