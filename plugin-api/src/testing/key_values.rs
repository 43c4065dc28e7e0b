//! The fake host's `aegis.kv/1`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{
    HandlerError, KeyValue,
    abi::{
        AEGIS_KV_MAX_BYTES, AEGIS_KV_MAX_KEY_BYTES, AEGIS_KV_MAX_KEYS, AEGIS_KV_MAX_PAGE,
        AEGIS_KV_MAX_VALUE_BYTES,
    },
};

/// What a plugin keeps, for [`Setup::key_values`](super::Setup::key_values): a
/// test can look at it and change it. Grant the same to a second plugin, and that
/// is the first one after a restart.
#[derive(Debug, Clone, Default)]
pub struct KeyValues(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    values: BTreeMap<String, (u64, Vec<u8>)>,
    version: u64,
    unavailable: bool,
}

impl KeyValues {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.state().values.get(key).map(|(_, value)| value.clone())
    }

    /// Sets a key, as another call of the plugin would.
    pub fn set(&self, key: &str, value: impl Into<Vec<u8>>) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        state.values.insert(key.to_owned(), (version, value.into()));
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<String> {
        self.state().values.keys().cloned().collect()
    }

    /// From now on nothing can be read or written, as on a full or broken disk;
    /// or it can again.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.state().unavailable = unavailable;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn answer(&self, function: &str, request: &Value) -> Result<Value, HandlerError> {
        let mut state = self.state();
        if state.unavailable {
            let error = HandlerError::new("kv-unavailable", "the fake host's disk is broken");
            return Err(error.retryable());
        }
        if function == "list" {
            return Ok(state.list(request));
        }
        let key = request["key"].as_str().unwrap_or_default();
        if key.is_empty() || key.len() > AEGIS_KV_MAX_KEY_BYTES {
            return Err(HandlerError::new(
                "invalid-key",
                format!("a key has 1 to {AEGIS_KV_MAX_KEY_BYTES} bytes"),
            ));
        }
        if function == "get" {
            return Ok(match state.values.get(key) {
                Some((version, value)) => {
                    json!({ "value": BASE64_STANDARD.encode(value), "version": version })
                }
                None => json!({ "value": null, "version": 0 }),
            });
        }
        let has = state.values.get(key).map_or(0, |(version, _)| *version);
        if request["expected"].as_u64().is_some_and(|it| it != has) {
            let error = HandlerError::new(KeyValue::CONFLICT, format!("{key:?} is at {has}"));
            return Err(error.retryable());
        }
        match function {
            "put" => state.put(key, &request["value"]),
            _ => Ok(json!({ "removed": state.values.remove(key).is_some() })),
        }
    }
}

impl State {
    fn put(&mut self, key: &str, value: &Value) -> Result<Value, HandlerError> {
        let value = BASE64_STANDARD
            .decode(value.as_str().unwrap_or_default())
            .map_err(|error| HandlerError::new("malformed-request", error.to_string()))?;
        if value.len() > AEGIS_KV_MAX_VALUE_BYTES {
            return Err(HandlerError::new(
                "value-too-large",
                format!("a value has at most {AEGIS_KV_MAX_VALUE_BYTES} bytes"),
            ));
        }
        let others = self.values.iter().filter(|(other, _)| *other != key);
        let (keys, bytes) = others.fold((1, key.len() + value.len()), |(keys, bytes), it| {
            (keys + 1, bytes + it.0.len() + it.1.1.len())
        });
        if keys > AEGIS_KV_MAX_KEYS || bytes > AEGIS_KV_MAX_BYTES {
            return Err(HandlerError::new(
                "kv-full",
                format!(
                    "a plugin has at most {AEGIS_KV_MAX_KEYS} keys and {AEGIS_KV_MAX_BYTES} bytes"
                ),
            ));
        }
        self.version += 1;
        self.values.insert(key.to_owned(), (self.version, value));
        Ok(json!({ "version": self.version }))
    }

    fn list(&self, request: &Value) -> Value {
        let prefix = request["prefix"].as_str().unwrap_or_default();
        let after = request["after"].as_str();
        let mut keys: Vec<Value> = self
            .values
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|it| key.as_str() > it))
            .map(|(key, (version, value))| {
                json!({ "key": key, "version": version, "bytes": value.len() })
            })
            .take(AEGIS_KV_MAX_PAGE + 1)
            .collect();
        let more = keys.len() > AEGIS_KV_MAX_PAGE;
        keys.truncate(AEGIS_KV_MAX_PAGE);
        json!({ "keys": keys, "more": more })
    }
}
