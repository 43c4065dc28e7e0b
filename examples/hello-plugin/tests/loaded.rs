//! The example as a worker loads it: the real shared library.

#![cfg(target_os = "linux")]

use aegis_plugin_api::{serde_json::json, testing::Setup};

fn library() -> Setup {
    // Cargo puts the library beside the tests of its package.
    let test = std::env::current_exe().expect("a test knows its own path");
    Setup::library(&test.with_file_name("libhello_plugin.so"), "hello_plugin")
}

#[test]
fn it_greets() {
    let plugin = library().start().expect("it starts");
    let answer = plugin.call("hello", json!({ "name": "Ada" }));
    assert_eq!(answer, Ok(json!({ "text": "hello, Ada" })));
}

#[test]
fn what_it_logs_reaches_the_host_with_its_command() {
    let plugin = library().start().expect("it starts");
    let call = plugin.begin("hello.wait", json!({ "seconds": 0, "steps": 1 }));
    call.wait();
    let log = plugin.log();
    let line = log
        .iter()
        .find(|line| line.message == "waited")
        .expect("it was logged");
    assert_eq!(line.command_id.as_deref(), Some(call.command_id()));
    assert_eq!(line.fields, json!({ "step": 1 }));
}

#[test]
fn a_second_instance_works_beside_the_first_and_after_it() {
    let first = library().start().expect("it starts");
    let second = library().start().expect("it starts again");
    first.stop();
    let answer = second.call("hello", json!({ "name": "you" }));
    assert_eq!(answer, Ok(json!({ "text": "hello, you" })));
}
