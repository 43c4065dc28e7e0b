//! A controller that acknowledges what it was never told, delivers again what
//! it acknowledged, and gives one id to two commands.

use aegis_proto::worker::v1::{
    CancelCommand, Command, CommandResult, CommandState, Receipt, ResultAck,
    controller_message::Message as Down, worker_message::Message as Up,
};
use prost::Message as _;
use uuid::Uuid;

use crate::{
    controller::{Controller, Session},
    worker::{Worker, state_dir},
};

/// A command whose every run can be counted: it ends when it is cancelled.
fn hold() -> Command {
    Command {
        command_id: Uuid::now_v7().to_string(),
        name: "hold".to_owned(),
        payload: b"{}".to_vec(),
        issuer: "tests".to_owned(),
        delivery: 1,
        ..Command::default()
    }
}

fn acknowledge(id: &str) -> Down {
    Down::ResultAck(ResultAck {
        command_ids: vec![id.to_owned()],
    })
}

fn cancel(id: &str) -> Down {
    Down::Cancel(CancelCommand {
        command_id: id.to_owned(),
        reason: "enough".to_owned(),
    })
}

/// The next result, and the receipt in it.
async fn result(session: &mut Session) -> (CommandResult, Receipt) {
    let result = session
        .until(|message| match message {
            Up::CommandResult(result) => Some(result),
            _ => None,
        })
        .await;
    let receipt = Receipt::decode(result.receipt.as_slice()).expect("a receipt");
    (result, receipt)
}

async fn until_runs(session: &mut Session, id: &str) {
    session
        .until(|message| match message {
            Up::Heartbeat(heartbeat) => heartbeat
                .running_command_ids
                .iter()
                .any(|it| it == id)
                .then_some(()),
            _ => None,
        })
        .await;
}

async fn until_outbox(session: &mut Session, length: u32) {
    session
        .until(|message| match message {
            Up::Heartbeat(heartbeat) => (heartbeat.outbox_length == length).then_some(()),
            _ => None,
        })
        .await;
}

async fn acknowledged(session: &mut Session, id: &str) {
    session.say(acknowledge(id)).await;
    until_outbox(session, 0).await;
}

async fn settle_and_stop(session: &mut Session, id: &str, worker: Worker) {
    acknowledged(session, id).await;
    worker.stop().await.expect("a clean end");
}

#[tokio::test]
async fn an_acknowledgement_of_what_was_never_told_forgets_nothing() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    let mut session = controller.session().await;
    let command = hold();
    session.say(Down::Command(command.clone())).await;
    until_runs(&mut session, &command.command_id).await;
    for id in [
        command.command_id.as_str(),
        &Uuid::now_v7().to_string(),
        "no id at all",
        "",
    ] {
        session.say(acknowledge(id)).await;
    }
    session.say(cancel(&command.command_id)).await;
    let (_, receipt) = result(&mut session).await;
    assert_eq!(receipt.command_id, command.command_id);
    assert_eq!(receipt.state(), CommandState::Cancelled);
    settle_and_stop(&mut session, &command.command_id, worker).await;
}

#[tokio::test]
async fn what_was_acknowledged_is_not_run_again_not_even_by_the_next_worker() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    let mut session = controller.session().await;
    let command = hold();
    session.say(Down::Command(command.clone())).await;
    until_runs(&mut session, &command.command_id).await;
    session.say(cancel(&command.command_id)).await;
    let (first, _) = result(&mut session).await;
    for delivery in 2..4 {
        acknowledged(&mut session, &command.command_id).await;
        let again = Command {
            delivery,
            ..command.clone()
        };
        session.say(Down::Command(again)).await;
        let (result, _) = result(&mut session).await;
        assert_eq!(result.receipt, first.receipt);
    }
    settle_and_stop(&mut session, &command.command_id, worker).await;

    let worker = Worker::start(&controller.endpoint(), &dir);
    let mut session = controller.session().await;
    assert_eq!(session.hello.held_command_ids, Vec::<String>::new());
    session.say(Down::Command(command.clone())).await;
    let (again, _) = result(&mut session).await;
    assert_eq!(again.receipt, first.receipt);
    settle_and_stop(&mut session, &command.command_id, worker).await;
}

#[tokio::test]
async fn the_second_command_under_an_id_is_refused_and_the_first_goes_on() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    let mut session = controller.session().await;
    let command = hold();
    session.say(Down::Command(command.clone())).await;
    until_runs(&mut session, &command.command_id).await;
    let other = Command {
        payload: br#"{"other": true}"#.to_vec(),
        ..command.clone()
    };
    session.say(Down::Command(other)).await;
    until_runs(&mut session, &command.command_id).await;
    session.say(cancel(&command.command_id)).await;
    let (_, receipt) = result(&mut session).await;
    assert_eq!(receipt.state(), CommandState::Cancelled);
    session.say(acknowledge(&command.command_id)).await;
    let (_, receipt) = result(&mut session).await;
    assert_eq!(receipt.command_id, command.command_id);
    assert_eq!(
        (receipt.state(), receipt.error_code.as_str()),
        (CommandState::Rejected, "id-reused")
    );
    settle_and_stop(&mut session, &command.command_id, worker).await;
}

#[tokio::test]
async fn a_worker_that_lost_its_journal_does_not_pretend_that_nothing_ran() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    controller.session().await;
    worker.stop().await.expect("a clean end");
    let journal = dir.path().join("journal.redb");
    std::fs::write(&journal, b"neither this nor that").expect("it is there");

    let worker = Worker::start(&controller.endpoint(), &dir);
    let mut session = controller.session().await;
    assert!(session.hello.journal_lost_at.is_some());
    let before = Command {
        delivery: 2,
        ..hold()
    };
    session.say(Down::Command(before.clone())).await;
    let (_, receipt) = result(&mut session).await;
    assert_eq!(receipt.command_id, before.command_id);
    assert_eq!(
        (receipt.state(), receipt.error_code.as_str()),
        (CommandState::Unknown, "journal-lost")
    );
    session.say(acknowledge(&before.command_id)).await;
    let fresh = hold();
    session.say(Down::Command(fresh.clone())).await;
    until_runs(&mut session, &fresh.command_id).await;
    session.say(cancel(&fresh.command_id)).await;
    result(&mut session).await;
    settle_and_stop(&mut session, &fresh.command_id, worker).await;
    let aside = std::fs::read_dir(dir.path()).expect("a directory");
    let kept = aside
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("journal.redb.damaged-"));
    assert_eq!(kept.count(), 1);
}
