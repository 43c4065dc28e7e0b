//! SubmitCommand and what follows, where no session is involved.

use aegis_proto::{
    cluster::v1::NodeStatus,
    operator::v1::{
        CancelCommandRequest, EvictNodeRequest, ListCommandsRequest, ShowGroupRequest,
        SubmitCommandRequest, WatchCommandsRequest,
    },
    worker::v1::{CommandState, HandlerSpec},
};
use tonic::Code;
use uuid::Uuid;

use crate::peer::{Controller, all, only, soon};

#[tokio::test]
async fn the_same_request_answers_as_the_first_did() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let request = SubmitCommandRequest {
        selector: Some(only(&node)),
        name: "drain".into(),
        payload: br#"{"drain":true}"#.to_vec(),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let mut operator = controller.operator();
    let first = operator
        .submit_command(request.clone())
        .await
        .expect("made")
        .into_inner();
    let again = operator
        .submit_command(request.clone())
        .await
        .expect("repeated")
        .into_inner();
    assert_eq!(first.group_id, again.group_id);
    assert_eq!(first.commands[0].command_id, again.commands[0].command_id);
    let listed = operator
        .list_commands(ListCommandsRequest::default())
        .await
        .expect("listed");
    assert_eq!(listed.into_inner().commands.len(), 1);

    let other = SubmitCommandRequest {
        payload: b"{}".to_vec(),
        ..request
    };
    let refused = operator
        .submit_command(other)
        .await
        .expect_err("another content");
    assert_eq!(refused.code(), Code::AlreadyExists);
}

#[tokio::test]
async fn a_submission_that_makes_no_sense_is_refused() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let good = SubmitCommandRequest {
        selector: Some(only(&node)),
        name: "drain".into(),
        ..Default::default()
    };
    let past = Some(prost_types::Timestamp {
        seconds: 1,
        nanos: 0,
    });
    let zero = Some(prost_types::Duration::default());
    for bad in [
        SubmitCommandRequest {
            name: String::new(),
            ..good.clone()
        },
        SubmitCommandRequest {
            name: "x".repeat(65),
            ..good.clone()
        },
        SubmitCommandRequest {
            payload: b"{".to_vec(),
            ..good.clone()
        },
        SubmitCommandRequest {
            payload: vec![b' '; 1024 * 1024 + 1],
            ..good.clone()
        },
        SubmitCommandRequest {
            payload: vec![b'"', 0xff, b'"'],
            ..good.clone()
        },
        SubmitCommandRequest {
            start_by: past,
            ..good.clone()
        },
        SubmitCommandRequest {
            timeout: zero,
            ..good.clone()
        },
        SubmitCommandRequest {
            request_id: "again".into(),
            ..good.clone()
        },
    ] {
        let refused = controller
            .operator()
            .submit_command(bad)
            .await
            .expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
}

#[tokio::test]
async fn a_command_that_a_node_does_not_have_is_refused_with_its_nearest() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut hello = node.hello(&["hello"]);
    hello.handlers.push(HandlerSpec {
        name: "drain".into(),
        ..Default::default()
    });
    let _session = node.session(&controller, hello).await.expect("welcome");
    let request = SubmitCommandRequest {
        selector: Some(only(&node)),
        name: "helo".into(),
        ..Default::default()
    };
    let refused = controller
        .operator()
        .submit_command(request)
        .await
        .expect_err("unknown");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains("did you mean \"hello\"?"),
        "{}",
        refused.message()
    );
}

#[tokio::test]
async fn a_node_of_the_fixed_contract_takes_its_three_commands_alone() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    node.heartbeat(&controller, NodeStatus::Active)
        .await
        .expect("alive");
    let request = SubmitCommandRequest {
        selector: Some(only(&node)),
        name: "hello".into(),
        ..Default::default()
    };
    let refused = controller
        .operator()
        .submit_command(request)
        .await
        .expect_err("no session");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains("push-config"),
        "{}",
        refused.message()
    );
}

#[tokio::test]
async fn a_queued_command_is_cancelled_at_once() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let command = controller
        .submit(only(&node), "drain", r#"{"drain":true}"#)
        .await;
    let request = CancelCommandRequest {
        command_id: command.command_id[..20].into(),
        reason: "typo".into(),
    };
    let mut operator = controller.operator();
    let view = operator
        .cancel_command(request.clone())
        .await
        .expect("cancelled")
        .into_inner();
    let view = view.command.expect("a command");
    assert_eq!(view.state(), CommandState::Cancelled);
    assert!(view.error.expect("an error").message.contains("typo"));
    assert!(
        node.heartbeat(&controller, NodeStatus::Active)
            .await
            .expect("alive")
            .is_empty()
    );
    let again = operator
        .cancel_command(request)
        .await
        .expect("no harm")
        .into_inner();
    assert_eq!(
        again.command.expect("a command").state(),
        CommandState::Cancelled
    );
}

#[tokio::test]
async fn a_command_past_its_start_by_expires() {
    let controller = Controller::start_with(|config| {
        config.settings.sweep_interval = std::time::Duration::from_millis(20);
    })
    .await;
    let node = controller.node().await;
    let soon_after = std::time::SystemTime::now() + std::time::Duration::from_millis(500);
    let request = SubmitCommandRequest {
        selector: Some(only(&node)),
        name: "drain".into(),
        start_by: Some(soon_after.into()),
        ..Default::default()
    };
    let made = controller
        .operator()
        .submit_command(request)
        .await
        .expect("made")
        .into_inner();
    let outcome = controller.outcome(&made.commands[0].command_id).await;
    assert_eq!(outcome.state(), CommandState::Expired);
    assert_eq!(outcome.error.expect("an error").code, "expired");
}

#[tokio::test]
async fn whoever_looks_at_a_command_past_its_start_by_sees_it_expired() {
    let controller = Controller::start_with(|config| {
        config.settings.sweep_interval = std::time::Duration::from_secs(3600);
    })
    .await;
    let node = controller.node().await;
    let by = std::time::SystemTime::now() + std::time::Duration::from_millis(300);
    let request = SubmitCommandRequest {
        selector: Some(only(&node)),
        name: "drain".into(),
        start_by: Some(by.into()),
        ..Default::default()
    };
    let made = controller.operator().submit_command(request).await;
    let made = made.expect("made").into_inner();
    let id = &made.commands[0].command_id;
    soon(async {
        while std::time::SystemTime::now() <= by {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(controller.command(id).await.state(), CommandState::Expired);
}

#[tokio::test]
async fn a_command_is_not_sent_before_its_time() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let mut session = node
        .session(&controller, node.hello(&["hello"]))
        .await
        .expect("welcome");
    let later = std::time::SystemTime::now() + std::time::Duration::from_millis(700);
    let request = SubmitCommandRequest {
        selector: Some(only(&node)),
        name: "hello".into(),
        not_before: Some(later.into()),
        ..Default::default()
    };
    let made = controller
        .operator()
        .submit_command(request)
        .await
        .expect("made")
        .into_inner();
    let prompt = controller.submit(only(&node), "hello", "{}").await;
    assert_eq!(session.command().await.command_id, prompt.command_id);
    assert_eq!(
        session.command().await.command_id,
        made.commands[0].command_id
    );
    assert!(std::time::SystemTime::now() >= later);
}

#[tokio::test]
async fn commands_are_listed_newest_first_and_page_by_page() {
    let controller = Controller::start().await;
    let (one, other) = (controller.node().await, controller.node().await);
    for _ in 0..3 {
        controller
            .submit(only(&one), "drain", r#"{"drain":false}"#)
            .await;
        controller.submit(only(&other), "shutdown", "{}").await;
    }
    let mut operator = controller.operator();
    let mut list = async |request: ListCommandsRequest| {
        operator
            .list_commands(request)
            .await
            .expect("listed")
            .into_inner()
            .commands
    };
    let newest = list(ListCommandsRequest::default()).await;
    assert_eq!(newest.len(), 6);
    assert!(newest.is_sorted_by(|a, b| a.command_id > b.command_id));
    assert!(newest.iter().all(|command| command.payload.is_empty()));
    let request = ListCommandsRequest {
        limit: 2,
        before: newest[1].command_id.clone(),
        ..Default::default()
    };
    let page = list(request).await;
    assert_eq!(
        page.iter().map(|c| &c.command_id).collect::<Vec<_>>(),
        [&newest[2].command_id, &newest[3].command_id]
    );
    let request = ListCommandsRequest {
        selector: Some(only(&other)),
        ..Default::default()
    };
    assert!(
        list(request)
            .await
            .iter()
            .all(|command| command.name == "shutdown")
    );
    let request = ListCommandsRequest {
        states: vec![CommandState::Succeeded.into()],
        ..Default::default()
    };
    assert!(list(request).await.is_empty());
}

#[tokio::test]
async fn a_group_is_watched_until_its_last_command_has_ended() {
    let controller = Controller::start().await;
    let (one, other) = (controller.node().await, controller.node().await);
    let request = SubmitCommandRequest {
        selector: Some(all()),
        name: "drain".into(),
        payload: br#"{"drain":true}"#.to_vec(),
        ..Default::default()
    };
    let made = controller
        .operator()
        .submit_command(request)
        .await
        .expect("made")
        .into_inner();
    assert_eq!(made.commands.len(), 2);
    let group = async || {
        let request = ShowGroupRequest {
            group_id: made.group_id[..35].into(),
        };
        let shown = controller.operator().show_group(request).await;
        shown.expect("shown").into_inner().group.expect("a group")
    };
    let begun = group().await;
    assert_eq!((begun.name.as_str(), begun.finished_at), ("drain", None));
    assert_eq!(begun.counts[0].state(), CommandState::Queued);
    assert_eq!(begun.counts[0].commands, 2);
    let request = WatchCommandsRequest {
        group_id: made.group_id.clone(),
        ..Default::default()
    };
    let mut events = controller
        .operator()
        .watch_commands(request)
        .await
        .expect("watched")
        .into_inner();
    for node in [&one, &other] {
        node.heartbeat(&controller, NodeStatus::Draining)
            .await
            .expect("alive");
    }
    let mut ended = 0;
    while let Some(event) = soon(events.message()).await.expect("an event") {
        use aegis_proto::operator::v1::command_event::Event;
        if let Some(Event::Command(command)) = event.event {
            ended += usize::from(command.state() == CommandState::Succeeded);
        }
    }
    assert_eq!(ended, 2);
    let over = group().await;
    assert!(over.finished_at.is_some());
    assert_eq!(over.counts[0].state(), CommandState::Succeeded);
    assert_eq!(over.counts.len(), 1);
}

#[tokio::test]
async fn the_commands_of_an_evicted_node_end() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let told = controller.submit(only(&node), "shutdown", "{}").await;
    node.heartbeat(&controller, NodeStatus::Active)
        .await
        .expect("alive");
    let queued = controller
        .submit(only(&node), "drain", r#"{"drain":true}"#)
        .await;
    let request = EvictNodeRequest {
        node: node.id.clone(),
        reason: String::new(),
    };
    controller
        .operator()
        .evict_node(request)
        .await
        .expect("evicted");
    assert_eq!(
        controller.outcome(&told.command_id).await.state(),
        CommandState::Unknown
    );
    assert_eq!(
        controller.outcome(&queued.command_id).await.state(),
        CommandState::Cancelled
    );
}
