//! Config layers and how they merge: global, then the node's tags in the order
//! of their names, then the node itself, each over what came before.
//!
//! A merge is RFC 7396's: objects merge key by key, `null` takes a key away,
//! anything else replaces. The version of a merged document is the hash of its
//! canonical form, so that equal configs have equal versions.

use std::sync::Arc;

use aegis_proto::NodeId;
use arc_swap::ArcSwap;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::store::{LayerRecord, LayerScope};

/// What every version made here begins with, to tell it from versions that
/// someone pushed by hand.
const VERSION_PREFIX: &str = "cfg-";

/// Bytes of a merged document: in base64 and with its version, it is a
/// command's payload.
pub const MAX_MERGED_BYTES: usize = 768 * 1024 - 1024;

/// The layers, shared and replaced as a whole.
#[derive(Debug)]
pub struct Layers(ArcSwap<LayerStack>);

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
        Self(ArcSwap::from_pointee(stack))
    }

    /// As they are now.
    pub fn load(&self) -> Arc<LayerStack> {
        self.0.load_full()
    }

    /// Replaces them, unless what is there is newer.
    pub fn replace(&self, stack: LayerStack) {
        let stack = Arc::new(stack);
        self.0.rcu(|current| {
            if current.revision > stack.revision {
                Arc::clone(current)
            } else {
                Arc::clone(&stack)
            }
        });
    }
}

impl LayerStack {
    /// With one layer set, or taken away where its document is empty.
    pub fn with(&self, layer: LayerRecord) -> Self {
        let mut layers: Vec<_> = self
            .layers
            .iter()
            .filter(|one| one.scope != layer.scope)
            .cloned()
            .collect();
        if !layer.document.is_empty() {
            layers.push(layer);
        }
        Self {
            revision: self.revision + 1,
            layers,
        }
    }

    /// What a node should have; `None` where no layer is for it.
    pub fn merged(&self, node: NodeId, tags: &[String]) -> Option<Merged> {
        let mut chosen: Vec<_> = self
            .layers
            .iter()
            .filter(|layer| match &layer.scope {
                LayerScope::Global => true,
                LayerScope::Tag(tag) => tags.contains(tag),
                LayerScope::Node(id) => *id == node,
            })
            .collect();
        chosen.sort_by(|a, b| rank(&a.scope).cmp(&rank(&b.scope)));
        if chosen.is_empty() {
            return None;
        }
        let mut whole = Value::Object(Map::new());
        for layer in chosen {
            // A document was parsed before it was stored.
            let document = serde_json::from_slice(&layer.document).unwrap_or(Value::Null);
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
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn layer(scope: LayerScope, document: &Value) -> LayerRecord {
        LayerRecord {
            scope,
            document: document.to_string().into_bytes(),
            set_by: "operator".into(),
            set_at: 0,
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
}
