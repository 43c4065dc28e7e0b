//! The example in C keeps the contract, as any compiler builds it.

#![cfg(unix)]

use std::{path::Path, process::Command};

use aegis_plugin_api::{
    CancelReason,
    serde_json::json,
    testing::{CallOptions, Completion, Setup, TestPlugin},
};

fn build(directory: &Path) -> Setup {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = directory.join("libc_plugin.so");
    let output = Command::new("cc")
        .args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-O2",
            "-shared",
        ])
        .args(["-fPIC", "-fvisibility=hidden", "-pthread", "-I"])
        .arg(root.join("include"))
        .arg("-o")
        .arg(&library)
        .arg(root.join("../examples/c-plugin/c_plugin.c"))
        .output()
        .expect("a machine that builds the workspace has a C compiler");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Setup::library(&library, "c_plugin")
}

fn started() -> (tempfile::TempDir, TestPlugin) {
    let directory = tempfile::tempdir().expect("there is room for a library");
    let plugin = build(directory.path()).start().expect("it starts");
    (directory, plugin)
}

#[test]
fn it_echoes_on_the_callers_thread() {
    let (_directory, plugin) = started();
    let call = plugin.begin("c-echo", json!({ "a": [1, 2, null] }));
    let completion = call.completion().expect("it is over when `start` returns");
    assert_eq!(
        completion,
        Completion::Succeeded(br#"{"a":[1,2,null]}"#.to_vec())
    );
}

#[test]
fn it_counts_in_a_thread_and_is_heard() {
    let (_directory, plugin) = started();
    let call = plugin.begin("c-count", json!({ "to": 2 }));
    assert_eq!(
        call.wait(),
        Completion::Succeeded(br#"{"counted":2}"#.to_vec())
    );
    assert_eq!(call.output(), "1 of 2\n2 of 2\n");
    let progress: Vec<_> = call
        .progress()
        .into_iter()
        .map(|p| (p.permille, p.note))
        .collect();
    assert_eq!(
        progress,
        [(Some(500), "1 of 2".into()), (Some(1000), "2 of 2".into())]
    );
}

#[test]
fn it_stops_counting_when_it_is_told_to() {
    let (_directory, plugin) = started();
    let call = plugin.begin("c-count", json!({ "to": 1000 }));
    call.wait_for_progress(|_| true);
    call.cancel(CancelReason::Requested);
    assert!(matches!(call.wait(), Completion::Cancelled(_)));
    plugin.stop();
}

#[test]
fn it_refuses_what_it_cannot_read() {
    let (_directory, plugin) = started();
    for bad in [
        "",
        "{}",
        "{\"to\":0}",
        "{\"to\":1001}",
        "{\"to\":\"9\"}",
        "[",
        &"x".repeat(4096),
    ] {
        let completion = plugin
            .begin_raw(1, bad.as_bytes(), CallOptions::default())
            .wait();
        assert!(
            matches!(&completion, Completion::Failed(error) if error.code == "invalid-payload"),
            "{bad}: {completion:?}"
        );
    }
    let completion = plugin.begin_raw(2, b"{}", CallOptions::default()).wait();
    assert!(matches!(completion, Completion::Failed(error) if error.code == "no-such-handler"));
    let error = plugin
        .reconfigure(json!({ "a": 1 }))
        .expect_err("it takes no config");
    assert_eq!(error.code, "invalid-config");
    plugin.reconfigure(json!({})).expect("nothing is no config");
}

#[test]
fn its_manifest_says_what_it_is() {
    let (_directory, plugin) = started();
    let manifest = plugin.manifest();
    assert_eq!(
        (manifest.id.as_str(), manifest.symbol.as_str()),
        ("c-plugin", "aegis_plugin_v1_c_plugin")
    );
    assert_eq!(manifest.target, aegis_plugin_api::manifest::TARGET);
    let schema = manifest.handlers[1]
        .request_schema
        .as_ref()
        .expect("it carries its schema");
    assert_eq!(schema["properties"]["to"]["maximum"], 1000);
}
