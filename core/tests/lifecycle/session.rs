//! The session, from hello to goodbye.

use std::time::Instant;

use aegis_core::lifecycle::WorkerLifecycle;
use aegis_proto::{
    RECEIPT_PURPOSE,
    cluster::v1::NodeStatus,
    worker::v1::{
        CancelCommand, Command, CommandState, ControllerMessage, Receipt, ResultAck, TokenRenewal,
        command_update::Update, controller_message::Message as Down, worker_message::Message as Up,
    },
};
use ed25519_dalek::{Signature, VerifyingKey};
use prost::Message as _;
use uuid::Uuid;

use crate::{
    controller::{Controller, Heard, Session},
    plugin,
    worker::{DEADLINE, Worker, config, state_dir},
};

async fn result(session: &mut Session) -> aegis_proto::worker::v1::CommandResult {
    session
        .until(|message| match message {
            Up::CommandResult(result) => Some(result),
            _ => None,
        })
        .await
}

fn unknown_command() -> Command {
    Command {
        command_id: Uuid::now_v7().to_string(),
        name: "no-such-command".to_owned(),
        payload: b"{}".to_vec(),
        issuer: "tests".to_owned(),
        ..Command::default()
    }
}

#[tokio::test]
async fn heartbeats_are_numbered_and_tell_the_truth() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    let mut session = controller.session().await;
    assert_eq!(session.hello.node_id, worker.node_id);
    assert_eq!(session.hello.held_command_ids, Vec::<String>::new());
    for expected in 1..=3 {
        let heartbeat = session
            .until(|message| match message {
                Up::Heartbeat(heartbeat) => Some(heartbeat),
                _ => None,
            })
            .await;
        assert_eq!(heartbeat.sequence, expected);
        assert_eq!(heartbeat.status(), NodeStatus::Active);
    }
    worker.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_result_is_signed_and_told_again_until_it_is_acknowledged() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    let mut session = controller.session().await;
    let command = unknown_command();
    session.say(Down::Command(command.clone())).await;
    let first = result(&mut session).await;
    let key = VerifyingKey::from_bytes(&worker.public_key).expect("a key");
    let signature = Signature::from_slice(&first.signature).expect("a signature");
    key.verify_strict(&first.receipt, &signature)
        .expect("a good signature");
    let receipt = Receipt::decode(first.receipt.as_slice()).expect("a receipt");
    assert_eq!(receipt.purpose, RECEIPT_PURPOSE);
    assert_eq!(
        (receipt.command_id.as_str(), receipt.state()),
        (command.command_id.as_str(), CommandState::Rejected)
    );
    assert_eq!(receipt.error_code, "unknown-command");

    // The connection goes before the result is committed.
    drop(session);
    controller.stop().await;
    controller.resume().await;
    let mut session = controller.session().await;
    assert_eq!(
        session.hello.held_command_ids,
        std::slice::from_ref(&command.command_id)
    );
    assert_eq!(result(&mut session).await.receipt, first.receipt);
    session
        .say(Down::ResultAck(ResultAck {
            command_ids: vec![command.command_id.clone()],
        }))
        .await;
    session
        .until(|message| match message {
            Up::Heartbeat(heartbeat) if heartbeat.outbox_length == 0 => Some(()),
            _ => None,
        })
        .await;
    worker.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_worker_whose_future_was_dropped_is_built_again_beside_what_it_left_running() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    let mut session = controller.session().await;
    let command = Command {
        name: "hold".to_owned(),
        ..unknown_command()
    };
    session.say(Down::Command(command.clone())).await;
    attempt(&mut session, 1).await;
    worker.drop_future().await;
    drop(session);
    // What it held is let go of by other threads.
    let deadline = Instant::now() + DEADLINE;
    while let Err(error) = WorkerLifecycle::builder(config(&controller.endpoint(), &dir, ""))
        .built_in_grants(plugin::PLUGIN, ["node-control"])
        .build()
    {
        assert!(Instant::now() < deadline, "{error}");
        tokio::task::yield_now().await;
    }
    let worker = Worker::start(&controller.endpoint(), &dir);
    let mut session = controller.session().await;
    assert_eq!(session.hello.held_command_ids, [command.command_id]);
    attempt(&mut session, 2).await;
    worker.drop_future().await;
}

async fn attempt(session: &mut Session, attempt: u32) {
    session
        .until(|message| match message {
            Up::CommandUpdate(update) => match update.update {
                Some(Update::Running(running)) if running.attempt == attempt => Some(()),
                _ => None,
            },
            _ => None,
        })
        .await;
}

#[tokio::test]
async fn results_are_handed_over_before_the_worker_leaves() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    let mut session = controller.session().await;
    let command = unknown_command();
    session.say(Down::Command(command.clone())).await;
    result(&mut session).await;
    let ended = tokio::spawn(worker.stop());
    session
        .until(|message| match message {
            Up::Heartbeat(heartbeat) if heartbeat.status() == NodeStatus::Draining => Some(()),
            _ => None,
        })
        .await;
    assert!(!ended.is_finished(), "it left with a result in its outbox");
    session
        .say(Down::ResultAck(ResultAck {
            command_ids: vec![command.command_id],
        }))
        .await;
    controller
        .until(|heard| matches!(heard, Heard::Deregister(_)).then_some(()))
        .await;
    ended.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn what_is_unknown_or_malformed_does_not_end_a_session() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    let mut session = controller.session().await;
    session
        .down
        .send(Ok(ControllerMessage { message: None }))
        .await
        .expect("open");
    session
        .say(Down::Command(Command {
            command_id: "7".to_owned(),
            ..Command::default()
        }))
        .await;
    session
        .say(Down::Cancel(CancelCommand {
            command_id: "7".to_owned(),
            reason: String::new(),
        }))
        .await;
    session
        .say(Down::ResultAck(ResultAck {
            command_ids: vec!["7".to_owned()],
        }))
        .await;
    session
        .say(Down::TokenRenewal(TokenRenewal::default()))
        .await;
    let command = unknown_command();
    session.say(Down::Command(command.clone())).await;
    result(&mut session).await;
    session
        .say(Down::ResultAck(ResultAck {
            command_ids: vec![command.command_id],
        }))
        .await;
    worker.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_command_goes_on_while_the_controller_is_away() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    let mut session = controller.session().await;
    let command = Command {
        name: "hold".to_owned(),
        ..unknown_command()
    };
    session.say(Down::Command(command.clone())).await;
    session
        .until(|message| match message {
            Up::CommandUpdate(update) => {
                matches!(update.update, Some(Update::Running(_))).then_some(())
            }
            _ => None,
        })
        .await;
    drop(session);
    controller.stop().await;
    controller.resume().await;

    let mut session = controller.session().await;
    assert_eq!(
        session.hello.held_command_ids,
        std::slice::from_ref(&command.command_id)
    );
    let running = session
        .until(|message| match message {
            Up::Heartbeat(heartbeat) => Some(heartbeat.running_command_ids),
            _ => None,
        })
        .await;
    assert_eq!(running, std::slice::from_ref(&command.command_id));
    session
        .say(Down::Cancel(CancelCommand {
            command_id: command.command_id.clone(),
            reason: "enough".to_owned(),
        }))
        .await;
    let result = result(&mut session).await;
    let receipt = Receipt::decode(result.receipt.as_slice()).expect("a receipt");
    assert_eq!(receipt.state(), CommandState::Cancelled);
    assert!(receipt.started_at.is_some());
    session
        .say(Down::ResultAck(ResultAck {
            command_ids: vec![command.command_id],
        }))
        .await;
    worker.stop().await.expect("a clean end");
}

#[tokio::test]
async fn the_hello_tells_what_the_node_has() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    let session = controller.session().await;
    let plugin = &session.hello.plugins[0];
    assert_eq!(
        (
            plugin.name.as_str(),
            plugin.placement.as_str(),
            plugin.state.as_str()
        ),
        (plugin::PLUGIN, "built-in", "active")
    );
    let names: Vec<&str> = session
        .hello
        .handlers
        .iter()
        .map(|spec| spec.name.as_str())
        .collect();
    assert_eq!(names, ["drain", "hold", "shutdown"]);
    assert!(
        session
            .hello
            .handlers
            .iter()
            .all(|spec| spec.enabled && !spec.request_schema.is_empty())
    );
    worker.stop().await.expect("a clean end");
}
