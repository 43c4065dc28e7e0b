use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::{object::REASON_BYTES, *};

mod schedules;

fn id(id: u128) -> CommandId {
    CommandId::from_uuid(Uuid::from_u128(id))
}

fn command(runs_while_draining: bool) -> ActiveCommand {
    ActiveCommand {
        name: "build".into(),
        plugin: "forge".into(),
        started_at: SystemTime::now(),
        timeout: Duration::from_secs(60),
        runs_while_draining,
        resumed: false,
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

#[test]
fn a_drain_is_taken_up_by_the_next_process_and_an_undone_one_is_not() {
    let notes = Arc::new(FleetingNotes::default());
    let node = NodeState::open(notes.clone());
    node.recovered();
    let before = node
        .drain(drain(Some(60_000), "kernel update"))
        .expect("drains");
    assert!(before.finished_at.is_some());

    let node = NodeState::open(notes.clone());
    assert_eq!(node.status(), NodeStatus::Draining);
    let closed = node.begin(id(1), command(false)).expect_err("drains");
    assert_eq!(closed.reason, "kernel update");
    let mut known = node.drain_status();
    assert_eq!(
        known.finished_at, None,
        "what runs on the node is not known"
    );
    node.recovered();
    known.finished_at = before.finished_at;
    assert_eq!(node.drain_status(), before);
    assert_eq!(known, before);

    node.drain(undo()).expect("undone");
    let node = NodeState::open(notes);
    assert_eq!(node.status(), NodeStatus::Active);
    node.begin(id(1), command(false)).expect("active");
}

#[test]
fn interrupted_commands_are_let_in_and_waited_for_begun_again_or_not() {
    let notes = Arc::new(FleetingNotes::default());
    let node = NodeState::open(notes.clone());
    node.recovered();
    node.begin(id(1), command(false)).expect("active");
    node.begin(id(2), command(false)).expect("active");
    node.drain(drain(None, "kernel update")).expect("drains");
    // The record says that the drain is finished, the journal that these are
    // not: the crash came between the two.
    node.returned(id(1));
    node.returned(id(2));
    assert!(node.drain_status().finished_at.is_some());

    let node = NodeState::open(notes);
    node.interrupted(id(1), "build".into(), "forge".into());
    node.interrupted(id(2), "build".into(), "forge".into());
    node.recovered();
    let status = node.drain_status();
    assert_eq!((status.finished_at, status.in_flight.len()), (None, 2));
    assert!(status.in_flight.iter().all(|it| it.started_at.is_none()));
    assert_eq!((node.active(), node.running()), (0, Vec::new()));

    let again = ActiveCommand {
        resumed: true,
        ..command(false)
    };
    node.begin(id(1), again.clone()).expect("it is old work");
    assert_eq!(node.running(), [id(1)]);
    assert_eq!(node.drain_status().in_flight.len(), 2);
    node.returned(id(1));
    assert_eq!(node.drain_status().finished_at, None);
    node.returned(id(2));
    assert!(node.drain_status().finished_at.is_some());

    node.end();
    node.begin(id(3), again).expect_err("the worker ends");
}

#[test]
fn what_blocks_a_drain_is_told_with_the_reason() {
    let node = NodeState::new();
    node.begin(id(1), command(false)).expect("active");
    node.drain(drain(None, "")).expect("drains");
    let blocking = || node.drain_status().in_flight.remove(0);
    let first = blocking();
    assert_eq!(
        first.timeout_at.expect("told") - first.started_at.expect("told"),
        chrono::TimeDelta::seconds(60)
    );
    let mut changes = node.subscribe_drain();
    let at = SystemTime::now();
    node.cancelled(id(1), at);
    assert!(changes.has_changed().expect("the node lives"));
    changes.mark_unchanged();
    // A second cancel does not make the first a later one.
    node.cancelled(id(1), at + Duration::from_secs(5));
    let second = blocking();
    assert_eq!(
        (second.cancelled_at, second.timeout_at),
        (Some(at.into()), None)
    );
    assert!(!second.given_up);
    changes.mark_unchanged();
    node.given_up(id(1));
    assert!(changes.has_changed().expect("the node lives"));
    assert!(blocking().given_up);
    assert_eq!(node.drain_status().finished_at, None);
    node.returned(id(1));
    assert!(node.drain_status().finished_at.is_some());
}

#[test]
fn the_end_of_a_worker_is_no_drain_of_the_next_one() {
    let notes = Arc::new(FleetingNotes::default());
    let node = NodeState::open(notes.clone());
    node.recovered();
    node.end();
    assert_eq!(node.status(), NodeStatus::Draining);
    assert!(node.drain_status().finished_at.is_some());
    assert_eq!(NodeState::open(notes.clone()).status(), NodeStatus::Active);
    // But a node that an operator drains while the worker ends stays drained.
    node.drain(drain(None, "disk swap")).expect("drains");
    let next = NodeState::open(notes);
    assert_eq!(next.drain_status().reason, "disk swap");
}

#[test]
fn a_drain_that_can_not_be_written_down_is_neither_begun_nor_undone() {
    #[derive(Debug, Default)]
    struct FullDisk {
        notes: FleetingNotes,
        full: Mutex<bool>,
    }
    impl Notes for FullDisk {
        fn note(&self, name: &str) -> Option<Vec<u8>> {
            self.notes.note(name)
        }
        fn set_note(&self, name: &str, value: Option<&[u8]>) -> io::Result<()> {
            if *lock(&self.full) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.notes.set_note(name, value)
        }
    }
    let notes = Arc::new(FullDisk::default());
    let node = NodeState::open(notes.clone());
    node.recovered();
    *lock(&notes.full) = true;
    let error = node.drain(drain(None, "")).expect_err("not durable");
    assert_eq!(error.code, "drain-not-written");
    assert!(error.retryable);
    assert_eq!(node.status(), NodeStatus::Active);

    *lock(&notes.full) = false;
    node.begin(id(1), command(false)).expect("active");
    node.drain(drain(None, "")).expect("drains");
    *lock(&notes.full) = true;
    node.drain(undo()).expect_err("not durable");
    assert_eq!(node.status(), NodeStatus::Draining);
    // That it is over is true, written down or not.
    node.returned(id(1));
    assert!(node.drain_status().finished_at.is_some());
}
