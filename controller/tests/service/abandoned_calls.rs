//! Callers that go away in the middle of a call.

use std::time::Duration;

use aegis_proto::{
    operator::v1::SubmitCommandRequest,
    worker::v1::{CommandState, worker_message::Message as FromWorker},
};
use uuid::Uuid;

use crate::peer::{Controller, Node, only};

/// Moments at which a caller goes away: from before anything has happened
/// until after all has.
fn moments() -> impl Iterator<Item = Duration> {
    (0..60).map(|step| Duration::from_micros(step * 150))
}

/// Makes a call, and gives it up after a while.
async fn abandoned_after<T>(moment: Duration, call: impl Future<Output = T>) {
    // Either is what is to be tried here.
    let _ = tokio::time::timeout(moment, call).await;
}

#[tokio::test]
async fn a_node_that_goes_away_while_it_enrols_can_come_back() {
    let controller = Controller::start().await;
    for moment in moments() {
        let token = controller.enrolment_token().await;
        let mut node = Node::new();
        let mut cluster = controller.cluster();
        let challenge = cluster
            .attest_node(node.attestation(&token))
            .await
            .expect("a challenge");
        abandoned_after(
            moment,
            cluster.challenge_node(node.answer(challenge.get_ref())),
        )
        .await;
        // It was enrolled, or its token is still good. A first attempt may find
        // the abandoned call under way.
        let mut last = None;
        for _ in 0..50 {
            last = node.enrol(&controller, &token).await.err();
            if last.is_none() {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert!(last.is_none(), "after {moment:?}: {last:?}");
    }
}

#[tokio::test]
async fn a_command_of_a_caller_that_went_away_reaches_its_node() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut session = node
        .session(&controller, node.hello(&["hello"]))
        .await
        .expect("a session");
    for moment in moments() {
        let request = SubmitCommandRequest {
            request_id: Uuid::new_v4().to_string(),
            selector: Some(only(&node)),
            name: "hello".into(),
            ..Default::default()
        };
        let mut operator = controller.operator();
        abandoned_after(moment, operator.submit_command(request.clone())).await;
        // The same request tells whether there is a command; it wakes nobody
        // where there is.
        let made = operator
            .submit_command(request)
            .await
            .expect("submitted")
            .into_inner()
            .commands
            .remove(0);
        let command = session.command().await;
        assert_eq!(command.command_id, made.command_id, "after {moment:?}");
        let result = node.result(&command, CommandState::Succeeded, "{}");
        session.send(FromWorker::CommandResult(result)).await;
        session.ack().await;
    }
}
