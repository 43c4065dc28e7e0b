use proptest::prelude::*;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);

fn node() -> Progress {
    Progress {
        released_at: Some(0),
        present: true,
        gone: false,
        config: Config::Missing,
        push: Push::Open,
        forgiven: false,
    }
}

fn state(node: Progress, now: Millis) -> NodeState {
    node.state(TIMEOUT, now)
}

#[test]
fn a_node_that_was_there_has_to_answer_in_time_and_one_that_was_away_has_not() {
    assert_eq!(state(node(), 9_999), NodeState::Pending);
    assert_eq!(state(node(), 10_000), NodeState::Failed);
    let away = Progress {
        present: false,
        ..node()
    };
    assert_eq!(state(away, 9_999), NodeState::Pending);
    assert_eq!(state(away, 10_000), NodeState::Absent);
    let gone = Progress {
        gone: true,
        ..node()
    };
    assert_eq!(state(gone, 0), NodeState::Absent);
}

#[test]
fn a_refusal_counts_whenever_it_comes() {
    for now in [0, 10_000, 1_000_000] {
        let refused = Progress {
            config: Config::Refused,
            present: false,
            ..node()
        };
        assert_eq!(state(refused, now), NodeState::Failed);
        let rejected = Progress {
            push: Push::Failed,
            ..node()
        };
        assert_eq!(state(rejected, now), NodeState::Failed);
    }
}

#[test]
fn a_config_in_force_counts_once_its_push_has_ended() {
    let mut node = node();
    node.config = Config::InForce;
    assert_eq!(state(node, 0), NodeState::Pending);
    node.push = Push::Over;
    assert_eq!(state(node, 0), NodeState::Active);
    // In force, whatever became of the command that brought it.
    node.push = Push::Failed;
    assert_eq!(state(node, 0), NodeState::Active);
}

/// What a node does once it is released.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Takes,
    Refuses,
    Rejects,
    Silent,
    Away,
    Gone,
}

impl Fate {
    fn fails(self) -> bool {
        matches!(self, Self::Refuses | Self::Rejects | Self::Silent)
    }

    fn answer(self, node: &mut Progress) {
        match self {
            Self::Takes => (node.config, node.push) = (Config::InForce, Push::Over),
            Self::Refuses => (node.config, node.push) = (Config::Refused, Push::Failed),
            Self::Rejects => node.push = Push::Failed,
            Self::Silent => {}
            Self::Away => node.present = false,
            Self::Gone => node.gone = true,
        }
    }
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        6 => Just(Fate::Takes),
        1 => Just(Fate::Refuses),
        1 => Just(Fate::Rejects),
        1 => Just(Fate::Silent),
        1 => Just(Fate::Away),
        1 => Just(Fate::Gone),
    ];
    prop::collection::vec(fate, 0..40)
}

struct Run {
    nodes: Vec<Progress>,
    releases: Vec<usize>,
    end: Decision,
    most_pending: usize,
    least_pause: Millis,
}

/// Plays a rollout to its end. Nodes answer one at a time, in the order that
/// `turns` makes; what never answers is waited for until its time is over.
fn play(terms: &Terms, fates: &[Fate], turns: &[usize]) -> Run {
    let unreleased = Progress {
        released_at: None,
        present: false,
        push: Push::Over,
        ..node()
    };
    let mut nodes = vec![unreleased; fates.len()];
    let (mut now, mut releases, mut most_pending) = (0, Vec::new(), 0);
    let (mut last, mut least_pause) = (None, Millis::MAX);
    let mut unanswered: Vec<usize> = Vec::new();
    let mut turns = turns.iter().cycle();
    loop {
        match decide(terms, &nodes, now) {
            Decision::Release(next) => {
                let since = last.replace(now).map_or(Millis::MAX, |last| now - last);
                least_pause = least_pause.min(since);
                for at in next {
                    releases.push(at);
                    unanswered.push(at);
                    nodes[at] = Progress {
                        released_at: Some(now),
                        push: Push::Open,
                        present: true,
                        ..nodes[at]
                    };
                }
                let pending = nodes
                    .iter()
                    .filter(|node| node.state(TIMEOUT, now) == NodeState::Pending);
                most_pending = most_pending.max(pending.count());
            }
            Decision::Wait if unanswered.is_empty() => now += duration_millis(TIMEOUT) / 4,
            Decision::Wait => {
                let turn = turns.next().copied().unwrap_or_default();
                let at = unanswered.swap_remove(turn % unanswered.len());
                fates[at].answer(&mut nodes[at]);
            }
            end => {
                let since = last.map_or(Millis::MAX, |last| now - last);
                if end == Decision::Complete {
                    least_pause = least_pause.min(since);
                }
                return Run {
                    nodes,
                    releases,
                    end,
                    most_pending,
                    least_pause,
                };
            }
        }
    }
}

proptest! {
    #[test]
    fn a_rollout_ends_and_never_reaches_further_than_it_may(
        fates in fates(),
        batch in 1u32..8,
        max_failures in 0u32..4,
        pause in 0u64..25,
        turns in prop::collection::vec(0usize..64, 1..64),
    ) {
        let pause = Duration::from_secs(pause);
        let terms = Terms { batch, max_failures, node_timeout: TIMEOUT, pause };
        let run = play(&terms, &fates, &turns);
        // In order, each once, a batch at a time.
        prop_assert!(run.releases.iter().copied().eq(0..run.releases.len()));
        prop_assert!(run.most_pending <= batch as usize);
        prop_assert!(run.least_pause >= duration_millis(pause));
        let failed = run.releases.iter().filter(|at| fates[**at].fails()).count();
        match run.end {
            Decision::Complete => {
                prop_assert_eq!(run.releases.len(), fates.len());
                prop_assert!(failed <= max_failures as usize);
                for (node, fate) in run.nodes.iter().zip(&fates) {
                    let active = node.config == Config::InForce;
                    prop_assert_eq!(active, matches!(fate, Fate::Takes));
                }
            }
            Decision::Stop(counted) => {
                prop_assert!(counted > max_failures as usize);
                prop_assert!(failed >= counted);
                // The harm is bounded: what was accepted, and one batch.
                prop_assert!(failed <= (max_failures + batch) as usize);
            }
            other => prop_assert!(false, "a rollout ended with {:?}", other),
        }
    }

    #[test]
    fn failures_that_were_forgiven_do_not_stop_it_again(
        fates in fates(),
        batch in 1u32..8,
        turns in prop::collection::vec(0usize..64, 1..64),
    ) {
        let pause = Duration::ZERO;
        let terms = Terms { batch, max_failures: 0, node_timeout: TIMEOUT, pause };
        let mut run = play(&terms, &fates, &turns);
        if let Decision::Stop(_) = run.end {
            for node in &mut run.nodes {
                node.forgiven = true;
            }
            let next = decide(&terms, &run.nodes, duration_millis(TIMEOUT));
            prop_assert!(!matches!(next, Decision::Stop(_)), "{:?}", next);
        }
    }
}
