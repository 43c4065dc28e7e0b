use std::time::SystemTime;

use uuid::Uuid;

use super::*;

fn id(id: u128) -> CommandId {
    CommandId::from_uuid(Uuid::from_u128(id))
}

fn command(runs_while_draining: bool) -> ActiveCommand {
    ActiveCommand {
        name: "build".into(),
        plugin: "forge".into(),
        started_at: SystemTime::now(),
        runs_while_draining,
    }
}

fn drain(deadline_ms: Option<u64>, reason: &str) -> DrainRequest {
    DrainRequest {
        drain: true,
        deadline_ms,
        reason: reason.to_owned(),
    }
}

fn undo() -> DrainRequest {
    DrainRequest {
        drain: false,
        deadline_ms: None,
        reason: String::new(),
    }
}

#[test]
fn a_drain_is_finished_when_the_last_handler_it_waits_for_has_returned() {
    let node = NodeState::new();
    node.begin(id(1), command(false)).expect("active");
    node.begin(id(2), command(true)).expect("active");
    let status = node.drain(drain(None, "kernel update")).expect("drains");
    assert_eq!(node.status(), NodeStatus::Draining);
    assert_eq!(status.finished_at, None);
    let waits_for: Vec<_> = status
        .in_flight
        .iter()
        .map(|f| f.command_id.clone())
        .collect();
    assert_eq!(waits_for, [id(1).to_string()]);
    assert_eq!(status.in_flight[0].plugin, "forge");
    let mut changes = node.subscribe_drain();
    node.returned(id(1));
    assert!(changes.has_changed().expect("the node lives"));
    changes.mark_unchanged();
    assert!(node.drain_status().finished_at.is_some());
    assert_eq!(node.active(), 1, "the other one still runs");
}

#[test]
fn a_drain_of_an_idle_node_is_finished_at_once() {
    let node = NodeState::new();
    assert!(
        node.drain(drain(None, ""))
            .expect("drains")
            .finished_at
            .is_some()
    );
}

#[test]
fn nothing_begins_on_a_draining_node_but_what_may() {
    let node = NodeState::new();
    node.drain(drain(None, "kernel update")).expect("drains");
    let closed = node.begin(id(1), command(false)).expect_err("drains");
    assert_eq!(closed.reason, "kernel update");
    node.begin(id(2), command(true)).expect("may run");
    node.drain(undo()).expect("undone");
    node.begin(id(1), command(false)).expect("active again");
    assert_eq!(node.status(), NodeStatus::Active);
    assert_eq!(node.drain_status(), DrainStatus::default());
}

#[test]
fn a_repeated_drain_keeps_its_beginning_and_what_the_request_leaves_open() {
    let node = NodeState::new();
    let first = node
        .drain(drain(Some(60_000), "kernel update"))
        .expect("drains");
    assert_eq!(node.drain(drain(None, "")).expect("drains"), first);
    let changed = node
        .drain(drain(Some(120_000), "disk swap"))
        .expect("drains");
    assert_eq!(changed.started_at, first.started_at);
    assert!(changed.deadline > first.deadline);
    assert_eq!(changed.reason, "disk swap");
}

#[test]
fn an_absurd_deadline_and_reason_are_cut() {
    let node = NodeState::new();
    let status = node
        .drain(drain(Some(u64::MAX), &"ü".repeat(2000)))
        .expect("drains");
    assert!(status.deadline.is_some());
    assert_eq!(status.reason.len(), REASON_BYTES);
}

#[test]
fn draining_is_said_before_unhealthy() {
    let node = NodeState::new();
    let mut status = node.subscribe_status();
    node.set_unhealthy(Some("the token expires soon".to_owned()));
    assert_eq!(*status.borrow_and_update(), NodeStatus::Unhealthy);
    node.drain(drain(None, "")).expect("drains");
    assert_eq!(*status.borrow_and_update(), NodeStatus::Draining);
    node.set_unhealthy(None);
    assert!(!status.has_changed().expect("the node lives"));
    node.drain(undo()).expect("undone");
    assert_eq!(*status.borrow_and_update(), NodeStatus::Active);
}

#[test]
fn the_first_shutdown_request_wins_and_an_ending_worker_stays_drained() {
    let node = NodeState::new();
    let request = |reason: &str| ShutdownRequest {
        reason: reason.to_owned(),
        drain_timeout_ms: None,
    };
    node.shutdown(request("first")).expect("taken");
    node.shutdown(request("second")).expect("taken");
    assert_eq!(*node.shutdown_requested().borrow(), Some(request("first")));
    node.end();
    assert_eq!(node.status(), NodeStatus::Draining);
    node.drain(undo()).expect_err("too late");
    node.begin(id(1), command(false)).expect_err("too late");
}
