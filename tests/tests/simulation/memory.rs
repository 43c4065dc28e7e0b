//! A store that is as the real one but for its disk: it is in memory, and a
//! power cut undoes what was not made durable. Far cheaper, it lets the
//! simulation see thousands of schedules; a test compares the two answer by
//! answer.
//!
//! What becomes of a command is the real one's code. Config layers and
//! allowed plugins are not part of the simulation and are left to a real store.

mod commands;
mod nodes;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard},
    task::Poll,
};

use aegis_controller::{
    store::{
        AllowedPlugin, AllowedPluginList, AllowedPlugins, AuditRecord, CommandRecord, EventRecord,
        GroupRecord, Groups, LayerChange, LayerRecord, LayerScope, Layers, Log, NewAudit, NewEvent,
        NodeRecord, RevisionRecord, RolloutNodeRecord, RolloutRecord, SqliteStore, Steering, Store,
        StoreError, Submission, TokenRecord,
    },
    time::Millis,
};
use aegis_proto::{CommandId, GroupId, NodeId};
use tonic::async_trait;
use uuid::Uuid;

use super::chance::Chance;

/// Transactions that a power cut may undo; what is older has reached the disk.
const UNDOABLE: usize = 64;

/// Events that are kept.
const EVENTS: usize = 100;

pub struct Memory {
    state: Mutex<State>,
    rest: Arc<SqliteStore>,
}

#[derive(Default)]
struct State {
    tables: Tables,
    /// How they were before each transaction since the last durable one.
    before: VecDeque<Tables>,
    events: VecDeque<EventRecord>,
    last_event: i64,
    audit: Vec<AuditRecord>,
}

/// What a power cut may undo.
#[derive(Clone, Default)]
struct Tables {
    meta: BTreeMap<String, Vec<u8>>,
    nodes: BTreeMap<NodeId, Arc<NodeRecord>>,
    tokens: HashMap<[u8; 32], TokenRecord>,
    commands: BTreeMap<CommandId, Arc<Row>>,
    submissions: HashMap<String, ([u8; 32], GroupId)>,
}

/// A command, and what is read of it apart.
#[derive(Clone)]
struct Row {
    command: CommandRecord,
    output: Vec<u8>,
    ended_at: Option<Millis>,
}

impl Memory {
    /// With nothing in it. `rest` is the store to which is left what is not part
    /// of the simulation.
    pub fn new(rest: Arc<SqliteStore>) -> Self {
        Self {
            state: Mutex::default(),
            rest,
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.state() = State::default();
    }

    /// The machine loses power: of what no durable transaction has followed,
    /// the last ones may be undone. Returns how many were.
    pub fn cut_power(&self, chance: &mut Chance) -> usize {
        let mut state = self.state();
        let undone = chance.below(state.before.len() + 1);
        let kept = state.before.len() - undone;
        if undone > 0 {
            state.tables = state.before[kept].clone();
        }
        state.before.clear();
        undone
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics here")
    }

    /// A transaction that is on the disk when it returns, and with it all that
    /// were before.
    async fn durable<T>(&self, change: impl FnOnce(&mut Tables) -> T) -> T {
        others_go_first().await;
        let mut state = self.state();
        state.before.clear();
        change(&mut state.tables)
    }

    /// A transaction that a power cut may undo.
    async fn relaxed<T>(&self, change: impl FnOnce(&mut Tables) -> T) -> T {
        others_go_first().await;
        let mut state = self.state();
        let before = state.tables.clone();
        state.before.push_back(before);
        if state.before.len() > UNDOABLE {
            state.before.pop_front();
        }
        change(&mut state.tables)
    }

    async fn read<T>(&self, look: impl FnOnce(&Tables) -> T) -> T {
        others_go_first().await;
        look(&self.state().tables)
    }

    fn note(&self, audit: &NewAudit) {
        let mut state = self.state();
        let id = state.audit.len() as i64 + 1;
        state.audit.push(AuditRecord {
            id,
            at: audit.at,
            operator: audit.operator.clone(),
            action: audit.action.to_owned(),
            detail: audit.detail.clone(),
            result: audit.result.to_owned(),
        });
    }
}

/// As where a disk is waited for.
async fn others_go_first() {
    let mut waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[async_trait]
impl Store for Memory {
    async fn probe(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn size(&self) -> Result<u64, StoreError> {
        Ok(0)
    }
}

#[async_trait]
impl Log for Memory {
    async fn append_event(&self, event: &NewEvent) -> Result<(), StoreError> {
        others_go_first().await;
        let mut state = self.state();
        state.last_event += 1;
        let id = state.last_event;
        state.events.push_back(EventRecord {
            id,
            at: event.at,
            kind: event.kind.to_owned(),
            node: event.node.map(|id| id.to_string()).unwrap_or_default(),
            command: event.command.map(|id| id.to_string()).unwrap_or_default(),
            message: event.message.clone(),
        });
        if state.events.len() > EVENTS {
            state.events.pop_front();
        }
        Ok(())
    }

    async fn events(
        &self,
        after: i64,
        limit: u32,
        node: Option<NodeId>,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let node = node.map(|id| id.to_string());
        let state = self.state();
        let wanted = state.events.iter().filter(|event| {
            event.id > after && node.as_ref().is_none_or(|node| *node == event.node)
        });
        Ok(page(wanted.cloned().collect(), after, limit))
    }

    async fn prune_events(&self, before: Millis, keep: u32, most: u32) -> Result<u32, StoreError> {
        let mut state = self.state();
        let mut pruned = 0;
        while pruned < most
            && let Some(oldest) = state.events.front()
            && (oldest.at < before || state.events.len() > keep as usize)
        {
            state.events.pop_front();
            pruned += 1;
        }
        Ok(pruned)
    }

    async fn prune_audit(&self, _: Millis, _: u32, _: u32) -> Result<u32, StoreError> {
        Ok(0)
    }

    async fn append_audit(&self, audit: &NewAudit) -> Result<(), StoreError> {
        self.note(audit);
        Ok(())
    }

    async fn audit(&self, after: i64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        let state = self.state();
        let wanted = state.audit.iter().filter(|entry| entry.id > after);
        Ok(page(wanted.cloned().collect(), after, limit))
    }
}

/// The first behind another one, or the newest.
fn page<T>(mut all: Vec<T>, after: i64, limit: u32) -> Vec<T> {
    let beyond = all.len().saturating_sub(limit as usize);
    if after > 0 {
        all.truncate(limit as usize);
    } else {
        all.drain(..beyond);
    }
    all
}

#[async_trait]
impl Groups for Memory {
    async fn group_ids(&self, prefix: &str, limit: u32) -> Result<Vec<GroupId>, StoreError> {
        let mut ids: Vec<_> = {
            let state = self.state();
            let groups = state.tables.commands.values().map(|row| row.command.group);
            groups
                .filter(|id| id.to_string().starts_with(prefix))
                .collect()
        };
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(limit as usize);
        Ok(ids)
    }

    async fn group_counts(&self, id: GroupId) -> Result<Option<GroupRecord>, StoreError> {
        let state = self.state();
        let rows = state.tables.commands.values();
        let all: Vec<_> = rows.filter(|row| row.command.group == id).collect();
        let Some(first) = all.first().map(|row| &row.command) else {
            return Ok(None);
        };
        let mut counts = BTreeMap::new();
        for row in &all {
            let state = row.command.state;
            counts.entry(state as i32).or_insert((state, 0)).1 += 1;
        }
        let ends = all.iter().map(|row| row.command.finished_at);
        let ended = ends.clone().all(|end| end.is_some());
        Ok(Some(GroupRecord {
            id,
            name: first.name.clone(),
            issuer: first.issuer.clone(),
            created_at: first.created_at,
            counts: counts.into_values().collect(),
            finished_at: ends.max().flatten().filter(|_| ended),
        }))
    }
}

#[async_trait]
impl Layers for Memory {
    async fn layers(&self) -> Result<(i64, Vec<LayerRecord>), StoreError> {
        self.rest.layers().await
    }

    async fn change_layers(
        &self,
        expected: i64,
        change: &LayerChange,
        commands: &Submission,
        audit: Option<&NewAudit>,
    ) -> Result<bool, StoreError> {
        self.rest
            .change_layers(expected, change, commands, audit)
            .await
    }

    async fn revisions(
        &self,
        scopes: Option<&[LayerScope]>,
        before: i64,
        limit: u32,
    ) -> Result<Vec<RevisionRecord>, StoreError> {
        self.rest.revisions(scopes, before, limit).await
    }

    async fn revision(&self, revision: i64) -> Result<Option<RevisionRecord>, StoreError> {
        self.rest.revision(revision).await
    }

    async fn rollouts(&self, limit: u32) -> Result<Vec<RolloutRecord>, StoreError> {
        self.rest.rollouts(limit).await
    }

    async fn rollout_ids(&self, prefix: &str, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        self.rest.rollout_ids(prefix, limit).await
    }

    async fn rollout(
        &self,
        id: Uuid,
    ) -> Result<Option<(RolloutRecord, Vec<RolloutNodeRecord>)>, StoreError> {
        self.rest.rollout(id).await
    }

    async fn steer_rollout(
        &self,
        steering: &Steering,
        audit: Option<&NewAudit>,
    ) -> Result<bool, StoreError> {
        self.rest.steer_rollout(steering, audit).await
    }
}

#[async_trait]
impl AllowedPlugins for Memory {
    async fn allowed_plugins(&self) -> Result<AllowedPluginList, StoreError> {
        self.rest.allowed_plugins().await
    }

    async fn allow_plugin(
        &self,
        allowed: &AllowedPlugin,
        audit: &NewAudit,
    ) -> Result<AllowedPluginList, StoreError> {
        self.rest.allow_plugin(allowed, audit).await
    }

    async fn disallow_plugin(
        &self,
        plugin: &str,
        sha256: &[u8; 32],
        audit: &NewAudit,
    ) -> Result<Option<AllowedPluginList>, StoreError> {
        self.rest.disallow_plugin(plugin, sha256, audit).await
    }
}
