//! The documents of `aegis.kv/1`.

use aegis_plugin_api::abi::{AEGIS_KV_MAX_KEY_BYTES, AEGIS_KV_MAX_PAGE, AEGIS_KV_MAX_VALUE_BYTES};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize, Serializer};

use super::{Listed, error::KeyValueError};

#[derive(Deserialize)]
pub(crate) struct GetRequest {
    pub(super) key: Key,
}

/// `version` 0: there is none.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Found {
    #[serde(serialize_with = "in_base64")]
    pub(super) value: Option<Vec<u8>>,
    pub(super) version: u64,
}

#[derive(Deserialize)]
pub(crate) struct PutRequest {
    pub(super) key: Key,
    /// In base64.
    pub(super) value: String,
    /// 0: the key must not be there.
    #[serde(default)]
    pub(super) expected: Option<u64>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Changed {
    pub(super) version: u64,
}

#[derive(Deserialize)]
pub(crate) struct RemoveRequest {
    pub(super) key: Key,
    #[serde(default)]
    pub(super) expected: Option<u64>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Removed {
    pub(super) removed: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct ListRequest {
    pub(super) prefix: String,
    pub(super) after: Option<String>,
    pub(super) limit: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Page {
    pub(super) keys: Vec<Listed>,
    pub(super) more: bool,
}

/// A key as it came.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Key(String);

impl Key {
    pub(super) fn check(self) -> Result<String, KeyValueError> {
        if (1..=AEGIS_KV_MAX_KEY_BYTES).contains(&self.0.len()) {
            Ok(self.0)
        } else {
            Err(KeyValueError::Key(self.0.len()))
        }
    }
}

impl ListRequest {
    pub(super) fn check(&self) -> Result<usize, KeyValueError> {
        let limit = self.limit.unwrap_or(AEGIS_KV_MAX_PAGE as u64);
        usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=AEGIS_KV_MAX_PAGE).contains(limit))
            .ok_or(KeyValueError::Page(limit))
    }
}

pub(super) fn value(text: &str) -> Result<Vec<u8>, KeyValueError> {
    // Before anything is made of it.
    let bytes = text.len() / 4 * 3;
    if bytes > AEGIS_KV_MAX_VALUE_BYTES + 2 {
        return Err(KeyValueError::Value(bytes));
    }
    let value = BASE64_STANDARD
        .decode(text)
        .map_err(KeyValueError::Base64)?;
    if value.len() > AEGIS_KV_MAX_VALUE_BYTES {
        return Err(KeyValueError::Value(value.len()));
    }
    Ok(value)
}

fn in_base64<S: Serializer>(value: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    value
        .as_ref()
        .map(|value| BASE64_STANDARD.encode(value))
        .serialize(serializer)
}
