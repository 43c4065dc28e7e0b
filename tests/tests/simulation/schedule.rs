//! A schedule from its seed to its verdict.

use std::{sync::Arc, time::Duration};

use super::{
    steps::{Mood, Step},
    world::{Ground, On, Side, World},
};

/// Once nothing goes wrong any more, everything is over after so many rounds.
const ROUNDS: usize = 300;

/// A store that holds more is slower.
const SCHEDULES_ON_A_GROUND: usize = 50;

/// Panics at the first that breaks a promise, with everything that happened.
pub fn run_all(on: On, seeds: &[u64]) {
    let mut ground = Ground::new(on);
    for (nth, seed) in seeds.iter().enumerate() {
        if nth % SCHEDULES_ON_A_GROUND == SCHEDULES_ON_A_GROUND - 1 {
            ground = Ground::new(on);
        }
        let (trace, broken) = run(&ground, *seed);
        assert!(
            broken.is_empty(),
            "schedule {seed}:\n{}\nwhat is wrong with schedule {seed}:\n{}\n\
             AEGIS_SIMULATION_SEED={seed} shows it again",
            trace.join("\n"),
            broken.join("\n")
        );
    }
}

/// What happens in a schedule.
pub fn trace(seed: u64) -> Vec<String> {
    run(&Ground::new(On::Memory), seed).0
}

fn run(ground: &Arc<Ground>, seed: u64) -> (Vec<String>, Vec<String>) {
    ground.runtime.block_on(async {
        let mut world = World::new(Arc::clone(ground), seed).await;
        let mood = Mood::new(&mut world.chance);
        let steps = world.chance.pick(&[60, 150, 300]);
        for _ in 0..steps {
            let step = mood.next(&mut world.chance);
            world.step(step).await;
            if !world.truth.facts().ledger.broken.is_empty() {
                break;
            }
        }
        if world.truth.facts().ledger.broken.is_empty() {
            world.come_to_rest().await;
        }
        let trace = world.trace.take();
        let broken = std::mem::take(&mut world.truth.facts().ledger.broken);
        world.end().await;
        (trace, broken)
    })
}

impl World {
    /// Nothing goes wrong any more: everything has to come to its end.
    async fn come_to_rest(&mut self) {
        self.say("nothing goes wrong any more");
        for side in self.sides() {
            side.medium.refuse(false);
        }
        self.clocks.worker_off = 0;
        self.clocks.controller_off = 0;
        self.pass(Duration::ZERO);
        self.truth.facts().may_linger = false;
        for round in 0..ROUNDS {
            for _ in self.nodes() {
                self.go_on().await;
                self.turn();
            }
            self.look(false).await;
            if self.is_at_rest() {
                break;
            }
            // Longer and longer, for what waits for its time.
            let time =
                Duration::from_millis(500) * 2_u32.pow(u32::try_from(round % 18).expect("small"));
            self.pass(time);
            self.settle().await;
            self.step(Step::Sweep).await;
        }
        self.look(true).await;
        let stuck: Vec<_> = self
            .sides()
            .filter_map(|side| side.is_busy_with())
            .collect();
        for what in stuck {
            let what = format!("it does not come to rest: {what}");
            self.truth.facts().ledger.breach(what);
        }
        self.look_at_groups().await;
        self.truth.facts().ledger.judge();
    }

    /// Has one node do all that can be done now.
    async fn go_on(&mut self) {
        for step in [
            Step::Leave,
            Step::BeginController,
            Step::BeginWorker,
            Step::Notice,
            Step::Connect,
        ] {
            self.step_here(step).await;
        }
        let mut moved = true;
        while moved {
            moved = false;
            for which in 0..self.here.links.len() {
                for up in [false, true] {
                    if self.deliver_on(which, up) {
                        moved = true;
                        self.settle_soon().await;
                    }
                }
            }
            moved |= self.step_here(Step::TakeOrder).await;
            moved |= self.step_here(Step::WriteJournal).await;
            if self.return_all() {
                moved = true;
                self.settle_soon().await;
            }
        }
    }

    /// What operators are told of a submission is what became of its commands.
    async fn look_at_groups(&self) {
        for group in self.submitted.iter().filter_map(|made| made.group) {
            let group = self.controller().group(group).await;
            let group = group.expect("the store works").expect("it was made");
            if group.finished_at.is_none() {
                let what = format!("all is over, and a group is not: {group:?}");
                self.truth.facts().ledger.breach(what);
            }
        }
    }

    fn is_at_rest(&mut self) -> bool {
        let over = {
            let facts = self.truth.facts();
            let mut commands = facts.ledger.commands.values();
            commands.all(|entry| entry.end.is_some())
        };
        over && self.sides().all(|side| side.is_busy_with().is_none())
    }
}

impl Side {
    /// `None`: nothing is left to do.
    fn is_busy_with(&self) -> Option<String> {
        let Some(worker) = &self.worker else {
            return Some("it does not run".to_owned());
        };
        let held = worker.life.held();
        let (outbox, open) = (
            worker.life.journal().outbox_len(),
            worker.life.journal().held(),
        );
        let is_busy = outbox > 0
            || !open.is_empty()
            || held != Default::default()
            || worker.life.state().active() > 0
            || worker.leaving.is_some();
        is_busy.then(|| format!("{held:?}, outbox {outbox}, held {open:?}"))
    }
}
