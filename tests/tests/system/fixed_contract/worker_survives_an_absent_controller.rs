use std::time::Duration;

use aegis_tests::{FixedController, Rpc, Script, Seen, Worker, free_address};
use tonic::Status;

fn heartbeat(it: &Seen) -> bool {
    matches!(it, Seen::Heartbeat(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_finds_no_controller_keeps_trying_until_there_is_one() {
    let address = free_address();
    let worker = Worker::new(&format!("http://{address}")).token("t");
    let mut program = worker.start();
    program.says(&address.to_string()).await;
    assert!(program.runs());
    let controller = FixedController::start_at(address, Script::default()).await;
    controller.until_count("a heartbeat", 1, heartbeat).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_controller_goes_away_is_there_when_it_returns() {
    let controller = FixedController::start().await;
    let worker = Worker::new(&controller.endpoint()).token("spent-at-once");
    let mut program = worker.start();
    controller.until_count("a heartbeat", 1, heartbeat).await;

    let address = controller.stop().await;
    // The one that returns knows no token of the one before.
    let controller = FixedController::start_at(address, Script::default()).await;
    controller.until_count("a heartbeat", 1, heartbeat).await;
    let token = controller
        .until("an attestation", |seen| {
            seen.iter().find_map(|it| match it {
                Seen::Attest(request) => Some(request.enrolment_token.clone()),
                _ => None,
            })
        })
        .await;
    assert_eq!(token, "", "the key alone");
    assert!(program.runs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_answers_unavailable_is_asked_again() {
    let mut script = Script {
        token_lifetime: Duration::from_secs(600),
        ..Script::default()
    };
    for rpc in [
        Rpc::AttestNode,
        Rpc::ChallengeNode,
        Rpc::RegisterNode,
        Rpc::Heartbeat,
    ] {
        script
            .failures
            .push_back((rpc, Status::unavailable("later")));
    }
    let controller = FixedController::start_at(free_address(), script).await;
    let worker = Worker::new(&controller.endpoint()).token("t");
    let _program = worker.start();
    controller.until_count("heartbeats", 2, heartbeat).await;
    let refused = controller
        .seen()
        .iter()
        .filter(|it| matches!(it, Seen::Refused(..)))
        .count();
    assert_eq!(refused, 4);
}
