//! Which plugin files commands are sent to, by what nodes say of themselves.

use aegis_proto::{
    cluster::v1::{NodeStatus, node_command},
    error_code,
    operator::v1::{
        AllowPluginRequest, DisallowPluginRequest, ListAuditRequest, ListPluginsRequest,
        SubmitCommandRequest,
    },
    worker::v1::{
        Accepted, CommandState, Hello, InventoryChange, Plugin, command_update::Update,
        worker_message::Message as FromWorker,
    },
};
use tonic::{Code, Status};

use crate::peer::{Controller, Node, all, only, soon};

const GOOD: [u8; 32] = [1; 32];
const OTHER: [u8; 32] = [2; 32];

/// `work`, of a plugin of the same name with this digest.
fn hello(node: &Node, name: &str, sha256: [u8; 32]) -> Hello {
    Hello {
        plugins: vec![plugin(name, sha256)],
        ..node.hello(&[name])
    }
}

fn plugin(name: &str, sha256: [u8; 32]) -> Plugin {
    Plugin {
        name: name.into(),
        version: "0.1.0".into(),
        placement: "process".into(),
        state: "active".into(),
        sha256: sha256.to_vec(),
        ..Plugin::default()
    }
}

async fn allow(controller: &Controller, plugin: &str, sha256: [u8; 32]) -> Result<u32, Status> {
    let request = AllowPluginRequest {
        plugin: plugin.into(),
        sha256: sha256.to_vec(),
        note: String::new(),
    };
    let answer = controller.operator().allow_plugin(request).await?;
    Ok(answer.into_inner().refused_nodes)
}

async fn disallow(controller: &Controller, plugin: &str, sha256: [u8; 32]) -> Result<u32, Status> {
    let request = DisallowPluginRequest {
        plugin: plugin.into(),
        sha256: sha256.to_vec(),
    };
    let answer = controller.operator().disallow_plugin(request).await?;
    Ok(answer.into_inner().allowed_digests)
}

async fn refused(controller: &Controller, node: &Node, name: &str) -> Status {
    let request = SubmitCommandRequest {
        selector: Some(only(node)),
        name: name.into(),
        ..Default::default()
    };
    let answer = controller.operator().submit_command(request).await;
    let status = answer.expect_err("its plugin is not allowed");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    status
}

#[tokio::test]
async fn a_node_that_tells_another_digest_on_its_session_is_sent_nothing_more() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    assert_eq!(allow(&controller, "work", GOOD).await.expect("allowed"), 0);
    let mut session = node
        .session(&controller, hello(&node, "work", GOOD))
        .await
        .expect("welcome");
    controller.submit(only(&node), "work", "{}").await;
    session.command().await;

    let change = InventoryChange {
        plugins: vec![plugin("work", OTHER)],
        handlers: hello(&node, "work", OTHER).handlers,
    };
    session.send(FromWorker::InventoryChange(change)).await;
    soon(async {
        loop {
            let mut operator = controller.operator();
            let plugins = operator.list_plugins(ListPluginsRequest::default()).await;
            let plugins = plugins.expect("listed").into_inner().plugins;
            if plugins[0].sha256 == OTHER {
                assert_eq!(plugins[0].allowance, "refused");
                break;
            }
        }
    })
    .await;
    let status = refused(&controller, &node, "work").await;
    assert!(status.message().contains(&"02".repeat(32)), "{status:?}");
    // Of a selection in which none may have it, as of a single node.
    let request = SubmitCommandRequest {
        selector: Some(all()),
        name: "work".into(),
        ..Default::default()
    };
    let answer = controller.operator().submit_command(request).await;
    assert_eq!(
        answer.expect_err("none may").code(),
        Code::FailedPrecondition
    );
    assert_eq!(allow(&controller, "work", OTHER).await.expect("allowed"), 0);
    controller.submit(only(&node), "work", "{}").await;
    session.command().await;
}

#[tokio::test]
async fn what_was_lost_is_not_sent_again_to_a_file_that_is_not_allowed() {
    for accepted in [false, true] {
        let controller = Controller::start().await;
        let node = controller.node().await;
        allow(&controller, "work", GOOD).await.expect("allowed");
        let mut session = node
            .session(&controller, hello(&node, "work", GOOD))
            .await
            .expect("welcome");
        controller.submit(only(&node), "work", "{}").await;
        let command = session.command().await;
        if accepted {
            session
                .update(&command, Update::Accepted(Accepted {}))
                .await;
            soon(async {
                let state = || async { controller.command(&command.command_id).await.state() };
                while state().await != CommandState::Accepted {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
        drop(session);
        // It may run twice, and would be sent again but for its plugin.
        let _session = node
            .session(&controller, hello(&node, "work", OTHER))
            .await
            .expect("welcome");
        let outcome = controller.outcome(&command.command_id).await;
        let expected = match accepted {
            // Nobody knows whether it took effect.
            true => CommandState::Unknown,
            false => CommandState::Rejected,
        };
        assert_eq!(outcome.state(), expected, "{outcome:#?}");
        let error = outcome.error.expect("an error");
        assert_eq!(error.code, error_code::PLUGIN_NOT_ALLOWED);
    }
}

#[tokio::test]
async fn a_node_without_a_session_is_judged_by_its_last_one() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let session = node
        .session(&controller, hello(&node, "shutdown", OTHER))
        .await
        .expect("welcome");
    drop(session);
    let sent = controller.submit(only(&node), "shutdown", "{}").await;
    allow(&controller, "shutdown", GOOD).await.expect("allowed");
    let outcome = soon(async {
        loop {
            let told = node.heartbeat(&controller, NodeStatus::Active).await;
            let told = told.expect("a heartbeat");
            assert!(
                !told
                    .iter()
                    .any(|it| matches!(it, node_command::Command::Shutdown(_))),
                "{told:?}"
            );
            let command = controller.command(&sent.command_id).await;
            if command.state() >= CommandState::Succeeded {
                break command;
            }
        }
    })
    .await;
    assert_eq!(outcome.state(), CommandState::Rejected, "{outcome:#?}");
}

#[tokio::test]
async fn what_is_no_plugin_and_no_digest_is_refused_and_audited() {
    let controller = Controller::start().await;
    for name in ["", "x; reboot", "Hello", &"a".repeat(65)] {
        let status = allow(&controller, name, GOOD).await.expect_err(name);
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    let request = AllowPluginRequest {
        plugin: "work".into(),
        sha256: vec![1; 31],
        note: String::new(),
    };
    let mut operator = controller.operator();
    let status = operator.allow_plugin(request).await.expect_err("31 bytes");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let status = disallow(&controller, "work", GOOD)
        .await
        .expect_err("it never was");
    assert_eq!(status.code(), Code::NotFound, "{status:?}");

    allow(&controller, "work", GOOD).await.expect("allowed");
    allow(&controller, "work", OTHER).await.expect("allowed");
    let left = disallow(&controller, "work", GOOD).await.expect("it was");
    assert_eq!(left, 1);
    let request = ListAuditRequest {
        limit: 100,
        after: 0,
    };
    let audit = controller.operator().list_audit(request).await;
    let entries = audit.expect("listed").into_inner().entries;
    let of = |action: &str, result: &str| {
        let them = entries.iter();
        them.filter(|it| it.action == action && it.result == result)
            .count()
    };
    assert_eq!(of("AllowPlugin", "ok"), 2);
    assert_eq!(of("AllowPlugin", "INVALID_ARGUMENT"), 5);
    assert_eq!(of("DisallowPlugin", "ok"), 1);
    assert_eq!(of("DisallowPlugin", "NOT_FOUND"), 1);
}
