//! The document that layers make, and how it is merged and named.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// What every version made here begins with, to tell it from versions that
/// someone pushed by hand.
pub(super) const VERSION_PREFIX: &str = "cfg-";

/// A node's merged config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// Its version.
    pub version: String,
    /// A JSON object in UTF-8, in canonical form.
    pub document: Vec<u8>,
}

impl Merged {
    /// Of one document alone.
    pub fn of_layer(document: &[u8]) -> Option<Self> {
        serde_json::from_slice(document)
            .ok()
            .map(|it| Self::of(&it))
    }

    pub(super) fn of(document: &Value) -> Self {
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

/// RFC 7396: `patch` over `target`.
pub(super) fn merge(target: &mut Value, patch: Value) {
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
