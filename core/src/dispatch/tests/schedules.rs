//! What holds under every schedule.

use std::{collections::BTreeMap, time::SystemTime};

use proptest::prelude::*;

use super::{
    fake::{KEEP, Node, impatient, lost},
    *,
};

const NAMES: [&str; 9] = [
    "one",
    "two",
    "inline",
    "keep",
    "blocking",
    "none",
    "read",
    "idempotent",
    "again",
];
const ACTS: [&str; 11] = [
    "",
    "hang",
    "polite",
    "late",
    "stubborn",
    "fail",
    "complete-first",
    "talk",
    "lost-first",
    "lost-at-once",
    "always-lost",
];

#[derive(Debug, Clone)]
enum Step {
    Submit {
        name: usize,
        act: usize,
        timeout: bool,
        start_by: bool,
        not_before: bool,
    },
    Redeliver(usize),
    Cancel(usize),
    Release(usize),
    Lose(usize),
    Drain(bool),
    Breathe,
}

fn step() -> impl Strategy<Value = Step> {
    let flag = prop::bool::weighted(0.2);
    prop_oneof![
        6 => (0..NAMES.len(), 0..ACTS.len(), flag, flag, flag).prop_map(
            |(name, act, timeout, start_by, not_before)| Step::Submit {
                name, act, timeout, start_by, not_before
            }
        ),
        1 => any::<usize>().prop_map(Step::Redeliver),
        2 => any::<usize>().prop_map(Step::Cancel),
        3 => any::<usize>().prop_map(Step::Release),
        2 => any::<usize>().prop_map(Step::Lose),
        1 => any::<bool>().prop_map(Step::Drain),
        3 => Just(Step::Breathe),
    ]
}

async fn run(steps: Vec<Step>) {
    let mut node = Node::new(impatient());
    let mut commands: Vec<Command> = Vec::new();
    for step in steps {
        let pick = |index: usize| commands.get(index.checked_rem(commands.len())?);
        match step {
            Step::Submit {
                name,
                act,
                timeout,
                start_by,
                not_before,
            } => {
                let soon = SystemTime::now() + Duration::from_millis(1);
                let mut command = node.command(NAMES[name], ACTS[act]);
                command.timeout = timeout.then_some(Duration::from_millis(1));
                command.not_before = not_before.then_some(soon);
                command.start_by = start_by.then_some(soon + Duration::from_millis(1));
                commands.push(command.clone());
                node.dispatcher.submit(command);
            }
            Step::Redeliver(index) => {
                if let Some(command) = pick(index) {
                    node.dispatcher.submit(command.clone());
                }
            }
            Step::Cancel(index) => {
                if let Some(command) = pick(index) {
                    node.dispatcher
                        .cancel(command.id, CancelReason::Requested, "");
                }
            }
            Step::Release(index) => {
                if let Some(command) = pick(index) {
                    node.plugin.release(command.id, ok());
                    node.blocking.release(command.id, ok());
                }
            }
            Step::Lose(index) => {
                if let Some(command) = pick(index) {
                    node.plugin.release(command.id, lost());
                    node.blocking.release(command.id, lost());
                }
            }
            Step::Drain(drain) => {
                let request = DrainRequest {
                    drain,
                    deadline_ms: Some(1),
                    reason: String::new(),
                };
                node.node.drain(request).expect("not ending");
            }
            Step::Breathe => tokio::task::yield_now().await,
        }
    }
    node.dispatcher.shut_down(Duration::ZERO).await;
    // A redelivered command is told again: a fresh reader tells each once.
    let mut told: BTreeMap<CommandId, u32> = BTreeMap::new();
    let mut reader = node.journal.reader();
    while let Some(update) = reader.ready() {
        let crate::journal::JournalUpdate::Finished(outcome) = update else {
            panic!("a command without an outcome: {update:?}");
        };
        *told.entry(outcome.id).or_default() += 1;
        assert_eq!(outcome.error.is_none(), outcome.state == Succeeded);
        assert_eq!(outcome.started_at.is_some(), outcome.attempt > 0);
        let never_ran =
            matches!(outcome.state, Expired) || (outcome.state == Rejected && outcome.attempt == 0);
        assert!(!(never_ran && node.started(outcome.id)), "{outcome:?} ran");
    }
    let submitted: BTreeMap<_, _> = commands.iter().map(|command| (command.id, 1)).collect();
    assert_eq!(told, submitted);
    for (plugin, slots) in [
        (&node.plugin, [1, 2, 1, 1, 0, 1, 1, 2, 0]),
        (&node.blocking, [0, 0, 0, 0, 2, 0, 0, 0, 1]),
    ] {
        plugin.seen(|seen| {
            for (handler, most) in &seen.most_at_once {
                assert!(
                    *most <= slots[*handler as usize],
                    "{handler}: {most} at once"
                );
            }
            let mut begun: BTreeMap<_, Vec<u32>> = BTreeMap::new();
            for (id, attempt, _) in &seen.attempts {
                begun.entry(*id).or_default().push(*attempt);
            }
            for (id, attempts) in begun {
                let command = commands.iter().find(|command| command.id == id);
                let name = &command.expect("submitted").name;
                let most: u32 = match name.as_str() {
                    "read" | "idempotent" | "again" => 3,
                    _ => 1,
                };
                let in_order: Vec<u32> = (1..=most).take(attempts.len()).collect();
                assert_eq!(attempts, in_order, "{name}");
            }
        });
    }
    // A drain waits for those that were given up on and for no others.
    let in_flight = node.node.drain_status().in_flight;
    assert!(in_flight.iter().all(|it| it.given_up), "{in_flight:?}");
    // A blocking start happens a moment after the decision, so only the others
    // can be held to it.
    node.plugin.seen(|seen| {
        // What was lost is old work.
        let old = |handler: &u32| [6, 7].contains(handler);
        assert!(
            seen.started_while_draining
                .iter()
                .all(|handler| *handler == KEEP || old(handler))
        );
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_command_has_one_outcome_and_no_bound_is_passed(
        steps in prop::collection::vec(step(), 0..60)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(run(steps));
        runtime.shutdown_background();
    }
}
