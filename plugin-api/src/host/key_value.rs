//! `aegis.kv/1`: small values that are a plugin's alone and survive restarts.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::{HostInterface, Interface};
use crate::HandlerError;

/// Values that are this plugin's alone: they survive its restarts and updates
/// and the worker's, and are there wherever the plugin runs. What a method
/// changed is on disk once it has returned.
///
/// Keys have 1 to 256 bytes, values at most 64 KiB; a plugin has at most 4096
/// keys, and 1 MiB with their values. What would go beyond that is refused, and
/// the error says which limit.
///
/// A method waits for the disk on a thread of the plugin's own; for blocking
/// handlers and `start` there is [`blocking`](Self::blocking).
#[derive(Debug, Clone)]
pub struct KeyValue(BlockingKeyValue);

/// The same for blocking handlers, `start` and `reconfigure`: blocks its thread.
#[derive(Debug, Clone)]
pub struct BlockingKeyValue(Interface);

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As it was put.
    pub value: Vec<u8>,
    /// Changes with every change of the key and is never used again.
    pub version: u64,
}

/// Some of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KeyPage {
    /// In the order of their bytes.
    pub keys: Vec<ListedKey>,
    /// Whether there are more after the last of these.
    pub more: bool,
}

/// A key and what is there without its value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ListedKey {
    /// The key.
    pub key: String,
    /// As in [`Entry::version`].
    pub version: u64,
    /// Of the value.
    pub bytes: u64,
}

impl KeyValue {
    /// The code of an error that says: the key has another version than expected.
    pub const CONFLICT: &'static str = "version-conflict";

    /// The value of a key; `None`: it has none.
    ///
    /// # Errors
    ///
    /// `invalid-key`, or `kv-unavailable`: the worker cannot read its disk.
    pub async fn get(&self, key: impl Into<String>) -> Result<Option<Entry>, HandlerError> {
        let key = key.into();
        self.off_thread(move |kv| kv.get(&key)).await
    }

    /// Sets a key, whatever it had. Answers with its new version.
    ///
    /// # Errors
    ///
    /// `invalid-key`, `value-too-large`, `kv-full`, or `kv-unavailable`; nothing
    /// has changed then.
    pub async fn put(
        &self,
        key: impl Into<String>,
        value: impl Into<Vec<u8>>,
    ) -> Result<u64, HandlerError> {
        let (key, value) = (key.into(), value.into());
        self.off_thread(move |kv| kv.put(&key, &value)).await
    }

    /// Sets a key if it has this version, or, with `None`, if it has no value.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put), and [`CONFLICT`](Self::CONFLICT).
    pub async fn put_if(
        &self,
        key: impl Into<String>,
        value: impl Into<Vec<u8>>,
        version: Option<u64>,
    ) -> Result<u64, HandlerError> {
        let (key, value) = (key.into(), value.into());
        self.off_thread(move |kv| kv.put_if(&key, &value, version))
            .await
    }

    /// Removes a key. False: it had no value.
    ///
    /// # Errors
    ///
    /// `invalid-key` or `kv-unavailable`.
    pub async fn delete(&self, key: impl Into<String>) -> Result<bool, HandlerError> {
        let key = key.into();
        self.off_thread(move |kv| kv.delete(&key)).await
    }

    /// Removes a key if it has this version.
    ///
    /// # Errors
    ///
    /// As [`delete`](Self::delete), and [`CONFLICT`](Self::CONFLICT).
    pub async fn delete_if(
        &self,
        key: impl Into<String>,
        version: u64,
    ) -> Result<(), HandlerError> {
        let key = key.into();
        self.off_thread(move |kv| kv.delete_if(&key, version)).await
    }

    /// The keys that begin with `prefix`, at most 256 at once: the first, or
    /// those that come after a key.
    ///
    /// # Errors
    ///
    /// `kv-unavailable`.
    pub async fn list(
        &self,
        prefix: impl Into<String>,
        after: Option<String>,
    ) -> Result<KeyPage, HandlerError> {
        let prefix = prefix.into();
        self.off_thread(move |kv| kv.list(&prefix, after.as_deref()))
            .await
    }

    /// The same for threads that may block.
    pub fn blocking(&self) -> &BlockingKeyValue {
        &self.0
    }

    async fn off_thread<R: Send + 'static>(
        &self,
        run: impl FnOnce(&BlockingKeyValue) -> Result<R, HandlerError> + Send + 'static,
    ) -> Result<R, HandlerError> {
        let kv = self.0.clone();
        self.0.0.host.off_thread(move || run(&kv)).await
    }
}

impl BlockingKeyValue {
    /// See [`KeyValue::get`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn get(&self, key: &str) -> Result<Option<Entry>, HandlerError> {
        let found: Found = self.0.call(0, &Key { key })?;
        let Some(value) = found.value else {
            return Ok(None);
        };
        let value = BASE64_STANDARD.decode(value).map_err(|error| {
            HandlerError::new("malformed-answer", format!("{} answer: {error}", self.0.id))
        })?;
        Ok(Some(Entry {
            value,
            version: found.version,
        }))
    }

    /// See [`KeyValue::put`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn put(&self, key: &str, value: &[u8]) -> Result<u64, HandlerError> {
        self.change(key, value, None)
    }

    /// See [`KeyValue::put_if`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn put_if(
        &self,
        key: &str,
        value: &[u8],
        version: Option<u64>,
    ) -> Result<u64, HandlerError> {
        self.change(key, value, Some(version.unwrap_or(0)))
    }

    /// See [`KeyValue::delete`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn delete(&self, key: &str) -> Result<bool, HandlerError> {
        self.remove(key, None)
    }

    /// See [`KeyValue::delete_if`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn delete_if(&self, key: &str, version: u64) -> Result<(), HandlerError> {
        self.remove(key, Some(version)).map(|_| ())
    }

    /// See [`KeyValue::list`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn list(&self, prefix: &str, after: Option<&str>) -> Result<KeyPage, HandlerError> {
        self.0.call(3, &List { prefix, after })
    }

    fn change(&self, key: &str, value: &[u8], expected: Option<u64>) -> Result<u64, HandlerError> {
        let value = BASE64_STANDARD.encode(value);
        let request = Put {
            key,
            value,
            expected,
        };
        self.0.call(1, &request).map(|Changed { version }| version)
    }

    fn remove(&self, key: &str, expected: Option<u64>) -> Result<bool, HandlerError> {
        self.0
            .call(2, &Remove { key, expected })
            .map(|Removed { removed }| removed)
    }
}

impl HostInterface for KeyValue {
    const ID: &'static str = "aegis.kv/1";
    const GRANT: &'static str = "kv";
    const FUNCTIONS: &'static [&'static str] = &["get", "put", "remove", "list"];

    fn over(interface: Interface) -> Self {
        Self(BlockingKeyValue(interface))
    }
}

#[derive(Serialize)]
struct Key<'a> {
    key: &'a str,
}

#[derive(Deserialize)]
struct Found {
    value: Option<String>,
    version: u64,
}

#[derive(Serialize)]
struct Put<'a> {
    key: &'a str,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<u64>,
}

#[derive(Deserialize)]
struct Changed {
    version: u64,
}

#[derive(Serialize)]
struct Remove<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<u64>,
}

#[derive(Deserialize)]
struct Removed {
    removed: bool,
}

#[derive(Serialize)]
struct List<'a> {
    prefix: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a str>,
}
