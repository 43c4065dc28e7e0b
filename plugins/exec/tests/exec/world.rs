//! A plugin with programs, and what they leave behind.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use aegis_plugin_api::{
    HandlerError,
    serde_json::{Value, from_slice, json},
    testing::{Completion, Setup, TestCall, TestPlugin},
};
use aegis_plugin_exec as _;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn programs(setup: Setup, programs: Value) -> TestPlugin {
    setup
        .config(json!({ "programs": programs }))
        .start()
        .unwrap_or_else(|error| panic!("{error}"))
}

/// With the one program `it`, a script with more settings.
pub fn script(setup: Setup, script: &str, more: Value) -> TestPlugin {
    let mut table = json!({
        "shell": "/bin/sh",
        "script": script,
        "env": { "PATH": "/usr/bin:/bin" },
    });
    let more = more.as_object().expect("a table").clone();
    table.as_object_mut().expect("a table").extend(more);
    programs(setup, json!({ "it": table }))
}

pub fn run(plugin: &TestPlugin, program: &str) -> Result<Value, HandlerError> {
    plugin.call("exec", json!({ "program": program }))
}

pub fn succeeded(call: &TestCall) -> Value {
    match call.wait() {
        Completion::Succeeded(response) => from_slice(&response).expect("JSON"),
        other => panic!("{other:?}; it wrote {:?}", call.output()),
    }
}

pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// Waits until `look` finds something.
pub fn eventually<R>(what: &str, look: impl Fn() -> Option<R>) -> R {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} has not come in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The process ids that a call has written, once there are as many.
pub fn pids(call: &TestCall, count: usize) -> Vec<i32> {
    eventually("its process ids", || {
        let output = call.output();
        let complete = output.matches('\n').count();
        (complete >= count).then(|| {
            let lines = output.lines().take(count);
            lines
                .map(|line| line.parse().expect("a process id"))
                .collect()
        })
    })
}

/// Waits until a process has ended, reaped or not.
pub fn is_gone(pid: i32) {
    eventually(&format!("the end of process {pid}"), || {
        (!lives(pid)).then_some(())
    });
}

pub fn lives(pid: i32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        // The state comes after the name in parentheses.
        Ok(stat) => !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with(['Z', 'X']),
        Err(_) => false,
    }
}
