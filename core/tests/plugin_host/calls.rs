//! Calls that keep the contract, and calls that break it.

use std::time::Duration;

use aegis_core::{
    command::CancelReason,
    plugin::{Completion, PluginState, Started},
};
use serde_json::json;

use crate::{
    fixture::Fixture,
    world::{World, ask, eventually, handler, run, start},
};

fn world(fixture: Fixture) -> World {
    let world = World::new();
    fixture.build(&world.directory(), "fixture.so");
    world
}

fn fault(completion: Completion) -> String {
    match completion {
        Completion::Failed(error) if error.code == "plugin-fault" => error.message,
        other => panic!("not a fault of the plugin: {other:?}"),
    }
}

#[test]
fn a_c_plugin_answers_at_once_or_from_its_own_thread() {
    let world = world(Fixture::new("fix"));
    let catalog = world.load();
    assert_eq!(ask(&catalog, "fix.echo", r#"{"a":[1]}"#), json!({"a": [1]}));
    assert_eq!(
        ask(&catalog, "fix.later", "{}"),
        json!({"from": "a thread"})
    );
    match run(&catalog, "fix.fail", "{}") {
        Completion::Failed(error) => {
            assert_eq!((&*error.code, &*error.message), ("no-luck", "it failed"))
        }
        other => panic!("{other:?}"),
    }
    let error = start(&catalog, "fix.refuse", "{}").refusal();
    assert_eq!((&*error.code, error.retryable), ("not-today", true));
}

#[test]
fn a_completion_from_within_start_is_the_answer() {
    let world = world(Fixture::new("fix"));
    let catalog = world.load();
    let early = start(&catalog, "fix.early", "{}");
    assert!(
        matches!(early.started, Started::Done(_)),
        "{:?}",
        early.started
    );
    assert!(!early.told());
    assert_eq!(ask(&catalog, "fix.contrary", "{}"), json!({"first": true}));
    assert_eq!(catalog.counters()["fix"].double, 1);
}

#[test]
fn double_late_and_forged_completions_are_counted_and_reach_nobody() {
    let world = world(Fixture::new("fix"));
    let catalog = world.load();

    assert_eq!(
        ask(&catalog, "fix.double", "{}"),
        json!({"from": "a thread"})
    );
    eventually("the second completion", || {
        catalog.counters()["fix"].double == 1
    });

    let held = start(&catalog, "fix.hold", "{}");
    handler(&catalog, "fix.hold").instance.abandon(held.id());
    assert_eq!(ask(&catalog, "fix.release", "{}"), json!({}));
    assert_eq!(catalog.counters()["fix"].late, 1);
    assert!(!held.told(), "an abandoned call was told of its end");

    assert_eq!(ask(&catalog, "fix.forge", "{}"), json!({}));
    assert_eq!(catalog.counters()["fix"].forged, 3);
}

#[test]
fn answers_that_break_the_contract_fail_the_command_alone() {
    let world = world(Fixture::new("fix"));
    let catalog = world.load();
    assert!(fault(run(&catalog, "fix.garbage", "{}")).contains("not JSON"));
    assert!(fault(run(&catalog, "fix.nonsense", "{}")).contains("77"));
    assert!(fault(run(&catalog, "fix.wild", "{}")).contains("length"));
    assert_eq!(ask(&catalog, "fix.echo", "1"), json!(1));
}

#[test]
fn every_buffer_is_released_whatever_came_of_its_call() {
    let world = world(Fixture::new("fix"));
    let catalog = world.load();
    for name in [
        "echo", "fail", "later", "early", "contrary", "garbage", "forge", "nonsense", "wild",
    ] {
        run(&catalog, &format!("fix.{name}"), "{}");
    }
    let _ = start(&catalog, "fix.refuse", "{}").refusal();
    // The thread behind `later` returns from `complete` after its call ended.
    eventually("the last release", || {
        ask(&catalog, "fix.buffers", "{}") == json!(0)
    });
}

#[test]
fn progress_output_and_log_are_taken_and_wild_ones_are_not() {
    let world = world(Fixture::new("fix"));
    let catalog = world.load();
    let running = start(&catalog, "fix.report", "{}");
    let sink = running.sink.clone();
    match running.end() {
        // Fine, out of range, fine, a length that cannot be true, nobody's call.
        Completion::Succeeded(answers) => assert_eq!(&answers[..], b"[0,1,0,1,3]"),
        other => panic!("{other:?}"),
    }
    assert_eq!(*sink.heard.lock().expect("sound"), ["500 half", "a line\n"]);
}

#[test]
fn a_cancelled_call_ends_as_cancelled() {
    let world = world(Fixture::new("fix"));
    let catalog = world.load();
    let held = start(&catalog, "fix.hold", "{}");
    let instance = handler(&catalog, "fix.hold").instance;
    instance.cancel(held.id(), CancelReason::Requested);
    assert_eq!(held.end(), Completion::Cancelled(None));
}

#[test]
fn after_a_panic_the_next_command_runs_on_a_new_instance() {
    let world = world(Fixture::new("fix"));
    let catalog = world.load();
    // A call of the old instance goes on and is not lost.
    let held = start(&catalog, "fix.hold", "{}");
    for panics in 1..=2 {
        match run(&catalog, "fix.panic", "{}") {
            Completion::Panicked(error) => assert!(error.message.contains("plugin.c:1")),
            other => panic!("{other:?}"),
        }
        // Whether it comes before the new instance or after: it runs.
        assert_eq!(ask(&catalog, "fix.echo", "7"), json!(7));
        assert_eq!(world.notes("fix", "created"), 1 + panics);
    }
    assert_eq!(catalog.plugins()[0].state, PluginState::Active);
    handler(&catalog, "fix.hold")
        .instance
        .cancel(held.id(), CancelReason::Requested);
    assert_eq!(held.end(), Completion::Cancelled(None));
    eventually("the end of both old instances", || {
        world.notes("fix", "destroyed") == 2
    });
}

#[test]
fn a_payload_that_does_not_fit_the_manifests_schema_never_reaches_the_plugin() {
    let schema = json!({ "type": "object", "required": ["name"] });
    let world = world(Fixture::new("fix").declare("/handlers/0/request_schema", schema));
    let catalog = world.load();
    let error = start(&catalog, "fix.echo", "{}").refusal();
    assert_eq!(error.code, "invalid-payload");
    assert!(error.message.contains("name"), "{error}");
    assert_eq!(
        ask(&catalog, "fix.echo", r#"{"name":1}"#),
        json!({"name": 1})
    );
}

#[test]
fn a_plugin_learns_its_config_and_its_node_and_takes_a_new_config() {
    let mut world = world(Fixture::new("fix"));
    world
        .plugin("fix")
        .config
        .insert("greeting".into(), json!("hi"));
    let catalog = world.load();
    assert_eq!(ask(&catalog, "fix.config", "{}"), json!({"greeting": "hi"}));
    assert_eq!(ask(&catalog, "fix.node", "{}")["tags"], json!(["blue"]));

    catalog
        .reconfigure("fix", &json!({"greeting": "hello"}))
        .expect("taken");
    let error = catalog
        .reconfigure("fix", &json!({"refuse": true}))
        .expect_err("refused");
    assert_eq!(error.code, "bad-config");
    assert_eq!(
        ask(&catalog, "fix.config", "{}"),
        json!({"greeting": "hello"})
    );
    let error = catalog
        .reconfigure("nobody", &json!({}))
        .expect_err("unknown");
    assert!(error.help.expect("help").contains("fix"));

    // A new instance begins with what the old one was last given.
    run(&catalog, "fix.panic", "{}");
    assert_eq!(
        ask(&catalog, "fix.config", "{}"),
        json!({"greeting": "hello"})
    );
}

#[test]
fn a_facility_is_there_only_if_granted() {
    let mut world = world(Fixture::new("fix"));
    let catalog = world.load();
    let request = r#"{"drain":true,"reason":"test"}"#;
    assert_eq!(
        ask(&catalog, "fix.node-control", request),
        json!({"granted": false})
    );

    world.plugin("fix").grants = vec!["node-control".into()];
    let catalog = world.load();
    assert_eq!(
        ask(&catalog, "fix.node-control", request)["draining"],
        json!(true)
    );
    assert_eq!(
        world.node_control.drains.lock().expect("sound")[0].reason,
        "test"
    );
    match run(&catalog, "fix.node-control", "{}") {
        Completion::Failed(error) => assert_eq!(error.code, "malformed-request"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_quiet_plugin_is_destroyed_and_a_busy_one_is_left_alone() {
    let world = world(Fixture::new("fix"));
    let catalog = world.load();
    catalog.quiesce(Duration::from_secs(1));
    assert_eq!(world.notes("fix", "destroyed"), 1);
    let error = start(&catalog, "fix.echo", "{}").refusal();
    assert_eq!(error.code, "plugin-unavailable");

    let catalog = world.load();
    let held = start(&catalog, "fix.hold", "{}");
    catalog.quiesce(Duration::ZERO);
    assert_eq!(world.notes("fix", "destroyed"), 1);
    assert!(!held.told());
}

#[test]
fn what_a_plugin_sends_after_it_said_it_was_quiet_is_counted_and_ignored() {
    let world = world(Fixture::new("fix").define("HAUNTS").define("QUIET_LIAR"));
    let catalog = world.load();
    let held = start(&catalog, "fix.hold", "{}");
    catalog.quiesce(Duration::from_secs(1));
    // It claimed that nothing runs: whoever waits is told so.
    assert!(fault(held.end()).contains("had not ended"));
    assert_eq!(world.notes("fix", "destroyed"), 1);
    // `destroy` itself completes a call.
    assert_eq!(catalog.counters()["fix"].after_quiesce, 1);
}

#[test]
fn a_plugin_of_an_older_minor_works_without_the_functions_it_lacks() {
    // Up to and with `start`: 8 bytes of head and one pointer.
    let world = world(Fixture::new("fix").define("VTABLE_SIZE=16"));
    let catalog = world.load();
    assert_eq!(ask(&catalog, "fix.echo", "1"), json!(1));
    let error = catalog
        .reconfigure("fix", &json!({}))
        .expect_err("it has no such function");
    assert_eq!(error.code, "not-reconfigurable");
    let held = start(&catalog, "fix.hold", "{}");
    handler(&catalog, "fix.hold")
        .instance
        .cancel(held.id(), CancelReason::Requested);
    assert!(
        !handler(&catalog, "fix.hold")
            .instance
            .quiesce(Duration::from_millis(20)),
        "a call runs"
    );
    assert_eq!(ask(&catalog, "fix.release", "{}"), json!({}));
    assert_eq!(
        held.end(),
        Completion::Succeeded(bytes::Bytes::from_static(br#"{"released":true}"#))
    );
    assert!(
        handler(&catalog, "fix.hold")
            .instance
            .quiesce(Duration::from_secs(5))
    );
}

#[test]
fn a_plugin_that_may_block_is_known_to() {
    let world = world(Fixture::new("fix").define("FLAGS=1"));
    let catalog = world.load();
    assert!(handler(&catalog, "fix.block").instance.start_may_block());
    assert_eq!(ask(&catalog, "fix.block", "{}"), json!({}));
}
