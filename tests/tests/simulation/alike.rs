//! Asks the real store and the one in memory for the same, in an order that is
//! drawn, and compares what they answer.

use std::sync::Arc;

use aegis_controller::{
    command::{FinalState, Step},
    simulation::set_clock,
    store::{
        CommandFilter, CommandRecord, Finish, NewAudit, NodeRecord, Seen, SharedStore, SqliteStore,
        Store, Submission, TokenRecord, Window,
    },
};
use aegis_proto::{
    CommandId, GroupId, NodeId,
    cluster::v1::{NodeCapabilities, NodeRole},
    worker::v1::{CommandError, CommandState},
};
use ed25519_dalek::SigningKey;
use tokio::runtime::Builder;
use uuid::Uuid;

use super::{chance::Chance, memory::Memory};

const ROUNDS: u64 = 12;

const QUESTIONS: usize = 120;

const NODES: [NodeId; 2] = [
    NodeId::from_uuid(Uuid::from_u128(1)),
    NodeId::from_uuid(Uuid::from_u128(2)),
];

const NAMES: [&str; 3] = ["one", "two", "drain"];

const WINDOW: Window = Window {
    each: 2,
    exempt: &["drain"],
};

/// What was asked for so far, and what may be asked for next.
struct Asker {
    chance: Chance,
    now: i64,
    ids: Vec<CommandId>,
    submissions: Vec<Submission>,
}

pub fn compare() {
    let runtime = Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        for seed in 0..ROUNDS {
            let directory = tempfile::tempdir().expect("a directory");
            let url = format!("sqlite://{}", directory.path().join("store").display());
            let real = Arc::new(SqliteStore::open(&url).await.expect("a store"));
            let memory = Memory::new(Arc::clone(&real));
            let stores: [SharedStore; 2] = [real, Arc::new(memory)];
            set_clock(1_000_000, Uuid::now_v7);
            for node in NODES {
                for store in &stores {
                    enrol(&**store, node).await;
                }
            }
            let mut asker = Asker {
                chance: Chance::new(seed),
                now: 1_000_000,
                ids: Vec::new(),
                submissions: Vec::new(),
            };
            for nth in 0..QUESTIONS {
                let before = asker.chance.clone();
                let (question, real) = asker.ask(&*stores[0], true).await;
                asker.chance = before;
                let (_, memory) = asker.ask(&*stores[1], false).await;
                assert_eq!(real, memory, "seed {seed}, question {nth}: {question}");
            }
        }
    });
}

async fn enrol(store: &dyn Store, id: NodeId) {
    let hash = [id.as_uuid().as_bytes()[15]; 32];
    let token = TokenRecord {
        id: id.to_string(),
        node: Some(id),
        created_at: 1,
        expires_at: 1000,
        revoked_at: None,
        spent_by: None,
        note: String::new(),
    };
    let node = NodeRecord {
        id,
        role: NodeRole::Worker,
        public_key: SigningKey::from_bytes(&[1; 32]).verifying_key(),
        capabilities: NodeCapabilities::default(),
        grpc_address: String::new(),
        enrolled_at: 2,
        registered_at: None,
        deregistered: false,
        banned: None,
        facts: None,
        config_status: None,
    };
    let made = store.create_token(&token, &hash, &audit()).await;
    made.expect("the store works");
    let enrolled = store.enrol(&hash, &node, 2).await;
    enrolled.expect("the store works").expect("it is enrolled");
}

fn audit() -> NewAudit {
    NewAudit {
        at: 1,
        operator: "operator".into(),
        action: "SubmitCommand",
        detail: "{}".into(),
        result: "ok",
    }
}

impl Asker {
    /// What was asked, and the answer as text. `first`: of the two stores this
    /// one is asked first, and new things are remembered.
    async fn ask(&mut self, store: &dyn Store, first: bool) -> (String, String) {
        let node = self.chance.pick(&NODES);
        let name = self.chance.pick(&NAMES);
        let which = self.chance.below(1000) % self.ids.len().max(1);
        let nobody = CommandId::from_uuid(Uuid::from_u128(9));
        let id = self.ids.get(which).copied().unwrap_or(nobody);
        let later = self.chance.below(40) as i64;
        self.now += if first { later } else { 0 };
        let now = self.now;
        let what = self.chance.below(18);
        let question = format!("{what} of {node} {id} {name} at {now}");
        let answer = match what {
            0..=4 => {
                let submission = self.submission(node, name, first);
                shown(store.submit(Arc::new(submission), audit()).await)
            }
            5..=7 => {
                let some = self.steps(id);
                shown(store.advance(node, &some, now).await)
            }
            8 => shown(store.finish(vec![self.finish(node, id, now)]).await),
            9 => shown(store.request_cancel(id, "why", now, &audit()).await),
            10 => {
                let mut expired = store.expire(now, 100).await.expect("the store works");
                expired.sort_unstable();
                format!("{expired:?}")
            }
            11 | 12 => {
                let limit = self.chance.pick(&[1, 3, 50]);
                let due = store.due(node, now, &WINDOW, limit).await;
                let mut due = due.expect("the store works");
                due.cancel.sort_unstable();
                format!("{due:?}")
            }
            13 => {
                let before = self.chance.percent(20).then_some(now - 300);
                let pruned = store.prune_commands(before.unwrap_or(0), 3).await;
                let beyond = store.ended_beyond(2).await;
                format!("{} {}", shown(pruned), shown(beyond))
            }
            14 => {
                let filter = CommandFilter {
                    nodes: self.chance.percent(50).then(|| vec![node]),
                    states: vec![CommandState::Queued, CommandState::Cancelled],
                    before: self.chance.percent(50).then_some(id),
                    limit: 4,
                    ..CommandFilter::default()
                };
                shown(store.list(&filter).await)
            }
            15 => {
                let mut queued: Vec<_> = match store.queued(node).await {
                    Ok(queued) => queued.into_iter().collect(),
                    Err(error) => panic!("{error:?}"),
                };
                queued.sort_unstable();
                let counts = store.open_counts().await.expect("the store works");
                let counts = NODES.map(|node| counts.get(&node).copied());
                let one = shown(store.open_count(node).await);
                format!("{queued:?} {counts:?} {one}")
            }
            16 => {
                let open = shown(store.open(node).await);
                let named = shown(store.open_named(node, name).await);
                let in_hand = shown(store.in_hand(node).await);
                format!("{open} {named} {in_hand}")
            }
            _ => {
                let found = store.command(id).await.expect("the store works");
                let group = match &found {
                    Some(found) => self.group(store, found.group).await,
                    None => String::new(),
                };
                let output = shown(store.output(id).await);
                let ids = shown(store.command_ids("0", 3).await);
                format!("{found:?} {group} {output} {ids}")
            }
        };
        (question, answer)
    }

    async fn group(&self, store: &dyn Store, group: GroupId) -> String {
        let all = shown(store.group(group).await);
        let counts = shown(store.group_counts(group).await);
        format!("{all} {counts}")
    }

    /// A new one, or one from before, or one under its request id.
    fn submission(&mut self, node: NodeId, name: &str, first: bool) -> Submission {
        let again = self.chance.percent(20);
        let which = self.chance.below(self.submissions.len());
        let changed = self.chance.percent(30);
        let mut at = |percent| {
            let wanted = self.chance.percent(percent);
            let after = self.chance.below(200) as i64;
            wanted.then_some(self.now + after)
        };
        let (not_before, start_by) = (at(30), at(40));
        let several = self.chance.percent(30);
        let supersedes = self.chance.percent(20);
        if !first {
            return self.submissions.last().expect("it was made").clone();
        }
        let mut submission = match self.submissions.get(which).filter(|_| again) {
            Some(submission) => submission.clone(),
            None => {
                let group = GroupId::from_uuid(Uuid::now_v7());
                let nodes = if several { &NODES[..] } else { &[node] };
                let command = |node: &NodeId| CommandRecord {
                    not_before,
                    start_by,
                    ..CommandRecord::queued(
                        CommandId::from_uuid(Uuid::now_v7()),
                        group,
                        *node,
                        name.to_owned(),
                        b"{}".to_vec(),
                        "operator".to_owned(),
                    )
                };
                Submission {
                    request_id: Some(Uuid::new_v4().to_string()),
                    digest: [1; 32],
                    group,
                    commands: nodes.iter().map(command).collect(),
                    superseded: Vec::new(),
                }
            }
        };
        if changed && again {
            submission.digest = [2; 32];
        }
        if supersedes && let Some(id) = self.ids.last() {
            let mut finish = self.finish_of(node, *id, FinalState::Cancelled);
            finish.seen = Seen::In(CommandState::Queued);
            submission.superseded.push(finish);
        }
        self.ids
            .extend(submission.commands.iter().map(|command| command.id));
        self.submissions.push(submission.clone());
        submission
    }

    fn steps(&mut self, id: CommandId) -> Vec<(CommandId, Step)> {
        let other = match self.ids.is_empty() {
            true => id,
            false => self.chance.pick(&self.ids),
        };
        let steps = [
            Step::Deliver,
            Step::Deliver,
            Step::Accept,
            Step::Start(1),
            Step::Start(2),
        ];
        let step = self.chance.pick(&steps);
        vec![(id, step), (other, step)]
    }

    fn finish(&mut self, node: NodeId, id: CommandId, now: i64) -> Finish {
        let state = self.chance.pick(&[
            FinalState::Succeeded,
            FinalState::Failed,
            FinalState::Unknown,
        ]);
        let name = self.chance.pick(&[None, Some("one"), Some("two")]);
        Finish {
            name: name.map(str::to_owned),
            finished_at: now,
            ended_at: now,
            ..self.finish_of(node, id, state)
        }
    }

    fn finish_of(&self, node: NodeId, id: CommandId, state: FinalState) -> Finish {
        Finish {
            id,
            node,
            name: None,
            seen: Seen::InHand,
            state,
            response: b"[]".to_vec(),
            error: Some(CommandError {
                code: "broke".into(),
                ..CommandError::default()
            }),
            output: b"output".to_vec(),
            output_cut: 3,
            receipt: vec![1],
            receipt_signature: vec![2],
            receipt_key: vec![3],
            started_at: None,
            finished_at: self.now,
            ended_at: self.now,
            attempt: 2,
        }
    }
}

fn shown<T: std::fmt::Debug, E: std::fmt::Debug>(answer: Result<T, E>) -> String {
    format!("{:?}", answer.expect("the store works"))
}
