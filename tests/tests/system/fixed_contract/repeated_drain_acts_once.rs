use aegis_proto::cluster::v1::{DrainCommand, NodeStatus, node_command::Command};
use aegis_tests::{FixedController, Seen, Worker};

/// The controller repeats `drain: true` for longer than it has to.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_repeated_acts_once_and_is_undone_once() {
    let controller = FixedController::start().await;
    let worker = Worker::new(&controller.endpoint()).token("t");
    let mut program = worker.start();
    let beat = |wanted: NodeStatus| move |it: &Seen| matches!(it, Seen::Heartbeat(it) if it.status() == wanted);
    controller
        .until_count("a heartbeat", 1, beat(NodeStatus::Active))
        .await;

    for drain in [true, false, true] {
        let status = if drain {
            NodeStatus::Draining
        } else {
            NodeStatus::Active
        };
        let already = controller
            .seen()
            .iter()
            .filter(|it| beat(status)(it))
            .count();
        controller.script(|script| {
            script.commands = Box::new(move |_| vec![Command::Drain(DrainCommand { drain })]);
        });
        controller
            .until_count("the status follows", already + 3, beat(status))
            .await;
    }
    // With every heartbeat answered by the same drain, the status never flapped:
    // active, draining, active, draining.
    let mut changes: Vec<NodeStatus> = controller
        .seen()
        .iter()
        .filter_map(|it| match it {
            Seen::Heartbeat(beat) => Some(beat.status()),
            _ => None,
        })
        .collect();
    changes.dedup();
    assert_eq!(
        changes,
        [
            NodeStatus::Active,
            NodeStatus::Draining,
            NodeStatus::Active,
            NodeStatus::Draining
        ]
    );
    assert!(program.runs());
}
