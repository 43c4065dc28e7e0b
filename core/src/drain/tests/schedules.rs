//! Whatever happens in whatever order, "drained" is true.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Drain,
    Undo,
    /// Of a command that runs while draining, or not.
    Begin(u128, bool),
    Return(u128),
    /// The process dies and another one takes up what ran; and, or not, also
    /// what had returned last, for its outcome was not written yet.
    Crash(bool),
    End,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Drain),
        1 => Just(Step::Undo),
        4 => (0..6_u128, prop::bool::weighted(0.2)).prop_map(|(id, runs)| Step::Begin(id, runs)),
        4 => (0..6_u128).prop_map(Step::Return),
        1 => any::<bool>().prop_map(Step::Crash),
        1 => Just(Step::End),
    ]
}

/// What a drain has to wait for, and whether there is one.
#[derive(Default)]
struct Model {
    waits_for: BTreeSet<u128>,
    others: BTreeSet<u128>,
    returned_last: Option<u128>,
    drained_by_request: bool,
    ending: bool,
}

proptest! {
    #[test]
    fn drained_is_said_when_and_only_when_nothing_is_left(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let notes = Arc::new(FleetingNotes::default());
        let mut node = NodeState::open(notes.clone());
        node.recovered();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Drain => {
                    node.drain(drain(None, "why")).expect("drains");
                    model.drained_by_request = true;
                }
                Step::Undo => {
                    let undone = node.drain(undo()).is_ok();
                    prop_assert_eq!(undone, !model.ending);
                    model.drained_by_request &= model.ending;
                }
                Step::Begin(n, runs_while_draining) => {
                    if model.waits_for.contains(&n) || model.others.contains(&n) {
                        continue;
                    }
                    let begun = node.begin(id(n), command(runs_while_draining)).is_ok();
                    let open = !model.drained_by_request && !model.ending;
                    prop_assert_eq!(begun, open || runs_while_draining);
                    match (begun, runs_while_draining) {
                        (true, true) => { model.others.insert(n); }
                        (true, false) => { model.waits_for.insert(n); }
                        (false, _) => {}
                    }
                }
                Step::Return(n) => {
                    node.returned(id(n));
                    if model.waits_for.remove(&n) {
                        model.returned_last = Some(n);
                    }
                    model.others.remove(&n);
                }
                Step::Crash(revives) => {
                    let last = model.returned_last.take();
                    model.waits_for.extend(last.filter(|_| revives));
                    node = NodeState::open(notes.clone());
                    prop_assert_eq!(node.drain_status().finished_at, None);
                    for n in &model.waits_for {
                        node.interrupted(id(*n), "build".into(), "forge".into());
                    }
                    node.recovered();
                    model.others.clear();
                    model.ending = false;
                }
                Step::End => {
                    node.end();
                    model.ending = true;
                }
            }
            let status = node.drain_status();
            let draining = model.drained_by_request || model.ending;
            prop_assert_eq!(status.draining, draining);
            prop_assert_eq!(node.status() == NodeStatus::Draining, draining);
            if draining {
                prop_assert_eq!(status.in_flight.len(), model.waits_for.len());
                // A drain that is finished stays so: nothing that it waits for
                // begins any more.
                prop_assert_eq!(status.finished_at.is_some(), model.waits_for.is_empty());
            }
        }
    }
}
