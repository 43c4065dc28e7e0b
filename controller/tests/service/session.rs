//! WorkerSession: greeting, commands, results, and its ends.

use aegis_proto::{
    operator::v1::{
        BanNodeRequest, CancelCommandRequest, EvictNodeRequest, ShowCommandRequest,
        WatchCommandsRequest, command_event::Event,
    },
    worker::v1::{
        Accepted, CommandState, ConfigStatus, Effect, OutputChunk, Progress, Running, bye,
        command_update::Update, controller_message::Message as FromController,
        worker_message::Message as FromWorker,
    },
};
use tonic::Code;

use crate::peer::{Controller, Session, only, soon};

#[tokio::test]
async fn a_command_goes_to_its_node_and_its_result_comes_back() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut session = node
        .session(&controller, node.hello(&["hello"]))
        .await
        .expect("welcome");

    let submitted = controller
        .submit(only(&node), "hello", r#"{"name":"world"}"#)
        .await;
    let command = session.command().await;
    assert_eq!(command.command_id, submitted.command_id);
    assert_eq!(command.payload, br#"{"name":"world"}"#);
    assert_eq!((command.delivery, command.issuer.as_str()), (1, "operator"));

    session
        .update(&command, Update::Accepted(Accepted {}))
        .await;
    session
        .update(
            &command,
            Update::Running(Running {
                started_at: None,
                attempt: 1,
            }),
        )
        .await;
    let result = node.result(&command, CommandState::Succeeded, r#"{"text":"hi"}"#);
    session
        .send(FromWorker::CommandResult(result.clone()))
        .await;
    assert_eq!(session.ack().await, command.command_id);

    let request = ShowCommandRequest {
        command_id: command.command_id.clone(),
    };
    let shown = controller
        .operator()
        .show_command(request)
        .await
        .expect("shown")
        .into_inner();
    let view = shown.command.expect("a command");
    assert_eq!(view.state(), CommandState::Succeeded);
    assert_eq!(view.response, br#"{"text":"hi"}"#);
    assert_eq!(view.receipt, result.receipt);
    assert_eq!(view.receipt_signature, result.signature);
    assert_eq!(shown.output, b"some output");
}

#[tokio::test]
async fn a_watcher_sees_states_progress_and_output_in_order() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut session = node
        .session(&controller, node.hello(&["hello"]))
        .await
        .expect("welcome");
    let submitted = controller.submit(only(&node), "hello", "{}").await;
    let command = session.command().await;

    let request = WatchCommandsRequest {
        command_ids: vec![submitted.command_id],
        group_id: String::new(),
    };
    let mut events = controller
        .operator()
        .watch_commands(request)
        .await
        .expect("watched")
        .into_inner();
    let mut next = async || {
        soon(events.message())
            .await
            .expect("an event")
            .and_then(|e| e.event)
    };
    let Some(Event::Command(first)) = next().await else {
        panic!("the kept state comes first")
    };
    assert_eq!(first.state(), CommandState::Delivered);

    session
        .update(
            &command,
            Update::Running(Running {
                started_at: None,
                attempt: 1,
            }),
        )
        .await;
    let Some(Event::Command(running)) = next().await else {
        panic!("then its start")
    };
    assert_eq!(running.state(), CommandState::Running);
    session
        .update(
            &command,
            Update::Progress(Progress {
                permille: 500,
                note: "half".into(),
            }),
        )
        .await;
    let Some(Event::Progress(progress)) = next().await else {
        panic!("then its progress")
    };
    assert_eq!(progress.permille, 500);
    let chunk = OutputChunk {
        offset: 0,
        data: b"some ".to_vec(),
    };
    session.update(&command, Update::Output(chunk)).await;
    let Some(Event::Output(output)) = next().await else {
        panic!("then its output")
    };
    assert_eq!(output.data, b"some ");

    let result = node.result(&command, CommandState::Succeeded, "{}");
    session.send(FromWorker::CommandResult(result)).await;
    let Some(Event::Output(rest)) = next().await else {
        panic!("then the rest of its output")
    };
    assert_eq!((rest.offset, &rest.data[..]), (5, &b"output"[..]));
    let Some(Event::Command(last)) = next().await else {
        panic!("then its end")
    };
    assert_eq!(last.state(), CommandState::Succeeded);
    assert!(next().await.is_none(), "and nothing after it");
}

#[tokio::test]
async fn output_at_an_absurd_offset_disturbs_nobody() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut session = node
        .session(&controller, node.hello(&["hello"]))
        .await
        .expect("a session");
    controller.submit(only(&node), "hello", "{}").await;
    let command = session.command().await;
    for offset in [u64::MAX - 2, u64::MAX, 0] {
        let chunk = OutputChunk {
            offset,
            data: b"some output".to_vec(),
        };
        session.update(&command, Update::Output(chunk)).await;
    }
    let result = node.result(&command, CommandState::Succeeded, "{}");
    session.send(FromWorker::CommandResult(result)).await;
    assert_eq!(session.ack().await, command.command_id);
}

#[tokio::test]
async fn a_late_watcher_gets_what_is_kept() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut session = node
        .session(&controller, node.hello(&["hello"]))
        .await
        .expect("welcome");
    controller.submit(only(&node), "hello", "{}").await;
    let command = session.command().await;
    let result = node.result(&command, CommandState::Failed, "");
    session.send(FromWorker::CommandResult(result)).await;
    session.ack().await;
    assert_eq!(
        controller.outcome(&command.command_id).await.state(),
        CommandState::Failed
    );
}

#[tokio::test]
async fn a_newer_session_takes_the_place_of_an_older() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut older = node
        .session(&controller, node.hello(&["hello"]))
        .await
        .expect("welcome");
    let mut newer = node
        .session(&controller, node.hello(&["hello"]))
        .await
        .expect("welcome");
    assert_eq!(older.bye().await.reason(), bye::Reason::Superseded);
    assert!(older.next().await.expect("an orderly end").is_none());
    let submitted = controller.submit(only(&node), "hello", "{}").await;
    assert_eq!(newer.command().await.command_id, submitted.command_id);
    assert!(
        controller
            .event_kinds()
            .await
            .contains(&"session-superseded".to_owned())
    );
}

#[tokio::test]
async fn an_older_worker_does_not_take_the_place_back_while_the_newer_lives() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let (first, second) = (node.hello(&["hello"]), node.hello(&["hello"]));
    let mut older = node
        .session(&controller, first.clone())
        .await
        .expect("welcome");
    let mut newer = node
        .session(&controller, second.clone())
        .await
        .expect("welcome");
    older.bye().await;

    let mut again = Session::connect(&controller).await.expect("a stream");
    again
        .greet(&node, first.clone())
        .await
        .expect("a challenge");
    assert_eq!(again.bye().await.reason(), bye::Reason::Superseded);
    let submitted = controller.submit(only(&node), "hello", "{}").await;
    assert_eq!(newer.command().await.command_id, submitted.command_id);

    // The same process may always come back: its old connection may be dead.
    let mut newer = node.session(&controller, second).await.expect("welcome");
    assert_eq!(newer.command().await.command_id, submitted.command_id);
    drop(newer);
    let closed = async {
        let closed = "session-closed".to_owned();
        while !controller.event_kinds().await.contains(&closed) {
            tokio::task::yield_now().await;
        }
    };
    soon(closed).await;
    node.session(&controller, first).await.expect("welcome");
}

#[tokio::test]
async fn what_a_node_does_not_hold_is_sent_again() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut session = node
        .session(&controller, node.hello(&["hello"]))
        .await
        .expect("welcome");
    controller.submit(only(&node), "hello", r#"{"n":1}"#).await;
    let lost = session.command().await;
    controller.submit(only(&node), "hello", r#"{"n":2}"#).await;
    let held = session.command().await;
    session.update(&held, Update::Accepted(Accepted {})).await;
    drop(session);

    let mut hello = node.hello(&["hello"]);
    hello.held_command_ids = vec![held.command_id.clone()];
    let mut session = node.session(&controller, hello).await.expect("welcome");
    let again = session.command().await;
    assert_eq!(
        (again.command_id.as_str(), again.delivery),
        (lost.command_id.as_str(), 2)
    );
    let result = node.result(&held, CommandState::Succeeded, "{}");
    session.send(FromWorker::CommandResult(result)).await;
    assert_eq!(session.ack().await, held.command_id);
}

#[tokio::test]
async fn a_lost_command_that_may_run_once_alone_ends_as_unknown() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut hello = node.hello(&["wipe"]);
    hello.handlers[0].effect = Effect::AtMostOnce.into();
    let mut session = node
        .session(&controller, hello.clone())
        .await
        .expect("welcome");
    controller.submit(only(&node), "wipe", "{}").await;
    let command = session.command().await;
    session
        .update(
            &command,
            Update::Running(Running {
                started_at: None,
                attempt: 1,
            }),
        )
        .await;
    soon(async {
        while controller.command(&command.command_id).await.state() != CommandState::Running {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(session);
    let _session = node.session(&controller, hello).await.expect("welcome");
    let outcome = controller.outcome(&command.command_id).await;
    assert_eq!(outcome.state(), CommandState::Unknown);
    assert_eq!(outcome.error.expect("an error").code, "worker-lost");
}

#[tokio::test]
async fn a_result_sent_twice_is_acknowledged_twice_and_kept_once() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut session = node
        .session(&controller, node.hello(&["hello"]))
        .await
        .expect("welcome");
    controller.submit(only(&node), "hello", "{}").await;
    let command = session.command().await;
    let first = node.result(&command, CommandState::Succeeded, r#"{"n":1}"#);
    let second = node.result(&command, CommandState::Failed, "");
    for result in [first, second] {
        session.send(FromWorker::CommandResult(result)).await;
        assert_eq!(session.ack().await, command.command_id);
    }
    assert_eq!(
        controller.command(&command.command_id).await.response,
        br#"{"n":1}"#
    );
}

#[tokio::test]
async fn a_result_of_another_nodes_command_changes_nothing() {
    let controller = Controller::start().await;
    let (victim, thief) = (controller.node().await, controller.node().await);
    let submitted = controller.submit(only(&victim), "shutdown", "{}").await;
    let mut session = thief
        .session(&controller, thief.hello(&["hello"]))
        .await
        .expect("welcome");
    let stolen = aegis_proto::worker::v1::Command {
        command_id: submitted.command_id.clone(),
        name: "shutdown".into(),
        ..Default::default()
    };
    let result = thief.result(&stolen, CommandState::Succeeded, "{}");
    session.send(FromWorker::CommandResult(result)).await;
    assert_eq!(session.ack().await, submitted.command_id);
    assert_eq!(
        controller.command(&submitted.command_id).await.state(),
        CommandState::Queued
    );
    assert!(
        controller
            .event_kinds()
            .await
            .contains(&"result-dropped".to_owned())
    );
}

#[tokio::test]
async fn a_forged_result_ends_the_command_as_unknown() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut session = node
        .session(&controller, node.hello(&["hello"]))
        .await
        .expect("welcome");
    controller.submit(only(&node), "hello", "{}").await;
    let command = session.command().await;
    let mut result = node.result(&command, CommandState::Succeeded, "{}");
    result.response = br#"{"forged":true}"#.to_vec();
    session.send(FromWorker::CommandResult(result)).await;
    session.ack().await;
    let outcome = controller.outcome(&command.command_id).await;
    assert_eq!(outcome.state(), CommandState::Unknown);
    assert_eq!(outcome.error.expect("an error").code, "invalid-receipt");
    assert!(outcome.response.is_empty());
}

#[tokio::test]
async fn a_cancel_reaches_the_node_that_has_the_command() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut session = node
        .session(&controller, node.hello(&["hello"]))
        .await
        .expect("welcome");
    controller.submit(only(&node), "hello", "{}").await;
    let command = session.command().await;
    let request = CancelCommandRequest {
        command_id: command.command_id.clone(),
        reason: "changed my mind".into(),
    };
    let view = controller
        .operator()
        .cancel_command(request)
        .await
        .expect("asked")
        .into_inner();
    let view = view.command.expect("a command");
    assert!(view.cancel_requested);
    assert_eq!(view.state(), CommandState::Delivered);
    match session.next().await.expect("a message") {
        Some(FromController::Cancel(cancel)) => {
            assert_eq!(cancel.command_id, command.command_id);
            assert_eq!(cancel.reason, "changed my mind");
        }
        other => panic!("expected a cancel, got {other:?}"),
    }
    let result = node.result(&command, CommandState::Cancelled, "");
    session.send(FromWorker::CommandResult(result)).await;
    session.ack().await;
    assert_eq!(
        controller.outcome(&command.command_id).await.state(),
        CommandState::Cancelled
    );
}

#[tokio::test]
async fn a_banned_and_an_evicted_node_are_told_so() {
    let controller = Controller::start().await;
    let banned = controller.node().await;
    let mut session = banned
        .session(&controller, banned.hello(&[]))
        .await
        .expect("welcome");
    let request = BanNodeRequest {
        node: banned.id.clone(),
        reason: "theft".into(),
    };
    controller
        .operator()
        .ban_node(request)
        .await
        .expect("banned");
    let bye = session.bye().await;
    assert_eq!(
        (bye.reason(), bye.message.as_str()),
        (bye::Reason::Banned, "theft")
    );

    let evicted = controller.node().await;
    let mut session = evicted
        .session(&controller, evicted.hello(&[]))
        .await
        .expect("welcome");
    let request = EvictNodeRequest {
        node: evicted.id.clone(),
        reason: String::new(),
    };
    controller
        .operator()
        .evict_node(request)
        .await
        .expect("evicted");
    assert_eq!(session.bye().await.reason(), bye::Reason::Evicted);
}

#[tokio::test]
async fn sessions_are_told_when_the_controller_stops() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut session = node
        .session(&controller, node.hello(&[]))
        .await
        .expect("welcome");
    let Controller {
        server,
        dir,
        channel,
    } = controller;
    let told = tokio::spawn(async move {
        let bye = session.bye().await;
        (bye.reason(), bye.retry_after.is_some())
    });
    drop(channel);
    soon(server.stop()).await.expect("a clean end");
    assert_eq!(told.await.expect("told"), (bye::Reason::GoingAway, true));
    assert!(!dir.path().join("endpoint").exists());
}

#[tokio::test]
async fn a_token_is_renewed_on_the_session_before_it_expires() {
    let controller = Controller::start_with(|config| {
        config.settings.token_ttl = std::time::Duration::from_secs(2);
    })
    .await;
    let mut node = controller.node().await;
    let mut session = node
        .session(&controller, node.hello(&[]))
        .await
        .expect("welcome");
    match session.next().await.expect("a message") {
        Some(FromController::TokenRenewal(renewal)) => node.token = renewal.node_security_token,
        other => panic!("expected a renewal, got {other:?}"),
    }
    node.register(&controller)
        .await
        .expect("the new token is good");
}

#[tokio::test]
async fn a_hello_has_to_answer_this_streams_challenge() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut session = Session::connect(&controller).await.expect("a stream");
    assert!(matches!(
        session.next().await,
        Ok(Some(FromController::Challenge(_)))
    ));
    let mut hello = node.hello(&[]);
    hello.challenge = vec![7; 32];
    session
        .send(FromWorker::Hello(node.seal(&hello).expect("sealed")))
        .await;
    assert_eq!(
        session.next().await.expect_err("refused").code(),
        Code::Unauthenticated
    );
}

#[tokio::test]
async fn a_session_begins_with_a_hello_and_nothing_else() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut session = Session::connect(&controller).await.expect("a stream");
    assert!(matches!(
        session.next().await,
        Ok(Some(FromController::Challenge(_)))
    ));
    session
        .send(FromWorker::Heartbeat(Default::default()))
        .await;
    assert_eq!(
        session.next().await.expect_err("refused").code(),
        Code::InvalidArgument
    );

    // Another sealed message of the same node is no hello.
    let mut session = Session::connect(&controller).await.expect("a stream");
    let mut hello = node.hello(&[]);
    hello.purpose = "aegis.worker.v1.Receipt".into();
    session.greet(&node, hello).await.expect("sent");
    assert_eq!(
        session.next().await.expect_err("refused").code(),
        Code::Unauthenticated
    );
}

#[tokio::test]
async fn a_session_needs_a_registered_node() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    node.deregister(&controller).await.expect("deregistered");
    let mut session = Session::connect(&controller).await.expect("a stream");
    session.greet(&node, node.hello(&[])).await.expect("sent");
    assert_eq!(
        session.next().await.expect_err("refused").code(),
        Code::Unauthenticated
    );
}

#[tokio::test]
async fn a_config_that_a_node_has_refused_is_not_offered_again() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    node.deregister(&controller).await.expect("gone");
    let request = aegis_proto::operator::v1::SetConfigRequest {
        selector: Some(crate::peer::all()),
        document: br#"{"worker":{"log":"debug"}}"#.to_vec(),
        ..Default::default()
    };
    let set = controller
        .operator()
        .set_config(request)
        .await
        .expect("set")
        .into_inner();
    assert!(
        set.commands.is_empty(),
        "a node that is gone is sent nothing"
    );

    node.register(&controller).await.expect("back");
    let mut session = node
        .session(&controller, node.hello(&["hello"]))
        .await
        .expect("welcome");
    let offer = match session.next().await.expect("a message") {
        Some(FromController::ConfigOffer(offer)) => offer,
        other => panic!("expected an offer, got {other:?}"),
    };
    assert_eq!(offer.config_payload, br#"{"worker":{"log":"debug"}}"#);
    drop(session);

    let mut hello = node.hello(&["hello"]);
    hello.config = Some(ConfigStatus {
        attempted_version: offer.config_version,
        failed_step: "validate".into(),
        ..Default::default()
    });
    let mut session = node.session(&controller, hello).await.expect("welcome");
    let submitted = controller.submit(only(&node), "hello", "{}").await;
    // The next message would have been the offer.
    assert_eq!(session.command().await.command_id, submitted.command_id);
}

#[tokio::test]
async fn a_lost_journal_is_an_event_once() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut seen = Vec::new();
    for lost_at in [None, Some(100), Some(100), Some(200)] {
        let mut hello = node.hello(&["hello"]);
        hello.journal_lost_at = lost_at.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 });
        drop(node.session(&controller, hello).await.expect("welcome"));
        let kinds = controller.event_kinds().await;
        seen.push(kinds.iter().filter(|kind| *kind == "journal-lost").count());
    }
    assert_eq!(seen, [0, 1, 1, 2]);
}
