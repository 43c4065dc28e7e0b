//! Config layers and how they merge: global, then the node's tags in the order
//! of their names, then the node itself, each over what came before.
//!
//! A merge is RFC 7396's: objects merge key by key, `null` takes a key away,
//! anything else replaces. The version of a merged document is the hash of its
//! canonical form, so that equal configs have equal versions.
//!
//! While a rollout brings a layer to its nodes, the others have the layer as it
//! was before. [`LayerStack::wanted`] decides what a node should have, whoever
//! asks: a session, a call, or a node that comes back.

mod change;
mod merged;

use std::sync::Arc;

use aegis_proto::NodeId;
use arc_swap::ArcSwap;
use serde_json::{Map, Value};
use tokio::sync::Notify;
use uuid::Uuid;

use self::merged::{VERSION_PREFIX, merge};
use crate::store::{LayerChange, LayerRecord, LayerScope, Pending};

pub use merged::Merged;

/// Bytes of a merged document: in base64 and with its version, it is a
/// command's payload.
pub const MAX_MERGED_BYTES: usize = 768 * 1024 - 1024;

/// The layers, shared and replaced as a whole.
#[derive(Debug)]
pub struct Layers {
    stack: ArcSwap<LayerStack>,
    changed: Notify,
}

/// All layers at one revision.
#[derive(Debug, Clone, Default)]
pub struct LayerStack {
    /// Of the store; grows with each change.
    pub revision: i64,
    /// In no particular order.
    pub layers: Vec<LayerRecord>,
}

impl Layers {
    /// As they were stored.
    pub fn new(stack: LayerStack) -> Self {
        Self {
            stack: ArcSwap::from_pointee(stack),
            changed: Notify::new(),
        }
    }

    /// As they are now.
    pub fn load(&self) -> Arc<LayerStack> {
        self.stack.load_full()
    }

    /// Replaces them, unless what is there is newer.
    pub fn replace(&self, stack: LayerStack) {
        let stack = Arc::new(stack);
        self.stack.rcu(|current| {
            if current.revision > stack.revision {
                Arc::clone(current)
            } else {
                Arc::clone(&stack)
            }
        });
        self.wake();
    }

    /// Waits until they, or a rollout of theirs, may have changed. One waits.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Wakes whoever waits for a change.
    pub fn wake(&self) {
        self.changed.notify_one();
    }
}

impl LayerStack {
    /// The same after a change.
    pub fn changed(&self, change: &LayerChange) -> Self {
        let mut next = Self {
            revision: self.revision + 1,
            layers: self.layers.clone(),
        };
        match change {
            LayerChange::Set(layer) | LayerChange::Abort { layer, .. } => {
                next.put(layer.clone(), None);
            }
            LayerChange::Begin { layer, rollout, .. } => {
                let pending = Pending {
                    rollout: rollout.id,
                    previous: rollout.previous.clone(),
                    released: Default::default(),
                };
                next.put(layer.clone(), Some(pending));
            }
            LayerChange::Release { rollout, nodes, .. } => {
                let open = next.layers.iter_mut().filter_map(|it| it.pending.as_mut());
                for pending in open.filter(|it| it.rollout == *rollout) {
                    pending.released.extend(nodes.iter().map(|it| it.node));
                }
            }
            LayerChange::Complete { rollout, .. } => {
                let found = next.layer_of(*rollout).cloned();
                if let Some(layer) = found {
                    next.put(layer, None);
                }
            }
        }
        next
    }

    /// The layer that an open rollout brings.
    pub fn layer_of(&self, rollout: Uuid) -> Option<&LayerRecord> {
        let brings =
            |it: &&LayerRecord| it.pending.as_ref().is_some_and(|it| it.rollout == rollout);
        self.layers.iter().find(brings)
    }

    /// The layer of a scope.
    pub fn layer(&self, scope: &LayerScope) -> Option<&LayerRecord> {
        self.layers.iter().find(|it| it.scope == *scope)
    }

    /// Rollouts that have not ended.
    pub fn rollouts(&self) -> impl Iterator<Item = Uuid> {
        let pending = self.layers.iter().filter_map(|it| it.pending.as_ref());
        pending.map(|it| it.rollout)
    }

    /// The rollout that keeps a newer config from this node.
    pub fn held_by(&self, node: NodeId, tags: &[String]) -> Option<Uuid> {
        let layers = self
            .layers
            .iter()
            .filter(|it| is_for(&it.scope, node, tags));
        let mut pending = layers.filter_map(|it| it.pending.as_ref());
        let held = pending.find(|it| !it.released.contains(&node));
        held.map(|it| it.rollout)
    }

    /// A layer without a document is there only while some node has it.
    fn put(&mut self, mut layer: LayerRecord, pending: Option<Pending>) {
        self.layers.retain(|it| it.scope != layer.scope);
        if !layer.document.is_empty() || pending.is_some() {
            layer.pending = pending;
            self.layers.push(layer);
        }
    }

    /// What a node should have; `None` where no layer is for it.
    pub fn merged(&self, node: NodeId, tags: &[String]) -> Option<Merged> {
        let mut chosen: Vec<(&LayerScope, &[u8])> = self
            .layers
            .iter()
            .filter(|layer| is_for(&layer.scope, node, tags))
            .map(|layer| (&layer.scope, layer.document_for(node)))
            .filter(|(_, document)| !document.is_empty())
            .collect();
        chosen.sort_by(|(a, _), (b, _)| rank(a).cmp(&rank(b)));
        if chosen.is_empty() {
            return None;
        }
        let mut whole = Value::Object(Map::new());
        for (_, document) in chosen {
            // A document was parsed before it was stored.
            let document = serde_json::from_slice(document).unwrap_or(Value::Null);
            if document.is_object() {
                merge(&mut whole, document);
            }
        }
        Some(Merged::of(&whole))
    }

    /// What a node that has `current` should have instead; `None` where that
    /// is right. Without a layer for it, a node keeps what it was given by
    /// hand, and gives up what layers gave it.
    pub fn wanted(&self, node: NodeId, tags: &[String], current: &str) -> Option<Merged> {
        match self.merged(node, tags) {
            Some(merged) => Some(merged).filter(|merged| merged.version != current),
            None => {
                let empty = Merged::of(&Value::Object(Map::new()));
                let was_layered = current.starts_with(VERSION_PREFIX) && current != empty.version;
                was_layered.then_some(empty)
            }
        }
    }
}

/// Whether a layer of this scope is for a node.
pub fn is_for(scope: &LayerScope, node: NodeId, tags: &[String]) -> bool {
    match scope {
        LayerScope::Global => true,
        LayerScope::Tag(tag) => tags.contains(tag),
        LayerScope::Node(id) => *id == node,
    }
}

fn rank(scope: &LayerScope) -> (u8, &str) {
    match scope {
        LayerScope::Global => (0, ""),
        LayerScope::Tag(tag) => (1, tag),
        LayerScope::Node(_) => (2, ""),
    }
}

#[cfg(test)]
mod tests;
