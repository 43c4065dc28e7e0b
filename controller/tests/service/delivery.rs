//! How much a node is sent at once, and how its results are taken.

use std::collections::BTreeSet;

use aegis_proto::{
    operator::v1::{CancelCommandRequest, SubmitCommandRequest},
    worker::v1::{
        Command, CommandState, controller_message::Message as FromController,
        worker_message::Message as FromWorker,
    },
};
use tonic::Code;

use crate::peer::{Controller, Node, Session, only};

/// As many of one name as a node has in hand at the most.
const WINDOW: usize = 100;

async fn queue(controller: &Controller, node: &Node, name: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(controller.submit(only(node), name, "{}").await.command_id);
    }
    ids
}

async fn commands(session: &mut Session, count: usize) -> Vec<Command> {
    let mut all = Vec::new();
    while all.len() < count {
        all.push(session.command().await);
    }
    all
}

#[tokio::test]
async fn a_full_window_of_one_name_holds_up_no_other_and_is_refilled_oldest_first() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let many = queue(&controller, &node, "hello", WINDOW + 40).await;
    let other = queue(&controller, &node, "wave", 1).await;
    let control = queue(&controller, &node, "shutdown", 1).await;
    let mut session = node
        .session(&controller, node.hello(&["hello", "wave", "shutdown"]))
        .await
        .expect("welcome");

    let first = commands(&mut session, WINDOW + 2).await;
    let got: BTreeSet<_> = first.iter().map(|it| it.command_id.clone()).collect();
    let wanted: BTreeSet<_> = many[..WINDOW]
        .iter()
        .chain(&other)
        .chain(&control)
        .cloned()
        .collect();
    assert_eq!(got, wanted);

    // What was submitted last is not behind those that are held back.
    let late = queue(&controller, &node, "wave", 1).await;
    assert_eq!(session.command().await.command_id, late[0]);

    // The end of some makes room for the next.
    for command in first.iter().filter(|it| it.name == "hello").take(20) {
        let result = node.result(command, CommandState::Succeeded, "{}");
        session.send(FromWorker::CommandResult(result)).await;
    }
    let (mut acknowledged, mut next) = (0, Vec::new());
    while acknowledged < 20 || next.len() < 16 {
        match session.next().await.expect("a message") {
            Some(FromController::ResultAck(ack)) => acknowledged += ack.command_ids.len(),
            Some(FromController::Command(command)) => next.push(command.command_id),
            other => panic!("expected commands and acknowledgements, got {other:?}"),
        }
    }
    assert_eq!(next, many[WINDOW..WINDOW + next.len()]);
    assert!(next.len() <= 20, "more than there was room for");
}

#[tokio::test]
async fn a_cancel_passes_a_full_window() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let many = queue(&controller, &node, "hello", WINDOW + 1).await;
    let mut session = node
        .session(&controller, node.hello(&["hello"]))
        .await
        .expect("welcome");
    commands(&mut session, WINDOW).await;
    let request = CancelCommandRequest {
        command_id: many[7].clone(),
        reason: "enough".into(),
    };
    let mut operator = controller.operator();
    operator.cancel_command(request).await.expect("asked");
    match session.next().await.expect("a message") {
        Some(FromController::Cancel(cancel)) => assert_eq!(cancel.command_id, many[7]),
        other => panic!("expected a cancel, got {other:?}"),
    }
}

#[tokio::test]
async fn results_that_come_together_are_all_committed_and_acknowledged() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    queue(&controller, &node, "hello", 40).await;
    let mut session = node
        .session(&controller, node.hello(&["hello"]))
        .await
        .expect("welcome");
    let all = commands(&mut session, 40).await;
    for command in &all {
        let result = node.result(command, CommandState::Succeeded, "{}");
        session.send(FromWorker::CommandResult(result)).await;
    }
    let mut acknowledged = BTreeSet::new();
    while acknowledged.len() < all.len() {
        match session.next().await.expect("a message") {
            Some(FromController::ResultAck(ack)) => acknowledged.extend(ack.command_ids),
            other => panic!("expected an acknowledgement, got {other:?}"),
        }
    }
    for command in &all {
        let view = controller.command(&command.command_id).await;
        assert_eq!(view.state(), CommandState::Succeeded);
        assert!(!view.receipt.is_empty());
    }
}

#[tokio::test]
async fn a_repeat_is_answered_even_where_its_time_has_passed() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let by = std::time::SystemTime::now() + std::time::Duration::from_millis(300);
    let request = SubmitCommandRequest {
        selector: Some(only(&node)),
        name: "drain".into(),
        start_by: Some(by.into()),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let mut operator = controller.operator();
    let first = operator.submit_command(request.clone()).await;
    let first = first.expect("in time").into_inner();
    while std::time::SystemTime::now() < by {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let again = operator.submit_command(request.clone()).await;
    assert_eq!(
        again.expect("repeated").into_inner().group_id,
        first.group_id
    );
    let late = SubmitCommandRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        ..request
    };
    let refused = operator.submit_command(late).await.expect_err("too late");
    assert_eq!(refused.code(), Code::InvalidArgument);
}
