//! The plugin host and the SDK together: a plugin linked into this program, the
//! example libraries in Rust and in C, and who yields to whom.

#![cfg(target_os = "linux")]

#[allow(dead_code)]
#[path = "plugin_host/fixture.rs"]
mod fixture;
#[path = "sdk_plugins/linked.rs"]
mod linked;
#[allow(dead_code)]
#[path = "plugin_host/world.rs"]
mod world;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use aegis_core::{
    command::CancelReason,
    config::model::Trust,
    plugin::{Completion, Lookup, Placement, PluginState, Started},
};
use fixture::Fixture;
use serde_json::json;
use world::{World, ask, eventually, handler, reason, run, start};

/// A world in which the linked plugin has the grant that it needs.
fn world() -> World {
    let mut world = World::new();
    world.plugin("linked").grants = vec!["node-control".into()];
    world
}

#[test]
fn a_linked_plugin_is_served_through_the_same_tables() {
    let world = world();
    let catalog = world.load();
    let info = &catalog.plugins()[0];
    assert_eq!(
        (info.name.as_str(), info.placement),
        ("linked", Placement::BuiltIn)
    );
    assert_eq!(
        ask(&catalog, "linked.echo", r#"{"text":"hi"}"#),
        json!({"text": "hi"})
    );
    let echo = handler(&catalog, "linked.echo");
    assert!(echo.info.inline && !echo.instance.start_may_block());
    let schema = echo.info.request_schema.expect("from aegis.schema/1");
    assert!(schema["properties"]["text"].is_object(), "{schema}");

    let answer = ask(&catalog, "linked.drain", "{}");
    assert_eq!(answer, json!(true));
    assert!(world.node_control.drains.lock().expect("sound")[0].drain);
    catalog.quiesce(Duration::from_secs(10));
}

#[test]
fn an_async_handler_reports_is_cancelled_and_is_abandoned() {
    let world = world();
    let catalog = world.load();
    let waiting = start(&catalog, "linked.wait", "{}");
    eventually("its progress", || {
        !waiting.sink.heard.lock().expect("sound").is_empty()
    });
    let instance = handler(&catalog, "linked.wait").instance;
    instance.cancel(waiting.id(), CancelReason::Requested);
    assert!(matches!(waiting.end(), Completion::Cancelled(_)));

    let stubborn = start(&catalog, "linked.stubborn", "{}");
    instance.cancel(stubborn.id(), CancelReason::Deadline);
    instance.cancel(stubborn.id(), CancelReason::Abandon);
    assert!(
        matches!(stubborn.end(), Completion::Cancelled(_)),
        "its future is dropped"
    );
    catalog.quiesce(Duration::from_secs(10));
}

#[test]
fn a_panic_in_a_handler_costs_no_other_command() {
    let world = world();
    let catalog = world.load();
    let waiting = start(&catalog, "linked.wait", "{}");
    for round in 0..3 {
        match run(&catalog, "linked.panics", "{}") {
            Completion::Panicked(error) => {
                assert!(error.message.contains("on purpose"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        let text = json!({ "text": format!("round {round}") });
        assert_eq!(ask(&catalog, "linked.echo", &text.to_string()), text);
    }
    handler(&catalog, "linked.wait")
        .instance
        .cancel(waiting.id(), CancelReason::Requested);
    assert!(
        matches!(waiting.end(), Completion::Cancelled(_)),
        "the old instance goes on"
    );
    assert_eq!(catalog.plugins()[0].state, PluginState::Active);
    catalog.quiesce(Duration::from_secs(10));
}

#[test]
fn commands_that_arrive_during_a_panic_run_all_the_same() {
    let world = world();
    let catalog = world.load();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    assert_eq!(
                        ask(&catalog, "linked.echo", r#"{"text":""}"#),
                        json!({"text": ""})
                    );
                }
            });
        }
        assert!(matches!(
            run(&catalog, "linked.panics", "{}"),
            Completion::Panicked(_)
        ));
    });
}

#[test]
fn a_linked_plugin_keeps_its_commands_unless_the_config_names_another() {
    let mut world = world();
    Fixture::new("usurper")
        .declare("/handlers/0/name", json!("linked.echo"))
        .build(&world.directory(), "usurper.so");
    let catalog = world.load();
    assert_eq!(handler(&catalog, "linked.echo").info.plugin, "linked");
    let listed = catalog.handlers();
    let lost = listed
        .iter()
        .find(|handler| handler.name == "linked.echo" && handler.plugin == "usurper")
        .and_then(|handler| handler.disabled.clone())
        .expect("listed as disabled");
    assert!(lost.contains("built-in plugin linked"), "{lost}");
    assert_eq!(
        ask(&catalog, "usurper.config", "{}"),
        json!({}),
        "its others are served"
    );

    world
        .handlers
        .by_name
        .entry("linked.echo".into())
        .or_default()
        .plugin = Some("usurper".into());
    let catalog = world.load();
    assert_eq!(handler(&catalog, "linked.echo").info.plugin, "usurper");
}

#[test]
fn a_file_with_the_id_of_a_linked_plugin_waits_for_the_config_to_prefer_it() {
    let mut world = world();
    Fixture::new("linked").build(&world.directory(), "linked.so");
    let refused = |world: &World| {
        let plugins = world.load().plugins();
        let file = plugins
            .into_iter()
            .find(|info| info.file.is_some())
            .expect("listed");
        file.state
    };
    match refused(&world) {
        PluginState::Refused(why) => {
            let remedy = "prefer it with placement = \"process\" or \"in-process\"";
            assert!(why.contains(remedy), "{why}");
        }
        other => panic!("{other:?}"),
    }
    world.plugin("linked").placement = Some(Placement::InProcess);
    assert_eq!(refused(&world), PluginState::Active);
    assert_eq!(handler(&world.load(), "linked.fail").info.plugin, "linked");

    std::fs::remove_file(world.directory().join("linked.so")).expect("removed");
    assert!(reason(&world.load().plugins(), "linked").contains("placement"));
}

#[test]
fn grants_of_the_program_reach_its_own_plugins_only() {
    let mut world = World::new();
    assert!(reason(&world.load().plugins(), "linked").contains("aegis.node-control/1"));
    Fixture::new("thief")
        .declare("/requires", json!(["aegis.node-control/1"]))
        .build(&world.directory(), "thief.so");
    let mut options = world.options();
    let all = ["linked", "thief"].map(|id| (id.to_owned(), vec!["node-control".to_owned()]));
    options.default_grants = all.into();
    options.expected_built_ins = &["linked"];
    let catalog = aegis_core::catalog::Catalog::load(options).expect("a catalog");
    assert_eq!(ask(&catalog, "linked.drain", "{}"), json!(true));
    assert!(reason(&catalog.plugins(), "thief").contains("[plugins.thief]"));
    world.plugins.trust = Trust::Pinned;
    assert_eq!(world.scan().plugins[0].trust, "built-in");
}

/// A file that somebody put into the directory is on: that was their word.
#[test]
fn a_linked_plugin_that_is_off_by_default_waits_for_the_config() {
    let mut world = world();
    world.plugins.off_by_default = vec!["linked", "fix"];
    Fixture::new("fix").build(&world.directory(), "fix.so");
    let catalog = world.load();
    let off = reason(&catalog.plugins(), "linked");
    assert!(
        off.contains("set enabled = true under [plugins.linked]"),
        "{off}"
    );
    match catalog.lookup("linked.echo") {
        Lookup::Disabled { reason } => assert!(reason.contains("off by default"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(ask(&catalog, "fix.echo", "1"), json!(1));

    world.plugin("linked").enabled = Some(true);
    let answer = ask(&world.load(), "linked.echo", r#"{"text":"hi"}"#);
    assert_eq!(answer, json!({"text": "hi"}));
}

#[test]
fn the_rust_example_is_loaded_from_its_library() {
    let world = world();
    let library = rust_example();
    std::fs::copy(&library, world.directory().join("libhello_plugin.so")).expect("a copy");
    let catalog = world.load();
    let answer = ask(&catalog, "hello", r#"{"name":"node"}"#);
    assert_eq!(answer, json!({"text": "hello, node"}));
    let info = catalog
        .plugins()
        .into_iter()
        .find(|info| info.file.is_some())
        .expect("listed");
    assert_eq!(
        (info.state, info.placement),
        (PluginState::Active, Placement::InProcess)
    );
    let counting = start(&catalog, "hello.count", r#"{"to":3}"#);
    let sink = std::sync::Arc::clone(&counting.sink);
    match counting.end() {
        Completion::Succeeded(response) => assert!(response.starts_with(br#"{"counted_to":3"#)),
        other => panic!("{other:?}"),
    }
    let kept = sink.checkpoint.lock().expect("sound").clone();
    assert_eq!(kept.as_deref(), Some(b"3".as_slice()));
    match run(&catalog, "hello", r#"{"nam":"node"}"#) {
        Completion::Failed(error) => assert_eq!(error.code, "invalid-payload"),
        other => panic!("{other:?}"),
    }
    catalog.quiesce(Duration::from_secs(10));
    let late = start(&catalog, "hello", r#"{"name":"node"}"#);
    assert!(matches!(late.started, Started::Refused(_)));
}

#[test]
fn the_c_example_is_loaded_from_its_library() {
    let world = world();
    let example = workspace().join("examples/c-plugin");
    let output = Command::new("cc")
        .args([
            "-std=c11",
            "-O1",
            "-shared",
            "-fPIC",
            "-fvisibility=hidden",
            "-pthread",
            "-I",
        ])
        .arg(workspace().join("plugin-api/include"))
        .arg("-o")
        .arg(world.directory().join("libc_plugin.so"))
        .arg(example.join("c_plugin.c"))
        .output()
        .expect("a C compiler");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fixture::chmod(&world.directory().join("libc_plugin.so"), 0o644);
    let catalog = world.load();
    let info = catalog
        .plugins()
        .into_iter()
        .find(|info| info.file.is_some())
        .expect("listed");
    assert_eq!(info.state, PluginState::Active);
    let served = catalog
        .handlers()
        .into_iter()
        .filter(|handler| handler.plugin == info.name);
    for handler in served {
        assert!(
            matches!(catalog.lookup(&handler.name), Lookup::Found(_)),
            "{handler:?}"
        );
    }
    catalog.quiesce(Duration::from_secs(10));
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
}

/// Builds the library into the target directory of this test.
fn rust_example() -> PathBuf {
    // target/PROFILE/deps/this-test
    let this = std::env::current_exe().expect("this test");
    let profile = this
        .parent()
        .and_then(Path::parent)
        .expect("a profile's directory");
    let target = profile.parent().expect("a target directory");
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--package",
            "hello-plugin",
            "--target-dir",
        ])
        .arg(target)
        .current_dir(workspace())
        .output()
        .expect("cargo");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target.join("debug/libhello_plugin.so")
}
