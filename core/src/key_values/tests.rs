use std::{
    fs, io,
    sync::atomic::{AtomicBool, Ordering},
};

use redb::{StorageBackend, backends::InMemoryBackend};
use serde_json::{Value, json};

use super::*;

fn put(own: &OwnKeyValues, document: Value) -> Result<u64, KeyValueError> {
    let request = serde_json::from_value(document).expect("a request");
    own.put(request).map(|changed| changed.version)
}

fn set(own: &OwnKeyValues, key: &str, value: &str) -> Result<u64, KeyValueError> {
    put(own, json!({ "key": key, "value": value }))
}

/// As it is told: in base64.
fn value(own: &OwnKeyValues, key: &str) -> Value {
    let request = serde_json::from_value(json!({ "key": key })).expect("a request");
    let found = own.get(request).expect("it can be read");
    serde_json::to_value(found).expect("JSON")["value"].clone()
}

fn remove(own: &OwnKeyValues, document: Value) -> Result<bool, KeyValueError> {
    let request = serde_json::from_value(document).expect("a request");
    own.remove(request).map(|removed| removed.removed)
}

fn list(own: &OwnKeyValues, document: Value) -> (Vec<String>, bool) {
    let request = serde_json::from_value(document).expect("a request");
    let page = own.list(&request).expect("it can be read");
    (page.keys.into_iter().map(|it| it.key).collect(), page.more)
}

#[test]
fn what_was_put_is_there_in_the_next_life() {
    let directory = tempfile::tempdir().expect("a directory");
    let own = KeyValues::below(directory.path()).of("one");
    assert!(!directory.path().join(FILE).exists(), "nobody asked yet");
    assert_eq!(value(&own, "k"), Value::Null);
    let first = set(&own, "k", "YQ==").expect("kept");
    drop(own);
    let own = KeyValues::below(directory.path()).of("one");
    assert_eq!(value(&own, "k"), "YQ==");
    assert!(set(&own, "k", "Yg==").expect("kept") > first);
    assert!(remove(&own, json!({ "key": "k" })).expect("removed"));
    drop(own);
    let own = KeyValues::below(directory.path()).of("one");
    assert_eq!(value(&own, "k"), Value::Null);
    assert!(!remove(&own, json!({ "key": "k" })).expect("it was not there"));
}

#[test]
fn each_plugin_sees_its_own_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = KeyValues::below(directory.path());
    let (one, two) = (store.of("one"), store.of("one.two"));
    set(&one, "k", "YQ==").expect("kept");
    set(&two, "k", "Yg==").expect("kept");
    set(&two, "l", "Yg==").expect("kept");
    assert_eq!(value(&one, "k"), "YQ==");
    assert_eq!(value(&one, "l"), Value::Null);
    assert_eq!(list(&one, json!({})), (vec!["k".to_owned()], false));
    assert!(remove(&one, json!({ "key": "k" })).expect("removed"));
    assert_eq!(value(&two, "k"), "Yg==");
}

#[test]
fn a_version_is_expected_or_nothing_changes() {
    let directory = tempfile::tempdir().expect("a directory");
    let own = KeyValues::below(directory.path()).of("one");
    let at = |version: u64| json!({ "key": "k", "value": "YQ==", "expected": version });
    let conflict = |result: Result<u64, KeyValueError>| match result {
        Err(KeyValueError::Conflict { is, .. }) => is,
        other => panic!("{other:?}"),
    };
    assert_eq!(conflict(put(&own, at(7))), 0);
    let first = put(&own, at(0)).expect("it was not there");
    assert_eq!(conflict(put(&own, at(0))), first);
    let second = put(&own, at(first)).expect("as expected");
    assert_eq!(conflict(put(&own, at(first))), second);
    let old = json!({ "key": "k", "expected": first });
    remove(&own, old).expect_err("it has another");
    assert!(remove(&own, json!({ "key": "k", "expected": second })).expect("as expected"));
    let third = put(&own, at(0)).expect("it is gone");
    assert!(third > second, "a version comes once");
}

#[test]
fn keys_are_listed_by_prefix_and_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let own = KeyValues::below(directory.path()).of("one");
    for key in ["a", "b/1", "b/2", "b/3", "c"] {
        set(&own, key, "").expect("kept");
    }
    let names = |names: &[&str], more| (names.iter().map(|it| (*it).to_owned()).collect(), more);
    assert_eq!(
        list(&own, json!({})),
        names(&["a", "b/1", "b/2", "b/3", "c"], false)
    );
    let page = json!({ "prefix": "b/", "limit": 2 });
    assert_eq!(list(&own, page), names(&["b/1", "b/2"], true));
    let page = json!({ "prefix": "b/", "after": "b/2", "limit": 2 });
    assert_eq!(list(&own, page), names(&["b/3"], false));
    let page = json!({ "prefix": "b/", "after": "a" });
    assert_eq!(list(&own, page), names(&["b/1", "b/2", "b/3"], false));
    assert_eq!(list(&own, json!({ "prefix": "d" })), names(&[], false));
    for limit in [0, 257] {
        let request = ListRequest {
            limit: Some(limit),
            ..ListRequest::default()
        };
        own.list(&request).expect_err("no page is so");
    }
}

#[test]
fn each_limit_is_told_and_leaves_others_theirs() {
    let store = KeyValues::on(memory(&Arc::default()));
    let own = store.of("one");
    let code = |result: Result<u64, KeyValueError>| {
        let error: aegis_plugin_api::HandlerError = result.expect_err("refused").into();
        error.code
    };
    let base64 = |bytes: usize| "AAAA".repeat(bytes / 3) + ["", "AA==", "AAA="][bytes % 3];
    set(&own, &"k".repeat(256), &base64(65536)).expect("as large as can be");
    assert_eq!(code(set(&own, "", "")), "invalid-key");
    assert_eq!(code(set(&own, &"k".repeat(257), "")), "invalid-key");
    assert_eq!(code(set(&own, "k", &base64(65537))), "value-too-large");
    assert_eq!(code(set(&own, "k", &base64(9_000_000))), "value-too-large");
    assert_eq!(code(set(&own, "k", "?")), "malformed-request");
    for n in 0..14 {
        set(&own, &format!("{n:03}"), &base64(65536)).expect("within the limit");
    }
    set(&own, "more", &base64(65000)).expect("within the limit");
    assert_eq!(code(set(&own, "more", &base64(65536))), "kv-full");
    assert_eq!(code(set(&own, "again", &base64(65536))), "kv-full");
    set(&own, "000", "").expect("less is always kept");
    set(&own, "more", &base64(65536)).expect("there is room again");

    let many = store.of("many");
    for n in 0..4096 {
        set(&many, &n.to_string(), "").expect("within the limit");
    }
    assert_eq!(code(set(&many, "4096", "")), "kv-full");
    set(&many, "7", "YQ==").expect("it was there");
    assert!(remove(&many, json!({ "key": "8" })).expect("removed"));
    set(&many, "4096", "").expect("there is room again");
}

#[test]
fn a_damaged_file_is_set_aside() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(FILE);
    fs::write(&path, "no database ".repeat(1000)).expect("written");
    let own = KeyValues::below(directory.path()).of("one");
    set(&own, "k", "YQ==").expect("kept in a new one");
    assert_eq!(value(&own, "k"), "YQ==");
    let aside = fs::read_dir(directory.path()).expect("a directory");
    let names = aside.map(|it| it.expect("an entry").file_name().into_string());
    let aside: Vec<String> = names
        .map(|name| name.expect("UTF-8"))
        .filter(|name| name.starts_with("plugin-state.redb.damaged-"))
        .collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let disk = Arc::new(Full::default());
    let own = KeyValues::on(memory(&disk)).of("one");
    set(&own, "k", "YQ==").expect("kept");
    disk.full.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        let error = set(&own, "k", "Yg==").expect_err("there is no room");
        let error = aegis_plugin_api::HandlerError::from(error);
        assert_eq!(error.code, "kv-unavailable");
        assert!(error.retryable && error.help.is_some(), "{error:?}");
    }
    disk.full.store(false, Ordering::Relaxed);
    assert_eq!(value(&own, "k"), "YQ==");
    set(&own, "k", "Yg==").expect("kept");
    assert_eq!(value(&own, "k"), "Yg==");
}

/// A disk in memory that can be full.
#[derive(Debug, Default)]
struct Full {
    bytes: InMemoryBackend,
    full: AtomicBool,
}

#[derive(Debug)]
struct Handle(Arc<Full>);

fn memory(disk: &Arc<Full>) -> Medium {
    let disk = Arc::clone(disk);
    Medium::Other(Box::new(move |builder| {
        builder.create_with_backend(Handle(Arc::clone(&disk)))
    }))
}

impl Handle {
    fn room(&self) -> io::Result<()> {
        if self.0.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        self.0.bytes.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.bytes.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room()?;
        self.0.bytes.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.room()?;
        self.0.bytes.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room()?;
        self.0.bytes.write(offset, data)
    }
}
