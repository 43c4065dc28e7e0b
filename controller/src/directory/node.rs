//! One node: what is stored of it and how it is now.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use aegis_proto::{NodeId, cluster::v1::NodeInfo};
use arc_swap::ArcSwap;

use super::Live;
use crate::{session::Seat, store::NodeRecord, time};

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    record: ArcSwap<NodeRecord>,
    live: Mutex<Live>,
    /// False only where no open command can be in the store, so that an idle
    /// heartbeat costs no query.
    may_have_commands: AtomicBool,
}

impl Node {
    /// A node that has not been heard of.
    pub fn new(record: NodeRecord) -> Self {
        Self {
            id: record.id,
            record: ArcSwap::from_pointee(record),
            live: Mutex::default(),
            may_have_commands: AtomicBool::new(true),
        }
    }

    /// What is stored of it.
    pub fn record(&self) -> Arc<NodeRecord> {
        self.record.load_full()
    }

    /// Repeats in memory what was just stored.
    pub fn amend(&self, change: impl Fn(&mut NodeRecord)) {
        self.record.rcu(|record| {
            let mut record = NodeRecord::clone(record);
            change(&mut record);
            record
        });
    }

    /// How it is now. Hold it briefly, and never across an await.
    pub fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its session, if it has one.
    pub fn session(&self) -> Option<Arc<Seat>> {
        self.live().session.clone()
    }

    /// Makes its session, or its next heartbeat, look for commands.
    pub fn wake(&self) {
        self.may_have_commands.store(true, Ordering::Release);
        if let Some(session) = self.session() {
            session.wake();
        }
    }

    /// Whether the store has to be asked for commands. Call
    /// [`Node::wake`]'s counterpart [`Node::no_commands`] first, then ask.
    pub fn may_have_commands(&self) -> bool {
        self.may_have_commands.load(Ordering::Acquire)
    }

    /// Assumes that there are none, until the next [`Node::wake`].
    pub fn no_commands(&self) {
        self.may_have_commands.store(false, Ordering::Release);
    }

    /// As its peers are told.
    pub fn info(&self) -> NodeInfo {
        let record = self.record.load();
        let live = self.live();
        let status = match record.is_registered() {
            true => live.status(),
            false => Default::default(),
        };
        NodeInfo {
            node_id: self.id.to_string(),
            role: record.role.into(),
            status: status.into(),
            capabilities: Some(record.capabilities.clone()),
            grpc_address: record.grpc_address.clone(),
            last_heartbeat_at: live.heard_at.map(time::timestamp),
            registered_at: record.registered_at.map(time::timestamp),
        }
    }
}
