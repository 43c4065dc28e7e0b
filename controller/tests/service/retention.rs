//! What is kept of what is over.

use std::time::Duration;

use aegis_proto::{
    operator::v1::{
        CancelCommandRequest, ListAuditRequest, ListCommandsRequest, SubmitCommandRequest,
    },
    worker::v1::CommandState,
};
use uuid::Uuid;

use crate::peer::{Controller, only, soon};

#[tokio::test]
async fn what_is_over_is_forgotten_beyond_its_bounds_and_what_is_open_stays() {
    let controller = Controller::start_with(|config| {
        config.settings.sweep_interval = Duration::from_millis(20);
        config.settings.retention.commands = 2;
        config.settings.retention.events = 3;
        config.settings.retention.audit = 4;
    })
    .await;
    let node = controller.node().await;
    let mut operator = controller.operator();
    let open = controller.submit(only(&node), "shutdown", "{}").await;
    let mut requests = Vec::new();
    for _ in 0..5 {
        let request = SubmitCommandRequest {
            selector: Some(only(&node)),
            name: "drain".into(),
            payload: br#"{"drain":true}"#.to_vec(),
            request_id: Uuid::new_v4().to_string(),
            ..Default::default()
        };
        let made = operator.submit_command(request.clone()).await;
        let made = made.expect("made").into_inner();
        let cancel = CancelCommandRequest {
            command_id: made.commands[0].command_id.clone(),
            reason: String::new(),
        };
        operator.cancel_command(cancel).await.expect("cancelled");
        requests.push((request, made.group_id));
    }
    soon(async {
        loop {
            let listed = operator.list_commands(ListCommandsRequest::default()).await;
            let commands = listed.expect("listed").into_inner().commands;
            let audit = operator.list_audit(ListAuditRequest::default()).await;
            let audit = audit.expect("audited").into_inner().entries;
            let events = controller.event_kinds().await;
            if commands.len() == 3 && audit.len() == 4 && events.len() == 3 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let left = controller.command(&open.command_id).await;
    assert_eq!(left.state(), CommandState::Queued);

    // A request id lasts as long as its commands, and no longer.
    let (newest, group) = requests.pop().expect("five");
    let again = operator.submit_command(newest).await.expect("repeated");
    assert_eq!(again.into_inner().group_id, group);
    let (oldest, group) = requests.remove(0);
    let anew = operator.submit_command(oldest).await.expect("made anew");
    assert_ne!(anew.into_inner().group_id, group);
}

#[tokio::test]
async fn a_command_is_forgotten_when_it_has_been_over_for_long_enough() {
    let controller = Controller::start_with(|config| {
        config.settings.sweep_interval = Duration::from_millis(20);
        config.settings.retention.commands_for = Duration::from_millis(1);
    })
    .await;
    let node = controller.node().await;
    let command = controller.submit(only(&node), "drain", "{}").await;
    let mut operator = controller.operator();
    let cancel = CancelCommandRequest {
        command_id: command.command_id.clone(),
        reason: String::new(),
    };
    operator.cancel_command(cancel).await.expect("cancelled");
    soon(async {
        loop {
            let listed = operator.list_commands(ListCommandsRequest::default()).await;
            if listed.expect("listed").into_inner().commands.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
