//! What becomes of commands between two sessions of a node, and of results that
//! nobody waits for.

use aegis_proto::{
    operator::v1::{CancelCommandRequest, SubmitCommandRequest},
    worker::v1::{
        Accepted, Command, CommandState, Effect, Hello, Running, command_update::Update,
        controller_message::Message as FromController, worker_message::Message as FromWorker,
    },
};

use crate::peer::{Controller, Node, Session, only, soon};

fn hello(node: &Node, effect: Effect) -> Hello {
    let mut hello = node.hello(&["work"]);
    hello.handlers[0].effect = effect.into();
    hello
}

/// A node with one command that it was sent.
async fn sent(controller: &Controller, effect: Effect) -> (Node, Session, Command) {
    let node = controller.node().await;
    let mut session = node
        .session(controller, hello(&node, effect))
        .await
        .expect("welcome");
    controller.submit(only(&node), "work", "{}").await;
    let command = session.command().await;
    (node, session, command)
}

async fn until(controller: &Controller, command: &Command, state: CommandState) {
    soon(async {
        while controller.command(&command.command_id).await.state() != state {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn cancel(controller: &Controller, command: &Command) {
    let request = CancelCommandRequest {
        command_id: command.command_id.clone(),
        reason: "enough".into(),
    };
    let mut operator = controller.operator();
    operator.cancel_command(request).await.expect("asked");
}

fn running(attempt: u32) -> Update {
    Update::Running(Running {
        started_at: None,
        attempt,
    })
}

#[tokio::test]
async fn an_accepted_command_that_may_run_once_and_was_lost_is_not_sent_again() {
    let controller = Controller::start().await;
    let (node, session, command) = sent(&controller, Effect::AtMostOnce).await;
    session
        .update(&command, Update::Accepted(Accepted {}))
        .await;
    until(&controller, &command, CommandState::Accepted).await;
    drop(session);
    let next = hello(&node, Effect::AtMostOnce);
    let _session = node.session(&controller, next).await.expect("welcome");
    let outcome = controller.outcome(&command.command_id).await;
    assert_eq!(outcome.state(), CommandState::Unknown);
    assert_eq!(outcome.error.expect("an error").code, "worker-lost");
}

#[tokio::test]
async fn a_command_that_ran_and_was_lost_runs_again_where_it_may() {
    let controller = Controller::start().await;
    let (node, session, command) = sent(&controller, Effect::Idempotent).await;
    session.update(&command, running(1)).await;
    until(&controller, &command, CommandState::Running).await;
    let first = controller.command(&command.command_id).await;
    drop(session);
    let next = hello(&node, Effect::Idempotent);
    let mut session = node.session(&controller, next).await.expect("welcome");
    let again = session.command().await;
    assert_eq!(
        (&again.command_id, again.delivery),
        (&command.command_id, 2)
    );
    session.update(&again, running(2)).await;
    soon(async {
        while controller.command(&command.command_id).await.attempt != 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let second = controller.command(&command.command_id).await;
    assert_eq!(second.state(), CommandState::Running);
    let at = |view: &aegis_proto::operator::v1::CommandView| {
        view.started_at.map(|at| (at.seconds, at.nanos))
    };
    assert!(at(&second) >= at(&first), "{second:?}");
}

#[tokio::test]
async fn what_was_cancelled_while_its_node_was_away_and_never_came_is_over() {
    let controller = Controller::start().await;
    let (node, session, command) = sent(&controller, Effect::AtMostOnce).await;
    drop(session);
    cancel(&controller, &command).await;
    let next = hello(&node, Effect::AtMostOnce);
    let mut session = node.session(&controller, next).await.expect("welcome");
    let outcome = controller.outcome(&command.command_id).await;
    assert_eq!(outcome.state(), CommandState::Cancelled);
    // It is not sent: the next message is another command.
    let other = controller.submit(only(&node), "work", "{}").await;
    assert_eq!(session.command().await.command_id, other.command_id);
}

#[tokio::test]
async fn a_cancel_reaches_a_node_that_was_away_and_holds_the_command() {
    let controller = Controller::start().await;
    let (node, session, command) = sent(&controller, Effect::AtMostOnce).await;
    drop(session);
    cancel(&controller, &command).await;
    let mut next = hello(&node, Effect::AtMostOnce);
    next.held_command_ids = vec![command.command_id.clone()];
    let mut session = node.session(&controller, next).await.expect("welcome");
    match session.next().await.expect("a message") {
        Some(FromController::Cancel(cancel)) => assert_eq!(cancel.command_id, command.command_id),
        other => panic!("expected a cancel, got {other:?}"),
    }
}

#[tokio::test]
async fn a_node_that_tells_nothing_is_sent_a_command_once_a_session() {
    let controller = Controller::start().await;
    let (node, mut session, command) = sent(&controller, Effect::Read).await;
    for delivery in 2..5 {
        let other = controller.submit(only(&node), "work", "{}").await;
        let sent = session.command().await;
        assert_eq!(sent.command_id, other.command_id, "not the first again");
        drop(session);
        let next = hello(&node, Effect::Read);
        session = node.session(&controller, next).await.expect("welcome");
        let again = session.command().await;
        assert_eq!(
            (&again.command_id, again.delivery),
            (&command.command_id, delivery)
        );
        for _ in 2..=delivery {
            session.command().await;
        }
    }
}

#[tokio::test]
async fn a_result_of_a_command_that_was_never_sent_changes_nothing() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut session = node
        .session(&controller, hello(&node, Effect::Read))
        .await
        .expect("welcome");
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    let request = SubmitCommandRequest {
        selector: Some(only(&node)),
        name: "work".into(),
        not_before: Some(later.into()),
        ..Default::default()
    };
    let made = controller.operator().submit_command(request).await;
    let queued = made.expect("made").into_inner().commands.remove(0);
    let guessed = Command {
        command_id: queued.command_id.clone(),
        name: "work".into(),
        ..Command::default()
    };
    let result = node.result(&guessed, CommandState::Succeeded, "{}");
    session.send(FromWorker::CommandResult(result)).await;
    assert_eq!(session.ack().await, queued.command_id);
    let now = controller.command(&queued.command_id).await;
    assert_eq!(now.state(), CommandState::Queued);
    let kinds = controller.event_kinds().await;
    assert!(kinds.contains(&"result-dropped".to_owned()), "{kinds:?}");
}

#[tokio::test]
async fn another_result_of_a_finished_command_is_acknowledged_and_told() {
    let controller = Controller::start().await;
    let (node, mut session, command) = sent(&controller, Effect::Read).await;
    let ignored = async || {
        let kinds = controller.event_kinds().await;
        kinds
            .iter()
            .filter(|kind| *kind == "result-ignored")
            .count()
    };
    let first = node.result(&command, CommandState::Succeeded, "{}");
    for _ in 0..2 {
        session.send(FromWorker::CommandResult(first.clone())).await;
        assert_eq!(session.ack().await, command.command_id);
    }
    assert_eq!(ignored().await, 0, "the same again is no news");
    let second = node.result(&command, CommandState::Failed, "");
    session.send(FromWorker::CommandResult(second)).await;
    assert_eq!(session.ack().await, command.command_id);
    soon(async {
        while ignored().await != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let view = controller.command(&command.command_id).await;
    assert_eq!(view.state(), CommandState::Succeeded);
    assert_eq!(view.receipt, first.receipt);
}

#[tokio::test]
async fn a_command_that_was_lost_and_is_told_after_all_stays_as_it_ended() {
    let controller = Controller::start().await;
    let (node, session, command) = sent(&controller, Effect::AtMostOnce).await;
    session.update(&command, running(1)).await;
    until(&controller, &command, CommandState::Running).await;
    drop(session);
    let next = hello(&node, Effect::AtMostOnce);
    let mut session = node.session(&controller, next).await.expect("welcome");
    let late = node.result(&command, CommandState::Succeeded, "{}");
    session.send(FromWorker::CommandResult(late)).await;
    assert_eq!(session.ack().await, command.command_id);
    let outcome = controller.outcome(&command.command_id).await;
    assert_eq!(outcome.state(), CommandState::Unknown);
}
