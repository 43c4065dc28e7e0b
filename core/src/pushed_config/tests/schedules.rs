//! Whatever happens in whatever order, one config is in force.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// A version and the number of a document.
    Push(u8, u8),
    /// The process dies between two of the steps of a push.
    DieOnTheWay(u8, u8, Death),
    DoWell,
    DoBadly,
    Die,
    End,
}

#[derive(Debug, Clone, Copy)]
enum Death {
    Stored,
    Marked,
}

fn step() -> impl Strategy<Value = Step> {
    let death = prop_oneof![Just(Death::Stored), Just(Death::Marked)];
    prop_oneof![
        4 => (0..3_u8, 0..4_u8).prop_map(|(version, document)| Step::Push(version, document)),
        1 => (0..3_u8, 0..4_u8, death).prop_map(|(v, d, death)| Step::DieOnTheWay(v, d, death)),
        2 => Just(Step::DoWell),
        1 => Just(Step::DoBadly),
        1 => Just(Step::Die),
        1 => Just(Step::End),
    ]
}

/// The last one is refused by a plugin after another one has taken its part.
fn document(number: u8) -> Value {
    match number {
        0 => json!({}),
        1 => json!({ "plugins": { "alpha": { "size": 1 } } }),
        2 => json!({ "plugins": { "alpha": { "size": 2 }, "beta": { "size": 2 } } }),
        _ => json!({ "plugins": { "alpha": { "size": 3 }, "beta": { "bad": true } } }),
    }
}

fn candidate(version: u8, number: u8) -> CandidateConfig {
    CandidateConfig {
        version: format!("v{version}"),
        document: object(document(number)),
    }
}

/// What is known from outside: which configs were undone, and which is good.
#[derive(Default)]
struct Model {
    undone: BTreeSet<(String, String)>,
    good: (String, String),
}

impl Model {
    fn check(&mut self, node: &Node) -> Result<(), TestCaseError> {
        let current = node.pushed.current();
        let now = (current.version.clone(), current.sha256.clone());
        let state = node.state();
        prop_assert_eq!(&state.active_version, &now.0, "what is told is in force");
        prop_assert!(!self.undone.contains(&now), "{:?} came back", now);
        prop_assert_eq!(
            node.pushed.is_on_trial(),
            node.file("trial.json").exists(),
            "a trial outlasts the process"
        );
        if !node.pushed.is_on_trial() {
            self.good = now.clone();
        }
        let in_force = (0..4)
            .map(document)
            .find(|it| Stored::from(&candidate_of(it)).sha256 == now.1)
            .unwrap_or_default();
        for plugin in ["alpha", "beta"] {
            let has = node.config_of(plugin).unwrap_or_else(|| json!({}));
            let wants = &in_force["plugins"][plugin]["size"];
            prop_assert_eq!(&has["size"], wants, "{} under {:?}", plugin, now);
        }
        Ok(())
    }

    /// What was on trial was undone.
    fn undo(
        &mut self,
        on_trial: Option<(String, String)>,
        node: &Node,
    ) -> Result<(), TestCaseError> {
        let Some(bad) = on_trial else { return Ok(()) };
        let current = node.pushed.current();
        prop_assert_eq!((current.version, current.sha256), self.good.clone());
        prop_assert_eq!(node.state().rolled_back_to, self.good.0.clone());
        self.undone.insert(bad);
        Ok(())
    }
}

fn candidate_of(document: &Value) -> CandidateConfig {
    CandidateConfig {
        version: String::new(),
        document: object(document.clone()),
    }
}

fn on_trial(node: &Node) -> Option<(String, String)> {
    let current = node.pushed.current();
    node.pushed
        .is_on_trial()
        .then_some((current.version, current.sha256))
}

fn take(node: Node, step: &Step, model: &mut Model) -> Result<Node, TestCaseError> {
    match *step {
        Step::Push(version, number) => {
            let _ = node.push(&format!("v{version}"), document(number));
        }
        Step::DieOnTheWay(version, number, death) => {
            let candidate = candidate(version, number);
            let mut dying = on_trial(&node);
            if node.pushed.validate(&candidate).is_ok() && node.pushed.store(&candidate).is_ok() {
                let stored = Stored::from(&candidate);
                if matches!(death, Death::Marked) && node.pushed.files.begin_trial().is_ok() {
                    dying = Some((stored.version, stored.sha256));
                }
            }
            let dying = dying.filter(|dying| *dying != model.good);
            let node = node.crash();
            model.undo(dying, &node)?;
            return Ok(node);
        }
        Step::DoWell => node.look(true),
        Step::DoBadly => {
            let bad = on_trial(&node);
            node.look(false);
            model.undo(bad, &node)?;
        }
        Step::Die => {
            let bad = on_trial(&node);
            let node = node.crash();
            model.undo(bad, &node)?;
            return Ok(node);
        }
        Step::End => return Ok(node.restart()),
    }
    Ok(node)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn one_config_is_in_force_and_what_was_undone_stays_away(
        steps in prop::collection::vec(step(), 1..24),
    ) {
        let mut node = Node::new();
        let mut model = Model::default();
        for step in steps {
            node = take(node, &step, &mut model)?;
            model.check(&node)?;
        }
    }
}
