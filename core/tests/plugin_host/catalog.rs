//! Which plugins run, and who serves a command.

use std::fs;

use aegis_core::{
    catalog::{Catalog, CatalogError},
    plugin::{Lookup, PluginState},
};
use serde_json::json;

use crate::{
    fixture::Fixture,
    world::{World, ask, reason},
};

/// A plugin whose first command is `shared`.
fn sharing(id: &str) -> Fixture {
    Fixture::new(id).declare("/handlers/0/name", json!("shared"))
}

fn disabled(catalog: &Catalog, name: &str) -> String {
    match catalog.lookup(name) {
        Lookup::Disabled { reason } => reason.to_owned(),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn a_command_that_two_plugins_claim_is_served_by_the_one_the_config_names() {
    let mut world = World::new();
    sharing("a").build(&world.directory(), "a.so");
    sharing("b").build(&world.directory(), "b.so");
    let catalog = world.load();
    let why = disabled(&catalog, "shared");
    assert!(
        why.contains("a and b") && why.contains("[handlers.shared]"),
        "{why}"
    );
    assert_eq!(
        ask(&catalog, "a.config", "{}"),
        json!({}),
        "its other commands are served"
    );

    world
        .handlers
        .by_name
        .entry("shared".into())
        .or_default()
        .plugin = Some("b".into());
    let catalog = world.load();
    assert_eq!(ask(&catalog, "shared", "1"), json!(1));
    let shared: Vec<_> = catalog
        .handlers()
        .into_iter()
        .filter(|handler| handler.name == "shared")
        .collect();
    assert_eq!(shared.len(), 2, "both are listed");
    assert_eq!(shared[0].plugin, "b", "the one that is served comes first");
    assert!(
        shared
            .iter()
            .all(|handler| handler.disabled.is_some() == (handler.plugin == "a"))
    );
}

#[test]
fn different_plugins_of_one_id_are_refused_and_copies_are_one_plugin() {
    let world = World::new();
    let first = Fixture::new("fix").build(&world.directory(), "1.so");
    fs::copy(&first, world.directory().join("2.so")).expect("a copy");
    let catalog = world.load();
    assert_eq!(ask(&catalog, "fix.echo", "1"), json!(1));
    let copies = catalog.plugins();
    assert_eq!(copies[0].state, PluginState::Active);
    assert!(matches!(&copies[1].state, PluginState::Disabled(why) if why.contains("copy")));

    Fixture::new("fix")
        .declare("/version", json!("2.0.0"))
        .build(&world.directory(), "2.so");
    let catalog = world.load();
    assert!(reason(&catalog.plugins(), "fix").contains("2 different plugins"));
    assert!(disabled(&catalog, "fix.echo").contains("different plugins"));
}

#[test]
fn handlers_and_plugins_are_turned_off_and_on_by_the_config() {
    let mut world = World::new();
    Fixture::new("fix").build(&world.directory(), "fix.so");
    world
        .handlers
        .by_name
        .entry("fix.fail".into())
        .or_default()
        .enabled = Some(false);
    let catalog = world.load();
    assert!(disabled(&catalog, "fix.fail").contains("[handlers.fix.fail] enabled = false"));
    assert_eq!(ask(&catalog, "fix.echo", "1"), json!(1));

    world.handlers.default_enabled = false;
    world
        .handlers
        .by_name
        .entry("fix.echo".into())
        .or_default()
        .enabled = Some(true);
    let catalog = world.load();
    assert_eq!(ask(&catalog, "fix.echo", "1"), json!(1));
    assert!(disabled(&catalog, "fix.config").contains("default"));

    world.plugin("fix").enabled = Some(false);
    let catalog = world.load();
    assert!(disabled(&catalog, "fix.echo").contains("[plugins.fix] enabled = false"));
    assert_eq!(
        world.notes("fix", "created"),
        2,
        "it was not started a third time"
    );
}

#[test]
fn a_plugin_whose_handlers_are_all_off_is_not_started() {
    let mut world = World::new();
    Fixture::new("fix").build(&world.directory(), "fix.so");
    world.handlers.default_enabled = false;
    assert!(reason(&world.load().plugins(), "fix").contains("none of its handlers"));
    assert_eq!(world.notes("fix", "created"), 0);
}

#[test]
fn timeout_and_concurrency_of_the_config_overrule_the_plugins() {
    let mut world = World::new();
    Fixture::new("fix").build(&world.directory(), "fix.so");
    let config = world.handlers.by_name.entry("fix.echo".into()).or_default();
    config.timeout = Some(std::time::Duration::from_secs(3));
    config.concurrency = Some(1);
    let handlers = world.load().handlers();
    let of = |name: &str| {
        handlers
            .iter()
            .find(|handler| handler.name == name)
            .expect("listed")
    };
    assert_eq!(
        (of("fix.echo").timeout.as_secs(), of("fix.echo").concurrency),
        (3, 1)
    );
    assert_eq!(
        (of("fix.fail").timeout.as_secs(), of("fix.fail").concurrency),
        (60, 4)
    );
}

#[test]
fn a_plugin_without_the_grant_it_needs_is_refused_with_the_line_to_add() {
    let mut world = World::new();
    Fixture::new("fix")
        .declare("/requires", json!(["aegis.node-control/1"]))
        .build(&world.directory(), "fix.so");
    world.plugin("fix").grants = vec!["config".into()];
    let why = reason(&world.load().plugins(), "fix");
    assert!(why.contains("aegis.node-control/1"), "{why}");
    assert!(
        why.contains(r#"grants = ["node-control", "config"] under [plugins.fix]"#),
        "{why}"
    );

    world.plugin("fix").grants = vec!["node-control".into()];
    assert_eq!(world.load().plugins()[0].state, PluginState::Active);

    Fixture::new("keeper")
        .declare("/requires", json!(["aegis.kv/1", "aegis.metrics/1"]))
        .build(&world.directory(), "keeper.so");
    world.plugin("keeper").grants = vec!["config".into()];
    let why = reason(&world.load().plugins(), "keeper");
    assert!(
        why.contains("needs aegis.kv/1 and aegis.metrics/1")
            && why.contains(r#"grants = ["config", "kv", "metrics"] under [plugins.keeper]"#),
        "{why}"
    );

    world.plugin("fix").grants = vec!["root".into()];
    let why = reason(&world.load().plugins(), "fix");
    assert!(why.contains("\"root\", which is no grant"), "{why}");
}

#[test]
fn a_required_plugin_that_cannot_run_stops_the_start() {
    let mut world = World::new();
    Fixture::new("fix")
        .define("CREATE_REFUSES")
        .build(&world.directory(), "fix.so");
    world.plugin("fix").required = true;
    world.plugin("gone").required = true;
    let error = Catalog::load(world.options()).expect_err("neither runs");
    assert!(matches!(error, CatalogError::Required(_)));
    let text = error.to_string();
    assert!(text.contains("gone (it is neither linked in nor"), "{text}");

    world.plugins.by_name.remove("gone");
    let text = Catalog::load(world.options())
        .expect_err("it does not start")
        .to_string();
    assert!(
        text.contains("fix (create check failed: no licence file"),
        "{text}"
    );
}

#[test]
fn a_built_in_that_the_linker_dropped_is_missed() {
    let world = World::new();
    let mut options = world.options();
    options.expected_built_ins = &["drain"];
    let text = Catalog::load(options)
        .expect_err("nothing is linked in")
        .to_string();
    assert!(
        text.contains("drain") && text.contains("use aegis_plugin_drain as _;"),
        "{text}"
    );
}

#[test]
fn an_unknown_command_is_answered_with_the_nearest_known() {
    let world = World::new();
    Fixture::new("fix").build(&world.directory(), "fix.so");
    let catalog = world.load();
    assert!(matches!(
        catalog.lookup("fix.ecoh"),
        Lookup::Unknown {
            nearest: Some("fix.echo")
        }
    ));
    assert!(matches!(
        catalog.lookup("reboot"),
        Lookup::Unknown { nearest: None }
    ));
}

#[test]
fn a_scan_says_what_a_start_would_do_and_runs_nothing() {
    let world = World::new();
    Fixture::new("fix").build(&world.directory(), "fix.so");
    fs::write(world.directory().join("bad.so"), "").expect("a file");
    let scan = world.scan();
    assert_eq!(scan.plugins.len(), 2);
    assert!(reason(&scan.plugins, "bad").contains("empty"));
    assert_eq!(scan.plugins[1].state, PluginState::Active);
    assert_eq!(scan.handlers.len(), crate::fixture::HANDLERS.len());
    assert_eq!(world.notes("fix", "created"), 0);
    let document = serde_json::to_value(&scan).expect("it serialises");
    assert_eq!(document["plugins"][0]["state"], "refused");
    assert_eq!(document["plugins"][1]["state"], "active");
    assert_eq!(document["handlers"][0]["timeout_ms"], 60_000);
}
