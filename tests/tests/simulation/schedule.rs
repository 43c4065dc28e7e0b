//! A schedule from its seed to its verdict.

use std::{sync::Arc, time::Duration};

use super::{
    steps::{Mood, Step},
    world::{Ground, On, World},
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
        self.medium.refuse(false);
        self.clocks.worker_off = 0;
        self.clocks.controller_off = 0;
        self.pass(Duration::ZERO);
        self.truth.facts().may_linger = false;
        for round in 0..ROUNDS {
            self.step(Step::BeginController).await;
            self.step(Step::BeginWorker).await;
            self.step(Step::Notice).await;
            self.step(Step::Connect).await;
            let mut moved = true;
            while moved {
                moved = false;
                for which in 0..self.links.len() {
                    for up in [false, true] {
                        if self.deliver_on(which, up) {
                            moved = true;
                            self.settle_soon().await;
                        }
                    }
                }
                moved |= self.step(Step::TakeOrder).await;
                moved |= self.step(Step::WriteJournal).await;
                if self.return_all() {
                    moved = true;
                    self.settle_soon().await;
                }
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
        if !self.is_at_rest() {
            let worker = self.worker.as_ref().expect("it began");
            let held = worker.life.held();
            let outbox = worker.life.journal().outbox_len();
            let open: Vec<_> = worker.life.journal().held();
            let what =
                format!("it does not come to rest: {held:?}, outbox {outbox}, held {open:?}");
            self.truth.facts().ledger.breach(what);
        }
        self.truth.facts().ledger.judge();
    }

    fn is_at_rest(&self) -> bool {
        let Some(worker) = &self.worker else {
            return false;
        };
        let facts = self.truth.facts();
        let over = facts
            .ledger
            .commands
            .values()
            .all(|entry| entry.end.is_some());
        over && worker.life.journal().outbox_len() == 0
            && worker.life.journal().held().is_empty()
            && worker.life.held() == Default::default()
            && worker.life.state().active() == 0
    }
}
