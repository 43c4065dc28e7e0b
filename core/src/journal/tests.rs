use std::{
    collections::HashMap,
    time::{Duration, UNIX_EPOCH},
};

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn command(id: u128) -> Arc<Command> {
    named(id, "greet")
}

fn named(id: u128, name: &str) -> Arc<Command> {
    Arc::new(Command {
        id: CommandId::from_uuid(Uuid::from_u128(id)),
        name: name.to_owned(),
        payload: Bytes::from_static(b"{}"),
        not_before: None,
        start_by: None,
        timeout: None,
        issuer: "alice".to_owned(),
        traceparent: String::new(),
        delivery: 0,
    })
}

fn succeeded() -> Ending {
    Ending {
        state: FinalState::Succeeded,
        response: Bytes::from_static(b"1"),
        error: None,
        at: UNIX_EPOCH + Duration::from_secs(2),
    }
}

fn all(reader: &mut JournalReader) -> Vec<JournalUpdate> {
    std::iter::from_fn(|| reader.ready()).collect()
}

fn outcomes(reader: &mut JournalReader) -> Vec<Arc<Outcome>> {
    all(reader)
        .into_iter()
        .filter_map(|update| match update {
            JournalUpdate::Finished(outcome) => Some(outcome),
            _ => None,
        })
        .collect()
}

#[test]
fn a_reader_tells_each_state_once_and_in_order() {
    let journal = Journal::new(1024);
    let mut reader = journal.reader();
    let id = command(1).id;
    assert_eq!(journal.accept(&command(1), false), Acceptance::New);
    assert_eq!(all(&mut reader), [JournalUpdate::Accepted { id }]);
    journal.running(id, UNIX_EPOCH, 1);
    journal.progress(id, 10, "a");
    journal.progress(id, 20, "b");
    journal.output(id, b"xy");
    assert_eq!(
        all(&mut reader),
        [
            JournalUpdate::Running {
                id,
                started_at: UNIX_EPOCH,
                attempt: 1
            },
            JournalUpdate::Progress {
                id,
                permille: 20,
                note: "b".to_owned()
            },
            JournalUpdate::Output {
                id,
                offset: 0,
                data: Bytes::from_static(b"xy")
            },
        ]
    );
    journal.output(id, b"z");
    let outcome = journal.finish(id, succeeded()).expect("its first end");
    assert_eq!(outcome.output, "xyz");
    assert_eq!(
        all(&mut reader),
        [
            JournalUpdate::Output {
                id,
                offset: 2,
                data: Bytes::from_static(b"z")
            },
            JournalUpdate::Finished(outcome),
        ]
    );
    assert_eq!(all(&mut reader), []);
}

#[test]
fn output_beyond_the_limit_is_counted_and_cut() {
    let journal = Journal::new(4);
    let id = command(1).id;
    journal.accept(&command(1), false);
    journal.output(id, b"abc");
    journal.output(id, b"def");
    let outcome = journal.finish(id, succeeded()).expect("its first end");
    assert_eq!(
        (outcome.output.as_ref(), outcome.output_cut),
        (b"abcd".as_ref(), 2)
    );
}

#[test]
fn another_attempt_begins_its_output_anew() {
    let running = |attempt| JournalUpdate::Running {
        id: command(1).id,
        started_at: UNIX_EPOCH,
        attempt,
    };
    let output = |offset, data: &'static [u8]| JournalUpdate::Output {
        id: command(1).id,
        offset,
        data: Bytes::from_static(data),
    };
    for ended_before_it_is_told in [false, true] {
        let journal = Journal::new(4);
        let mut reader = journal.reader();
        let id = command(1).id;
        journal.accept(&command(1), false);
        journal.running(id, UNIX_EPOCH, 1);
        journal.progress(id, 10, "a");
        journal.output(id, b"first");
        all(&mut reader);
        journal.running(id, UNIX_EPOCH, 2);
        journal.output(id, b"two");
        let mut told = Vec::new();
        if !ended_before_it_is_told {
            told = all(&mut reader);
        }
        let outcome = journal.finish(id, succeeded()).expect("its first end");
        assert_eq!(
            (outcome.output.as_ref(), outcome.output_cut),
            (&b"two"[..], 0)
        );
        told.extend(all(&mut reader));
        assert_eq!(
            told,
            [
                running(2),
                output(0, b"two"),
                JournalUpdate::Finished(outcome)
            ]
        );
    }
}

#[test]
fn a_second_end_changes_nothing() {
    let journal = Journal::new(4);
    journal.accept(&command(1), false);
    assert!(journal.finish(command(1).id, succeeded()).is_some());
    let other = Ending {
        state: FinalState::Failed,
        ..succeeded()
    };
    assert!(journal.finish(command(1).id, other).is_none());
    assert_eq!(
        outcomes(&mut journal.reader())[0].state,
        FinalState::Succeeded
    );
}

#[test]
fn an_outcome_stays_until_it_was_told_and_acknowledged() {
    let journal = Journal::new(4);
    let id = command(1).id;
    journal.accept(&command(1), false);
    journal.acknowledge(&[id]);
    journal.finish(id, succeeded());
    journal.acknowledge(&[id]);
    assert_eq!(
        (
            journal.outbox_len(),
            journal.counters().stray_acknowledgements
        ),
        (1, 2)
    );
    assert_eq!(outcomes(&mut journal.reader()).len(), 1);
    // The connection went before the acknowledgement came: a new cursor.
    assert_eq!(outcomes(&mut journal.reader()).len(), 1);
    journal.acknowledge(&[id]);
    assert_eq!((journal.outbox_len(), journal.held()), (0, vec![]));
    assert_eq!(outcomes(&mut journal.reader()).len(), 0);
}

#[test]
fn a_redelivered_id_is_told_again_before_and_after_its_acknowledgement() {
    let journal = Journal::new(4);
    let id = command(1).id;
    let mut reader = journal.reader();
    journal.accept(&command(1), false);
    journal.running(id, UNIX_EPOCH, 1);
    all(&mut reader);
    assert_eq!(journal.accept(&command(1), false), Acceptance::Known);
    assert_eq!(all(&mut reader).len(), 2, "accepted and running again");
    let first = journal.finish(id, succeeded()).expect("its first end");
    assert_eq!(outcomes(&mut reader), [Arc::clone(&first)]);
    assert_eq!(journal.accept(&command(1), false), Acceptance::Known);
    assert_eq!(outcomes(&mut reader), [Arc::clone(&first)]);
    journal.acknowledge(&[id]);
    assert_eq!(journal.accept(&command(1), false), Acceptance::Known);
    assert_eq!(outcomes(&mut reader), [first]);
    assert_eq!(journal.outbox_len(), 1);
    journal.acknowledge(&[id]);
    assert_eq!(journal.outbox_len(), 0);
}

#[test]
fn a_reused_id_is_refused_after_the_first_command_is_settled() {
    let journal = Journal::new(4);
    let id = command(1).id;
    let mut reader = journal.reader();
    journal.accept(&command(1), false);
    assert_eq!(
        journal.accept(&named(1, "other"), false),
        Acceptance::Reused
    );
    let first = journal.finish(id, succeeded()).expect("its first end");
    assert_eq!(outcomes(&mut reader), [first]);
    journal.acknowledge(&[id]);
    let refusals = outcomes(&mut reader);
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].state, FinalState::Rejected);
    assert_eq!(refusals[0].name, "other");
    assert_eq!(
        refusals[0].error.as_ref().expect("an error").code,
        error_code::ID_REUSED
    );
    journal.acknowledge(&[id]);
    // The id still belongs to the command that had it first.
    assert_eq!(journal.accept(&command(1), false), Acceptance::Known);
    assert_eq!(outcomes(&mut reader)[0].state, FinalState::Succeeded);
    journal.acknowledge(&[id]);
    assert_eq!(
        journal.accept(&named(1, "other"), false),
        Acceptance::Reused
    );
    assert_eq!(outcomes(&mut reader)[0].state, FinalState::Rejected);
}

#[test]
fn what_was_acknowledged_long_ago_is_still_known_by_its_state() {
    let journal = Journal::new(1 << 20);
    let mut reader = journal.reader();
    for id in 1..=4 {
        journal.accept(&command(id), false);
        journal.output(command(id).id, &vec![b'x'; 1 << 19]);
        journal.finish(command(id).id, succeeded());
        all(&mut reader);
        journal.acknowledge(&[command(id).id]);
    }
    assert_eq!(journal.accept(&command(1), false), Acceptance::Known);
    let outcome = outcomes(&mut reader).pop().expect("an answer");
    assert_eq!(
        (outcome.state, outcome.output.len()),
        (FinalState::Succeeded, 0)
    );
    assert_eq!(
        outcome.error.as_ref().expect("says so").code,
        "outcome-forgotten"
    );
}

#[test]
fn the_memory_of_acknowledged_ids_is_bounded() {
    let journal = Journal::with_limits(JournalLimits {
        acknowledged: 3,
        ..Default::default()
    });
    let mut reader = journal.reader();
    for id in 1..=5 {
        journal.accept(&command(id), false);
        journal.finish(command(id).id, succeeded());
        all(&mut reader);
        journal.acknowledge(&[command(id).id]);
    }
    assert_eq!(journal.accept(&command(2), false), Acceptance::New);
    assert_eq!(journal.accept(&command(3), false), Acceptance::Known);
}

#[test]
fn a_full_journal_takes_commands_only_to_refuse_them_and_then_not_at_all() {
    let journal = Journal::with_limits(JournalLimits {
        held: 2,
        ..Default::default()
    });
    let taken: Vec<_> = (1..=5)
        .map(|id| journal.accept(&command(id), false))
        .collect();
    use Acceptance::{Dropped, Full, New};
    assert_eq!(taken, [New, New, Full, Full, Dropped]);
    assert_eq!(journal.held().len(), 4);
    assert_eq!(
        journal.accept(&command(6), true),
        New,
        "room is kept for reserved commands"
    );
}

#[test]
fn of_what_was_final_before_a_reader_only_the_outcome_is_told() {
    let journal = Journal::new(4);
    let id = command(1).id;
    journal.accept(&command(1), false);
    journal.output(id, b"abc");
    let outcome = journal.finish(id, succeeded()).expect("its first end");
    assert_eq!(
        all(&mut journal.reader()),
        [JournalUpdate::Finished(outcome)]
    );
}

#[test]
fn a_reader_of_some_commands_leaves_the_others_to_other_readers() {
    fn odd(id: CommandId) -> bool {
        id.as_uuid().as_u128() % 2 == 1
    }
    let journal = Journal::new(4);
    let mut readers = [journal.reader_of(odd), journal.reader_of(|id| !odd(id))];
    for id in 1..=4 {
        journal.accept(&command(id), false);
        journal.finish(command(id).id, succeeded());
    }
    assert_eq!(outcomes(&mut readers[0]).len(), 2);
    journal.acknowledge(&[1, 2, 3, 4].map(|id| command(id).id));
    assert_eq!(
        journal.held(),
        [command(2).id, command(4).id],
        "nobody told these"
    );
    assert_eq!(outcomes(&mut readers[1]).len(), 2);
}

#[test]
fn a_long_output_does_not_hold_up_another_commands_outcome() {
    let journal = Journal::new(1 << 20);
    let mut reader = journal.reader();
    journal.accept(&command(1), false);
    journal.accept(&command(2), false);
    all(&mut reader);
    journal.output(command(1).id, &vec![0; 1 << 20]);
    journal.finish(command(2).id, succeeded());
    let updates = all(&mut reader);
    let position = updates
        .iter()
        .position(|update| matches!(update, JournalUpdate::Finished(_)));
    assert!(
        position.expect("an outcome") <= 2,
        "{position:?} of {}",
        updates.len()
    );
}

#[tokio::test]
async fn a_waiting_reader_and_a_waiting_shutdown_are_woken() {
    let journal = Journal::new(4);
    let mut reader = journal.reader();
    let told = tokio::spawn(async move { reader.next().await });
    tokio::task::yield_now().await;
    journal.accept(&command(1), false);
    assert_eq!(
        told.await.expect("no panic"),
        JournalUpdate::Accepted { id: command(1).id }
    );
    journal.finish(command(1).id, succeeded());
    let emptied = tokio::spawn({
        let journal = journal.clone();
        async move { journal.outbox_empty().await }
    });
    tokio::task::yield_now().await;
    all(&mut journal.reader());
    journal.acknowledge(&[command(1).id]);
    emptied.await.expect("no panic");
}

#[derive(Debug, Clone)]
enum Step {
    Accept(u128),
    Reuse(u128),
    Run(u128),
    Output(u128, usize),
    Finish(u128),
    Read(usize),
    Reconnect,
    Acknowledge(u128),
}

fn step() -> impl Strategy<Value = Step> {
    let id = 1..4_u128;
    prop_oneof![
        id.clone().prop_map(Step::Accept),
        id.clone().prop_map(Step::Reuse),
        id.clone().prop_map(Step::Run),
        (id.clone(), 0..100_000_usize).prop_map(|(id, len)| Step::Output(id, len)),
        id.clone().prop_map(Step::Finish),
        (0..6_usize).prop_map(Step::Read),
        Just(Step::Reconnect),
        id.prop_map(Step::Acknowledge),
    ]
}

proptest! {
    /// Whatever happens in whichever order: the original command has one
    /// outcome, the counts agree, and each reader tells output without gaps.
    #[test]
    fn no_schedule_loses_or_doubles_an_outcome(steps in prop::collection::vec(step(), 0..80)) {
        let journal = Journal::new(150_000);
        let mut reader = journal.reader();
        let mut offsets: HashMap<CommandId, u64> = HashMap::new();
        // The attempt at which each command is, and of which its reader heard.
        let mut attempts: HashMap<u128, u32> = HashMap::new();
        let mut heard: HashMap<CommandId, u32> = HashMap::new();
        let mut first: HashMap<CommandId, Arc<Outcome>> = HashMap::new();
        let mut told: HashMap<CommandId, Arc<Outcome>> = HashMap::new();
        // Each delivery is answered once by a reader, each reuse too.
        let (mut deliveries, mut answers) = (0, 0);
        for step in steps {
            match step {
                Step::Accept(id) => {
                    journal.accept(&command(id), false);
                    deliveries += 1;
                }
                Step::Reuse(id) if first.contains_key(&command(id).id) => {
                    prop_assert_eq!(journal.accept(&named(id, "other"), false), Acceptance::Reused);
                    deliveries += 1;
                }
                Step::Reuse(_) => {}
                Step::Run(id) => {
                    let attempt = attempts.entry(id).or_default();
                    *attempt += 1;
                    journal.running(command(id).id, UNIX_EPOCH, *attempt);
                }
                Step::Output(id, len) if attempts.contains_key(&id) => {
                    journal.output(command(id).id, &vec![1; len]);
                }
                Step::Output(..) => {}
                Step::Finish(id) => {
                    if let Some(outcome) = journal.finish(command(id).id, succeeded()) {
                        prop_assert!(first.insert(outcome.id, outcome).is_none());
                    }
                }
                Step::Read(count) => for _ in 0..count {
                    match reader.ready() {
                        Some(JournalUpdate::Output { id, offset, data }) => {
                            prop_assert!(data.len() <= limits::MAX_CHUNK_BYTES);
                            let next = offsets.entry(id).or_default();
                            prop_assert_eq!(*next, offset);
                            *next += data.len() as u64;
                        }
                        // Each attempt begins its output anew.
                        Some(JournalUpdate::Running { id, attempt, .. }) => {
                            let before = heard.insert(id, attempt);
                            if before != Some(attempt) {
                                offsets.remove(&id);
                            }
                        }
                        Some(JournalUpdate::Finished(outcome)) => {
                            if outcome.state == FinalState::Succeeded {
                                prop_assert_eq!(&outcome, &first[&outcome.id]);
                            }
                            told.insert(outcome.id, outcome);
                            answers += 1;
                            prop_assert!(answers <= deliveries);
                        }
                        _ => {}
                    }
                },
                Step::Reconnect => {
                    reader = journal.reader();
                    offsets.clear();
                    heard.clear();
                    deliveries += journal.held().len();
                }
                Step::Acknowledge(id) => {
                    let before = journal.held().contains(&command(id).id);
                    let was_told = told.contains_key(&command(id).id);
                    journal.acknowledge(&[command(id).id]);
                    let after = journal.held().contains(&command(id).id);
                    prop_assert!(before == after || was_told, "dropped before it was told");
                }
            }
            let state = lock(&journal.shared.state);
            let bytes: usize = state.entries.values().map(Entry::bytes).sum();
            let outbox = state.entries.values().filter(|entry| entry.outcome.is_some()).count();
            prop_assert_eq!((state.bytes, state.outbox), (bytes, outbox));
            prop_assert_eq!(state.changes.order.len(), state.entries.len());
        }
        // In the end everything that ended is told by a fresh reader.
        let held = journal.outbox_len();
        prop_assert_eq!(outcomes(&mut journal.reader()).len(), held);
    }
}
