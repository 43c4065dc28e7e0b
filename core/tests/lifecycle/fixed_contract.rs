//! A controller that knows `aegis.cluster.v1` alone.

use aegis_proto::cluster::v1::{
    DrainCommand, NodeCommand, NodeStatus, ShutdownCommand, node_command::Command as Wish,
};

use crate::{
    controller::{Controller, Heard},
    worker::{Worker, state_dir},
};

#[tokio::test]
async fn a_worker_lives_a_whole_life() {
    let mut controller = Controller::start().await;
    controller.knobs().serves_session = false;
    controller.knobs().details = false;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    assert!(matches!(controller.next().await, Heard::Attest(_)));
    assert!(matches!(controller.next().await, Heard::Challenge(_)));
    let Heard::Register(register) = controller.next().await else {
        panic!("no registration")
    };
    assert_eq!(register.node_id, worker.node_id);
    for _ in 0..3 {
        let heartbeat = controller.heartbeat().await;
        assert_eq!(heartbeat.node_id, worker.node_id);
        assert_eq!(heartbeat.status(), NodeStatus::Active);
        assert_eq!(heartbeat.active_executions, 0);
    }
    worker.stop().await.expect("a clean end");
    let reason = controller
        .until(|heard| match heard {
            Heard::Deregister(inner) => Some(inner.reason),
            _ => None,
        })
        .await;
    assert!(!reason.is_empty());
}

#[tokio::test]
async fn a_registration_is_followed_by_a_question_for_the_config() {
    let mut controller = Controller::start().await;
    controller.knobs().serves_session = false;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    let sync = controller
        .until(|heard| match heard {
            Heard::SyncConfig(inner) => Some(inner),
            _ => None,
        })
        .await;
    assert_eq!(
        (sync.node_id.as_str(), sync.current_config_version.as_str()),
        (worker.node_id.as_str(), "")
    );
    worker.stop().await.expect("a clean end");
}

#[tokio::test]
async fn an_empty_command_is_no_error() {
    let mut controller = Controller::start().await;
    controller.knobs().serves_session = false;
    controller
        .knobs()
        .commands
        .extend([0, 1].map(|_| NodeCommand { command: None }));
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    for _ in 0..4 {
        controller.heartbeat().await;
    }
    worker.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_controller_that_forgets_the_node_gets_it_back() {
    let mut controller = Controller::start().await;
    controller.knobs().serves_session = false;
    controller.knobs().details = false;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    controller.heartbeat().await;
    controller.forget();
    controller
        .until(|heard| matches!(heard, Heard::Attest(_)).then_some(()))
        .await;
    controller
        .until(|heard| matches!(heard, Heard::Register(_)).then_some(()))
        .await;
    controller.heartbeat().await;
    worker.stop().await.expect("a clean end");
}

fn wish(wish: Wish) -> NodeCommand {
    NodeCommand {
        command: Some(wish),
    }
}

#[tokio::test]
async fn a_drain_is_repeated_until_the_worker_says_so_and_then_undone() {
    let mut controller = Controller::start().await;
    controller.knobs().serves_session = false;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    for (drain, status) in [(true, NodeStatus::Draining), (false, NodeStatus::Active)] {
        loop {
            controller
                .knobs()
                .commands
                .push_back(wish(Wish::Drain(DrainCommand { drain })));
            if controller.heartbeat().await.status() == status {
                break;
            }
        }
        controller.knobs().commands.clear();
    }
    worker.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_shutdown_command_ends_the_worker_in_order() {
    let mut controller = Controller::start().await;
    controller.knobs().serves_session = false;
    let shutdown = ShutdownCommand {
        reason: "decommissioned".to_owned(),
    };
    controller
        .knobs()
        .commands
        .extend([0, 1].map(|_| wish(Wish::Shutdown(shutdown.clone()))));
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    let reason = controller
        .until(|heard| match heard {
            Heard::Deregister(inner) => Some(inner.reason),
            _ => None,
        })
        .await;
    assert_eq!(reason, "decommissioned");
    worker.ended().await.expect("a clean end");
}
