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

use std::sync::Arc;

use aegis_proto::NodeId;
use arc_swap::ArcSwap;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::store::{LayerChange, LayerRecord, LayerScope, Pending};

/// What every version made here begins with, to tell it from versions that
/// someone pushed by hand.
const VERSION_PREFIX: &str = "cfg-";

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

/// A node's merged config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// Its version.
    pub version: String,
    /// A JSON object in UTF-8, in canonical form.
    pub document: Vec<u8>,
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

impl Merged {
    /// Of one document alone.
    pub fn of_layer(document: &[u8]) -> Option<Self> {
        serde_json::from_slice(document)
            .ok()
            .map(|it| Self::of(&it))
    }

    fn of(document: &Value) -> Self {
        let mut canonical = Vec::new();
        write_canonical(document, &mut canonical);
        let digest = Sha256::digest(&canonical);
        let hex: String = digest[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            version: format!("{VERSION_PREFIX}{hex}"),
            document: canonical,
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

/// RFC 7396: `patch` over `target`.
pub fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// JSON without white space, keys in the order of their bytes.
fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push(b'{');
            for (at, (key, value)) in entries.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(Value::from(key.as_str()).to_string().as_bytes());
                out.push(b':');
                write_canonical(value, out);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_canonical(item, out);
            }
            out.push(b']');
        }
        leaf => out.extend_from_slice(leaf.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::{
        rollout::Terms,
        store::{Release, RolloutRecord, RolloutState},
    };

    fn layer(scope: LayerScope, document: &Value) -> LayerRecord {
        LayerRecord {
            scope,
            document: document.to_string().into_bytes(),
            set_by: "operator".into(),
            set_at: 0,
            pending: None,
        }
    }

    fn parsed(merged: &Merged) -> Value {
        serde_json::from_slice(&merged.document).expect("JSON")
    }

    #[test]
    fn a_merge_is_that_of_rfc_7396() {
        // The cases of its appendix A.
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": "b"}),
                json!({"b": "c"}),
                json!({"a": "b", "b": "c"}),
            ),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (
                json!({"a": [1]}),
                json!({"a": [2, 3]}),
                json!({"a": [2, 3]}),
            ),
            (json!({"a": "foo"}), json!(null), json!(null)),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ];
        for (mut target, patch, merged) in cases {
            merge(&mut target, patch);
            assert_eq!(target, merged);
        }
    }

    #[test]
    fn a_node_overrides_its_tags_and_they_the_global_layer() {
        let node = NodeId::from_uuid(Uuid::new_v4());
        let other = NodeId::from_uuid(Uuid::new_v4());
        let stack = LayerStack {
            revision: 1,
            layers: vec![
                layer(LayerScope::Node(node), &json!({"level": "node"})),
                layer(
                    LayerScope::Tag("b".into()),
                    &json!({"level": "b", "tag": "b"}),
                ),
                layer(
                    LayerScope::Tag("a".into()),
                    &json!({"level": "a", "tag": "a"}),
                ),
                layer(LayerScope::Global, &json!({"level": "global", "all": 1})),
            ],
        };
        let tags = ["a".to_owned(), "b".to_owned()];
        let merged = stack.merged(node, &tags).expect("layers");
        assert_eq!(
            parsed(&merged),
            json!({"level": "node", "tag": "b", "all": 1})
        );
        let merged = stack.merged(other, &[]).expect("the global layer");
        assert_eq!(parsed(&merged), json!({"level": "global", "all": 1}));
    }

    #[test]
    fn equal_documents_have_equal_versions() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":{"d":2,"c":3}}"#).expect("JSON");
        let two: Value = serde_json::from_str(r#"{"b":{"c":3,"d":2},"a":1}"#).expect("JSON");
        assert_eq!(Merged::of(&one), Merged::of(&two));
        assert_ne!(Merged::of(&one).version, Merged::of(&json!({})).version);
    }

    #[test]
    fn a_node_without_layers_keeps_only_what_was_pushed_by_hand() {
        let node = NodeId::from_uuid(Uuid::new_v4());
        let layered = LayerStack {
            revision: 1,
            layers: vec![layer(LayerScope::Global, &json!({"a": 1}))],
        };
        let version = layered.merged(node, &[]).expect("a layer").version;
        assert_eq!(layered.wanted(node, &[], &version), None);
        let none = LayerStack::default();
        assert_eq!(none.wanted(node, &[], ""), None);
        assert_eq!(none.wanted(node, &[], "v5"), None);
        let back = none.wanted(node, &[], &version).expect("the empty config");
        assert_eq!(back.document, b"{}");
        assert_eq!(none.wanted(node, &[], &back.version), None);
    }

    #[test]
    fn a_rollout_keeps_the_old_document_from_whoever_is_not_released() {
        let (first, second) = (node_id(), node_id());
        let old = layer(LayerScope::Global, &json!({"a": 1}));
        let before = LayerStack::default().changed(&LayerChange::Set(old.clone()));
        let begun = before.changed(&begin(&json!({"a": 2}), old.document.clone()));
        let version = |stack: &LayerStack, node| stack.merged(node, &[]).map(|it| it.version);
        assert_eq!(version(&begun, first), version(&before, first));
        let rollout = begun.rollouts().next().expect("it is open");
        assert_eq!(begun.held_by(first, &[]), Some(rollout));

        let released = begun.changed(&LayerChange::Release {
            rollout,
            at: 0,
            batch: 1,
            nodes: vec![Release {
                node: first,
                present: true,
                command: None,
            }],
        });
        let new = Merged::of(&json!({"a": 2})).version;
        assert_eq!(version(&released, first), Some(new.clone()));
        assert_eq!(version(&released, second), version(&before, second));
        assert_eq!(released.held_by(first, &[]), None);

        let ends = Vec::new();
        let completed = released.changed(&LayerChange::Complete {
            rollout,
            at: 0,
            ends: ends.clone(),
        });
        assert_eq!(version(&completed, second), Some(new));
        assert_eq!(completed.rollouts().count(), 0);
        let aborted = released.changed(&LayerChange::Abort {
            rollout,
            layer: old,
            reason: String::new(),
            ends,
        });
        assert_eq!(version(&aborted, first), version(&before, first));
        assert_eq!(aborted.rollouts().count(), 0);
    }

    #[test]
    fn a_layer_that_is_rolled_out_or_away_is_nothing_to_the_others() {
        let node = node_id();
        let appears = LayerStack::default().changed(&begin(&json!({"a": 1}), Vec::new()));
        assert_eq!(appears.wanted(node, &[], ""), None);

        let old = layer(LayerScope::Global, &json!({"a": 1}));
        let before = LayerStack::default().changed(&LayerChange::Set(old.clone()));
        let LayerChange::Begin {
            mut layer,
            rollout,
            nodes,
        } = begin(&json!({}), old.document)
        else {
            unreachable!("it is a beginning")
        };
        layer.document.clear();
        let id = rollout.id;
        let goes = before.changed(&LayerChange::Begin {
            layer,
            rollout,
            nodes,
        });
        assert_eq!(goes.merged(node, &[]), before.merged(node, &[]));
        let gone = goes.changed(&LayerChange::Complete {
            rollout: id,
            at: 0,
            ends: Vec::new(),
        });
        assert!(gone.layers.is_empty());
    }

    fn node_id() -> NodeId {
        NodeId::from_uuid(Uuid::new_v4())
    }

    fn begin(document: &Value, previous: Vec<u8>) -> LayerChange {
        let layer = layer(LayerScope::Global, document);
        LayerChange::Begin {
            rollout: RolloutRecord {
                id: Uuid::now_v7(),
                scope: LayerScope::Global,
                revision: 0,
                previous,
                state: RolloutState::Running,
                reason: String::new(),
                started_by: "operator".into(),
                started_at: 0,
                finished_at: None,
                terms: Terms {
                    batch: 1,
                    max_failures: 0,
                    node_timeout: Duration::from_secs(1),
                    pause: Duration::ZERO,
                },
            },
            layer,
            nodes: Vec::new(),
        }
    }
}
