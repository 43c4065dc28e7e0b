//! The plugin as another host loads it: the real shared library.

#![cfg(target_os = "linux")]

use aegis_plugin_api::{
    CancelReason,
    serde_json::json,
    testing::{Completion, Setup},
};

#[test]
fn programs_are_run_and_stopped_from_the_library_too() {
    // Cargo puts the library beside the tests of its package.
    let test = std::env::current_exe().expect("a test knows its own path");
    let library = test.with_file_name("libaegis_plugin_exec.so");
    let plugin = Setup::library(&library, "aegis_plugin_exec")
        .config(json!({ "programs": {
            "echo": { "path": "/bin/echo", "args": ["hello"] },
            "sleep": { "path": "/bin/sleep", "args": ["1000"] },
        } }))
        .start()
        .expect("it starts");
    let call = plugin.begin("exec", json!({ "program": "echo" }));
    assert!(matches!(call.wait(), Completion::Succeeded(_)), "{call:?}");
    assert_eq!(call.output(), "hello\n");
    let call = plugin.begin("exec", json!({ "program": "sleep" }));
    call.cancel(CancelReason::Requested);
    assert!(matches!(call.wait(), Completion::Cancelled(_)), "{call:?}");
}
