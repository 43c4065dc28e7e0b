use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use aegis_proto::cluster::v1::{
    DrainCommand, NodeRole, NodeStatus, PushConfigCommand, ShutdownCommand, node_command::Command,
};
use aegis_tests::{FixedController, Seen, Worker};

/// Attest, register, heartbeat, drain and undo, push-config, shutdown,
/// deregister: each as a controller of the fixed contract asks for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_lives_a_whole_life_with_a_controller_of_the_fixed_contract() {
    let controller = FixedController::start().await;
    let worker = Worker::new(&controller.endpoint()).token("an-enrolment-token");
    let mut program = worker.start();

    let heartbeat = |seen: &Seen| matches!(seen, Seen::Heartbeat(_));
    controller.until_count("two heartbeats", 2, heartbeat).await;
    let seen = controller.seen();
    let Seen::Attest(attest) = &seen[0] else {
        panic!("{seen:#?}")
    };
    assert_eq!(attest.node_id, worker.node_id());
    assert_eq!(attest.role(), NodeRole::Worker);
    assert_eq!(attest.enrolment_token, "an-enrolment-token");
    let capabilities = attest.capabilities.as_ref().expect("capabilities");
    assert_eq!(capabilities.tags, ["test"]);
    assert!(capabilities.cpu_cores > 0);
    assert!(matches!(&seen[1], Seen::Challenge(_)), "{seen:#?}");
    let Seen::Register(register) = &seen[2] else {
        panic!("{seen:#?}")
    };
    assert_eq!(register.node_id, worker.node_id());
    assert!(register.capabilities.is_some());
    // It asks for the config after every registration, with none in force.
    let synced =
        |seen: &Seen| matches!(seen, Seen::SyncConfig(it) if it.current_config_version.is_empty());
    controller
        .until_count("a question for the config", 1, synced)
        .await;

    // Drain until the worker's own heartbeat says so, then undo.
    controller.script(|script| {
        script.commands = Box::new(|beat| {
            let drain = Command::Drain(DrainCommand { drain: true });
            if beat.status() == NodeStatus::Draining {
                Vec::new()
            } else {
                vec![drain]
            }
        });
    });
    let status =
        |wanted| move |seen: &Seen| matches!(seen, Seen::Heartbeat(it) if it.status() == wanted);
    controller
        .until_count("DRAINING", 2, status(NodeStatus::Draining))
        .await;
    let active = |seen: &[Seen]| {
        seen.iter()
            .filter(|it| status(NodeStatus::Active)(it))
            .count()
    };
    let before = active(&controller.seen());
    controller.script(|script| {
        script.commands = Box::new(|beat| {
            let undo = Command::Drain(DrainCommand { drain: false });
            if beat.status() == NodeStatus::Draining {
                vec![undo]
            } else {
                Vec::new()
            }
        });
    });
    controller
        .until_count("ACTIVE again", before + 1, status(NodeStatus::Active))
        .await;

    // A config, repeated in each answer until SyncConfig acknowledges it.
    controller.script(|script| {
        script.commands = Box::new(|_| {
            vec![Command::PushConfig(PushConfigCommand {
                config_version: "v7".to_owned(),
                config_payload: br#"{"site": {"name": "lab"}}"#.to_vec(),
            })]
        });
    });
    let acknowledged =
        |seen: &Seen| matches!(seen, Seen::SyncConfig(it) if it.current_config_version == "v7");
    controller
        .until_count("the config is acknowledged", 1, acknowledged)
        .await;

    let deliveries = Arc::new(AtomicU8::new(0));
    let counted = Arc::clone(&deliveries);
    controller.script(|script| {
        script.commands = Box::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            vec![Command::Shutdown(ShutdownCommand {
                reason: "retired".to_owned(),
            })]
        });
    });
    assert_eq!(program.exit_code().await, 0);
    assert!(deliveries.load(Ordering::Relaxed) >= 1);
    let seen = controller.seen();
    let Some(Seen::Deregister(deregister)) = seen.last() else {
        panic!("{:#?}", seen.last())
    };
    assert_eq!(deregister.node_id, worker.node_id());
    assert!(deregister.reason.contains("retired"), "{deregister:?}");

    let refused: Vec<_> = seen
        .iter()
        .filter(|it| matches!(it, Seen::Refused(..)))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
    // No session here: said once, not once a heartbeat.
    let fallback = program
        .lines()
        .iter()
        .filter(|line| line.contains("session"))
        .count();
    assert!(
        fallback >= 1,
        "the fallback to heartbeats is not in the log"
    );
}
