//! What may happen next, and how it does.

use std::time::{Duration, SystemTime};

use aegis_core::command::CancelReason;
use aegis_proto::{CommandId, GroupId, NodeId, operator::v1 as api};
use tonic::Code;
use uuid::Uuid;

use super::{
    chance::Chance,
    ledger::Entry,
    link::Arrived,
    plugin::{Kind, failed, succeeded},
    world::{Worker, World},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Submit,
    SubmitAgain,
    Cancel,
    Connect,
    Up,
    Down,
    RepeatUp,
    RepeatDown,
    TakeOrder,
    WriteJournal,
    Handler,
    Pass,
    PassLong,
    Sweep,
    Cut,
    Notice,
    CrashWorker,
    CrashWhileWriting,
    StopWorker,
    Leave,
    LoseJournal,
    BeginWorker,
    CrashController,
    CutPower,
    StopController,
    BeginController,
    JumpClock,
    Disk,
}

/// How often what happens in a schedule.
pub struct Mood(Vec<(Step, usize)>);

impl Mood {
    pub fn new(chance: &mut Chance) -> Self {
        let mut some = |weights: &[usize]| chance.pick(weights);
        // A node that lost its journal relies on clocks that do not lie.
        let loses = some(&[0, 0, 0, 0, 1]);
        let jumps = if loses > 0 { 0 } else { some(&[0, 0, 1, 3]) };
        let steps = vec![
            (Step::Submit, some(&[6, 12])),
            (Step::SubmitAgain, 1),
            (Step::Cancel, some(&[0, 2, 4])),
            (Step::Connect, 15),
            (Step::Up, some(&[10, 25, 40])),
            (Step::Down, some(&[10, 25, 40])),
            (Step::RepeatUp, some(&[0, 0, 2])),
            (Step::RepeatDown, some(&[0, 0, 2])),
            (Step::TakeOrder, some(&[5, 20, 30])),
            (Step::WriteJournal, some(&[5, 20, 30])),
            (Step::Handler, some(&[5, 15])),
            (Step::Pass, some(&[3, 8])),
            (Step::PassLong, some(&[0, 1])),
            (Step::Sweep, 2),
            (Step::Cut, some(&[0, 1, 4])),
            (Step::Notice, 3),
            (Step::CrashWorker, some(&[0, 1, 3])),
            (Step::CrashWhileWriting, some(&[0, 1, 3])),
            (Step::StopWorker, some(&[0, 0, 1])),
            (Step::Leave, 5),
            (Step::LoseJournal, loses),
            (Step::BeginWorker, 12),
            (Step::CrashController, some(&[0, 1, 2])),
            (Step::CutPower, some(&[0, 0, 1, 3])),
            (Step::StopController, some(&[0, 0, 1])),
            (Step::BeginController, 12),
            (Step::JumpClock, jumps),
            (Step::Disk, some(&[0, 0, 0, 2])),
        ];
        Self(steps)
    }

    pub fn next(&self, chance: &mut Chance) -> Step {
        chance.weighed(&self.0).expect("some weigh something")
    }
}

impl World {
    /// Takes the step, if it can be taken now, and waits until it has had its
    /// whole effect. False: it could not.
    pub async fn step(&mut self, step: Step) -> bool {
        if self.there.is_some() && self.chance.percent(50) {
            self.turn();
        }
        self.step_here(step).await
    }

    /// The same, where it is said to which node.
    pub async fn step_here(&mut self, step: Step) -> bool {
        let taken = self.take(step).await;
        if taken {
            let may_cancel = [
                Step::TakeOrder,
                Step::Pass,
                Step::PassLong,
                Step::JumpClock,
                Step::BeginWorker,
                Step::StopWorker,
            ];
            match may_cancel.contains(&step) {
                true => self.settle().await,
                false => self.settle_soon().await,
            }
            self.here
                .links
                .retain(|link| !link.is_over() || !link.session.is_finished());
            self.look_at_drain();
            let told = matches!(step, Step::Up | Step::RepeatUp) && self.chance.percent(20);
            if told || matches!(step, Step::Cancel | Step::Sweep) {
                self.look(false).await;
            }
            if matches!(step, Step::BeginController) {
                self.look(true).await;
            }
        }
        taken
    }

    async fn take(&mut self, step: Step) -> bool {
        match step {
            Step::Submit => self.submit(None).await,
            Step::SubmitAgain => self.submit_again().await,
            Step::Cancel => self.cancel().await,
            Step::Connect => {
                let possible = self.controller.is_some() && self.here.worker.is_some();
                if !possible || self.has_session() {
                    return false;
                }
                self.say("connect");
                self.connect().await;
                true
            }
            Step::Up => self.deliver(true),
            Step::Down => self.deliver(false),
            Step::RepeatUp => self.repeat(true),
            Step::RepeatDown => self.repeat(false),
            Step::TakeOrder => {
                let Some(worker) = &self.here.worker else {
                    return false;
                };
                let taken = worker.life.dispatcher().step_intake();
                if taken {
                    self.say("take an order");
                }
                taken
            }
            Step::WriteJournal => {
                let Some(worker) = &self.here.worker else {
                    return false;
                };
                let written = worker.life.journal().write_staged();
                if written {
                    self.say("write the journal");
                }
                written
            }
            Step::Handler => self.handler(),
            Step::Pass => {
                let time = self
                    .chance
                    .pick(&[1, 40, 1000, 5000, 10_000, 35_000, 70_000]);
                self.say(format!("{time} ms pass"));
                self.pass(Duration::from_millis(time));
                true
            }
            Step::PassLong => {
                let minutes = self.chance.pick(&[10, 60, 600, 2000]);
                self.say(format!("{minutes} minutes pass"));
                self.pass(Duration::from_secs(minutes * 60));
                true
            }
            Step::Sweep => {
                let Some(controller) = &self.controller else {
                    return false;
                };
                self.say("sweep");
                controller.sweep().await.expect("the store works");
                true
            }
            Step::Cut => self.cut(),
            Step::Notice => self.notice(),
            Step::CrashWorker => {
                if self.here.worker.is_none() {
                    return false;
                }
                self.say("the worker crashes");
                self.crash_worker();
                true
            }
            Step::CrashWhileWriting => {
                let Some(worker) = &self.here.worker else {
                    return false;
                };
                let operations = self.chance.below(8);
                let chance = Chance::new(self.chance.next());
                self.here.medium.die_after(operations, chance);
                worker.life.journal().write_staged();
                self.say(format!(
                    "the worker crashes while it writes, after {operations}"
                ));
                self.crash_worker();
                true
            }
            Step::StopWorker => {
                let runs = |worker: &Worker| worker.leaving.is_none();
                if !self.here.worker.as_ref().is_some_and(runs) {
                    return false;
                }
                self.say("the worker is told to stop");
                self.stop_worker();
                true
            }
            Step::Leave => {
                if !self.may_leave() {
                    return false;
                }
                self.say("the worker leaves");
                self.leave().await;
                true
            }
            Step::LoseJournal => {
                if self.here.worker.is_some() {
                    return false;
                }
                self.say("the journal is lost");
                self.lose_journal();
                true
            }
            Step::BeginWorker => {
                if self.here.worker.is_some() {
                    return false;
                }
                self.say("the worker begins");
                self.begin_worker();
                true
            }
            Step::CrashController => {
                if self.controller.is_none() {
                    return false;
                }
                self.say("the controller crashes");
                self.crash_controller();
                true
            }
            Step::CutPower => {
                if self.controller.is_none() || !self.can_cut_power() {
                    return false;
                }
                self.crash_controller();
                self.settle().await;
                let undone = self.cut_power();
                self.say(format!(
                    "the controller loses power, which undoes {undone} transactions"
                ));
                true
            }
            Step::StopController => {
                let Some(controller) = &self.controller else {
                    return false;
                };
                self.say("the controller stops");
                controller.stop();
                self.settle().await;
                self.controller = None;
                true
            }
            Step::BeginController => {
                if self.controller.is_some() {
                    return false;
                }
                self.say("the controller begins");
                self.begin_controller().await;
                true
            }
            Step::JumpClock => {
                let day = 24 * 3600 * 1000;
                let off = self
                    .chance
                    .pick(&[-day, -90_000, -1000, 0, 0, 1000, 90_000, day]);
                let worker = self.chance.percent(50);
                let of = if worker { "worker" } else { "controller" };
                self.say(format!("the {of}'s clock is {off} ms off"));
                match worker {
                    true => self.clocks.worker_off = off,
                    false => self.clocks.controller_off = off,
                }
                self.pass(Duration::ZERO);
                true
            }
            Step::Disk => {
                let refuses = !self.here.medium.refuses();
                if self.here.worker.is_none() {
                    return false;
                }
                self.say(format!("the disk refuses: {refuses}"));
                self.here.medium.refuse(refuses);
                self.truth.facts().ledger.disk_refused = true;
                true
            }
        }
    }

    /// With the content of an earlier one, or a new one.
    async fn submit(&mut self, again: Option<Submitted>) -> bool {
        if self.controller.is_none() {
            return false;
        }
        let submitted = match again {
            Some(submitted) => submitted,
            None => self.new_submission(),
        };
        self.say(format!(
            "submit {:?} not_before {:?} start_by {:?} timeout {:?}",
            submitted.kind, submitted.not_before, submitted.start_by, submitted.timeout
        ));
        let answer = self
            .controller()
            .submit(submitted.request(submitted.node))
            .await;
        let is_heard = self.chance.percent(85);
        match answer {
            Ok(answer) => {
                let mut became = Vec::new();
                for view in answer.commands {
                    let id: CommandId = view.command_id.parse().expect("an id");
                    self.say(format!("  {id}, and that is heard: {is_heard}"));
                    let mut facts = self.truth.facts();
                    let crashes = facts.ledger.crashes;
                    became.push(id);
                    if submitted
                        .became
                        .as_ref()
                        .is_some_and(|all| !all.contains(&id))
                    {
                        facts
                            .ledger
                            .breach(format!("a request was made again as {id}"));
                    }
                    let entry = facts.ledger.commands.entry(id);
                    let entry = entry.or_insert_with(|| Entry::new(submitted.kind, crashes));
                    entry.not_before = submitted.not_before;
                    entry.start_by = submitted.start_by;
                    entry.promised |= is_heard;
                }
                let group = answer.group_id.parse().expect("an id");
                self.submitted.push(Submitted {
                    became: Some(became),
                    group: Some(group),
                    ..submitted
                });
            }
            Err(status) => {
                self.say(format!("  refused: {status:?}"));
                if submitted.became.is_some() {
                    let mut facts = self.truth.facts();
                    facts
                        .ledger
                        .breach(format!("a repeated request is refused: {status}"));
                } else if matches!(status.code(), Code::Internal | Code::Unknown) {
                    let mut facts = self.truth.facts();
                    facts.ledger.breach(format!("a request fails: {status}"));
                }
            }
        }
        true
    }

    fn new_submission(&mut self) -> Submitted {
        let kind = self.chance.pick(&[
            Kind::Read,
            Kind::Idempotent,
            Kind::Idempotent,
            Kind::Once,
            Kind::Once,
            Kind::Once,
            Kind::Resumable,
            Kind::Inline,
            Kind::Keep,
            Kind::Drain,
            Kind::Disabled,
        ]);
        let now = self.clocks.controller_wall();
        let mut later = |percent, millis: &[u64]| {
            let wanted = self.chance.percent(percent);
            let millis = self.chance.pick(millis);
            wanted.then(|| now + Duration::from_millis(millis))
        };
        let not_before = later(20, &[500, 8000, 60_000, 3_600_000]);
        let start_by = later(30, &[700, 9000, 90_000, 7_200_000]);
        let start_by = start_by.filter(|by| not_before.is_none_or(|from| from < *by));
        let timeout = self
            .chance
            .percent(30)
            .then(|| self.chance.pick(&[50, 2000, 30_000]));
        let everybody = self.there.is_some() && self.chance.percent(30);
        Submitted {
            request_id: Uuid::from_u64_pair(self.chance.next(), self.chance.next()),
            kind,
            not_before,
            start_by,
            timeout: timeout.map(Duration::from_millis),
            node: (!everybody).then(|| self.node()),
            became: None,
            group: None,
        }
    }

    async fn submit_again(&mut self) -> bool {
        if self.submitted.is_empty() {
            return false;
        }
        let which = self.chance.below(self.submitted.len());
        let again = self.submitted[which].clone();
        // It is refused for another reason, and rightly so.
        if again
            .start_by
            .is_some_and(|by| by <= self.clocks.controller_wall())
        {
            return false;
        }
        self.submit(Some(again)).await
    }

    async fn cancel(&mut self) -> bool {
        let ids: Vec<_> = self.truth.facts().ledger.commands.keys().copied().collect();
        if self.controller.is_none() || ids.is_empty() {
            return false;
        }
        let id = self.chance.pick(&ids);
        self.say(format!("cancel {id}"));
        let request = api::CancelCommandRequest {
            command_id: id.to_string(),
            reason: String::new(),
        };
        let answer = self.controller().cancel(request).await;
        if let Err(status) = answer {
            let mut facts = self.truth.facts();
            facts
                .ledger
                .breach(format!("{id} cannot be cancelled: {status}"));
        }
        true
    }

    fn deliver(&mut self, up: bool) -> bool {
        if self.here.links.is_empty() {
            return false;
        }
        let which = self.chance.below(self.here.links.len());
        self.deliver_on(which, up)
    }

    /// Has one message arrive on this connection.
    pub fn deliver_on(&mut self, which: usize, up: bool) -> bool {
        let Some(link) = self.here.links.get_mut(which) else {
            return false;
        };
        let arrived = match up {
            true => link.deliver_up(),
            false => link.deliver_down(),
        };
        let way = if up { "up" } else { "down" };
        match arrived {
            Arrived::Nothing => return false,
            Arrived::Message(what) => self.say(format!("{way}: {what}")),
            Arrived::End => self.say(format!("{way}: the end")),
        }
        true
    }

    fn repeat(&mut self, up: bool) -> bool {
        let which = self.chance.below(8);
        let Some(link) = self.here.links.last() else {
            return false;
        };
        let repeated = match up {
            true => link.repeat_up(which),
            false => link.repeat_down(which),
        };
        let Some(what) = repeated else {
            return false;
        };
        self.say(format!("again: {what}"));
        true
    }

    fn cut(&mut self) -> bool {
        if self.here.links.is_empty() {
            return false;
        }
        let which = self.chance.below(self.here.links.len());
        let who = self.chance.below(3);
        let link = &mut self.here.links[which];
        if who != 0 {
            link.worker_notices();
        }
        if who != 1 {
            link.controller_notices();
        }
        let who = ["the controller", "the worker", "both ends"][who];
        self.say(format!("a cut that {who} notice"));
        true
    }

    /// Whoever has not noticed yet.
    fn notice(&mut self) -> bool {
        let half = self
            .here
            .links
            .iter_mut()
            .find(|link| link.is_open_to_controller() != link.is_open_to_worker());
        let Some(link) = half else {
            return false;
        };
        link.worker_notices();
        link.controller_notices();
        self.say("the other end notices the cut");
        true
    }

    fn handler(&mut self) -> bool {
        let Some(worker) = &self.here.worker else {
            return false;
        };
        let running = worker.plugin.running();
        if running.is_empty() {
            return false;
        }
        let (call, running) = running[self.chance.below(running.len())].clone();
        let id = running.id;
        let act = self
            .chance
            .below(if running.cancelled.is_some() { 11 } else { 8 });
        self.say(format!("handler of {id}: act {act}"));
        match act {
            0 => worker.plugin.take_effect(call),
            1 => running.sink.progress(500, "half"),
            2 => running.sink.output(b"a line of output\n"),
            3 if running.kind == Kind::Resumable => worker.plugin.checkpoint(id),
            3..=5 => worker.plugin.complete(call, succeeded()),
            6 => worker.plugin.complete(call, failed()),
            7 => {
                worker.plugin.take_effect(call);
                worker.plugin.complete(call, failed());
            }
            _ => {
                let cancelled = aegis_core::plugin::Completion::Cancelled(None);
                worker.plugin.complete(call, cancelled);
            }
        }
        true
    }

    /// Nothing runs on a node that is drained, and it is no more busy than it
    /// says.
    fn look_at_drain(&mut self) {
        use aegis_core::control::NodeControl;
        let Some(worker) = &self.here.worker else {
            return;
        };
        let drain = worker.life.state().drain_status();
        let running = worker.plugin.running();
        let busy = running
            .iter()
            .filter(|(_, one)| !one.kind.runs_while_draining());
        let busy: Vec<_> = busy.map(|(_, one)| one.id.to_string()).collect();
        if drain.draining && drain.finished_at.is_some() && !busy.is_empty() {
            let what = format!("drained, and these run: {}", busy.join(" "));
            self.truth.facts().ledger.breach(what);
        }
        if drain.draining && drain.finished_at.is_some() && !drain.in_flight.is_empty() {
            let what = format!("drained, and these are in flight: {:?}", drain.in_flight);
            self.truth.facts().ledger.breach(what);
        }
    }

    /// Has every handler that runs return.
    pub fn return_all(&mut self) -> bool {
        let Some(worker) = &self.here.worker else {
            return false;
        };
        let running = worker.plugin.running();
        for (call, one) in &running {
            let end = match one.cancelled {
                Some(CancelReason::Requested) => aegis_core::plugin::Completion::Cancelled(None),
                _ => succeeded(),
            };
            worker.plugin.complete(*call, end);
        }
        !running.is_empty()
    }
}

/// A request, for it may be made again.
#[derive(Debug, Clone)]
pub struct Submitted {
    request_id: Uuid,
    kind: Kind,
    not_before: Option<SystemTime>,
    start_by: Option<SystemTime>,
    timeout: Option<Duration>,
    /// `None`: of all nodes.
    node: Option<NodeId>,
    became: Option<Vec<CommandId>>,
    pub group: Option<GroupId>,
}

impl Submitted {
    fn request(&self, node: Option<NodeId>) -> api::SubmitCommandRequest {
        use api::selector::Selector;
        let selector = match node {
            Some(node) => Selector::Node(node.to_string()),
            None => Selector::All(true),
        };
        api::SubmitCommandRequest {
            selector: Some(api::Selector {
                selector: Some(selector),
            }),
            name: self.kind.name().to_owned(),
            payload: b"{}".to_vec(),
            not_before: self.not_before.map(Into::into),
            start_by: self.start_by.map(Into::into),
            timeout: self
                .timeout
                .map(|timeout| timeout.try_into().expect("short")),
            request_id: self.request_id.to_string(),
            traceparent: String::new(),
        }
    }
}
