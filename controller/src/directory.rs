//! The nodes as the process knows them: the stored record of each, and its
//! liveness, which lives here alone and is rebuilt from heartbeats.

mod live;
mod node;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use aegis_proto::NodeId;
use tokio::sync::broadcast;

pub use live::{Live, Pulse};
pub use node::Node;

use crate::store::NodeRecord;

/// Changes that a watcher may lag behind before it has to look at all nodes anew.
const CHANGES: usize = 1024;

/// All nodes.
#[derive(Debug)]
pub struct Directory {
    nodes: RwLock<HashMap<NodeId, Arc<Node>>>,
    changed: broadcast::Sender<NodeId>,
}

impl Directory {
    /// Nodes as they were stored; none has been heard of.
    pub fn new(records: Vec<NodeRecord>) -> Self {
        let nodes = records
            .into_iter()
            .map(|r| (r.id, Arc::new(Node::new(r))))
            .collect();
        Self {
            nodes: RwLock::new(nodes),
            changed: broadcast::channel(CHANGES).0,
        }
    }

    /// One node.
    pub fn find(&self, id: NodeId) -> Option<Arc<Node>> {
        self.nodes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned()
    }

    /// All nodes, by id.
    pub fn all(&self) -> Vec<Arc<Node>> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = nodes.values().cloned().collect();
        all.sort_by_key(|node| node.id);
        all
    }

    /// Adds a node that was just enrolled.
    pub fn add(&self, record: NodeRecord) -> Arc<Node> {
        let node = Arc::new(Node::new(record));
        self.nodes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(node.id, Arc::clone(&node));
        self.tell(node.id);
        node
    }

    /// Forgets a node.
    pub fn remove(&self, id: NodeId) -> Option<Arc<Node>> {
        let removed = self
            .nodes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
        self.tell(id);
        removed
    }

    /// Tells watchers that something about this node changed.
    pub fn tell(&self, id: NodeId) {
        // No receiver is no failure: nobody watches.
        let _ = self.changed.send(id);
    }

    /// Ids of nodes that change from now on.
    pub fn changes(&self) -> broadcast::Receiver<NodeId> {
        self.changed.subscribe()
    }
}
