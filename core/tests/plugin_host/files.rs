//! Which files are let in.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use aegis_core::{
    config::model::Trust,
    loader::{Check, Digest, inspect},
    plugin::PluginState,
};
use serde_json::json;

use crate::{
    fixture::{Fixture, chmod},
    world::{World, ask, reason},
};

/// Loads a directory with a good plugin and `file`, and answers why the latter
/// is out. The good one has to run in every case.
fn refused(world: &World, name: &str) -> String {
    Fixture::new("good").build(&world.directory(), "good.so");
    let catalog = world.load();
    assert_eq!(ask(&catalog, "good.echo", "1"), json!(1));
    let reason = reason(&catalog.plugins(), name);
    let scanned = world.scan().plugins.len();
    assert_eq!(scanned, catalog.plugins().len(), "a scan sees the same");
    reason
}

fn refused_content(content: &[u8]) -> String {
    let world = World::new();
    fs::write(world.directory().join("bad.so"), content).expect("a file");
    refused(&world, "bad")
}

fn refused_fixture(fixture: &Fixture) -> String {
    let world = World::new();
    fixture.build(&world.directory(), "bad.so");
    refused(&world, "bad")
}

#[track_caller]
fn assert_says(reason: &str, check: Check, says: &str) {
    assert!(
        reason.starts_with(&format!("{} check failed: ", check.as_str())) && reason.contains(says),
        "{reason:?} should be of the check {check:?} and say {says:?}"
    );
}

#[test]
fn files_that_are_no_library_of_this_machine_are_refused_by_what_they_are() {
    let library = fs::read(Fixture::new("fix").build(World::new().root(), "a.so")).expect("built");
    assert_says(&refused_content(b""), Check::Format, "empty");
    assert_says(&refused_content(b"hello"), Check::Format, "not a library");
    assert_says(&refused_content(b"#!/bin/sh\n"), Check::Format, "script");
    assert_says(
        &refused_content(b"!<arch>\n"),
        Check::Format,
        "static library",
    );
    assert_says(&refused_content(b"\x7fELF"), Check::Format, "parsed");
    assert_says(
        &refused_content(&library[..library.len() / 2]),
        Check::Format,
        "",
    );

    let with = |at: usize, bytes: &[u8]| {
        let mut changed = library.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        refused_content(&changed)
    };
    // e_machine: MIPS; e_type: relocatable.
    assert_says(&with(18, &[8, 0]), Check::Format, "architecture");
    assert_says(&with(16, &[1, 0]), Check::Format, "not linked");
}

#[test]
fn an_executable_is_not_loaded() {
    let world = World::new();
    let main = world.root().join("main.c");
    fs::write(&main, "int main(void) { return 0; }").expect("a source");
    Fixture::new("fix").compile(
        &world.directory(),
        "bad.so",
        &["-pie", "-fPIE", main.to_str().expect("a path")],
    );
    assert_says(&refused(&world, "bad"), Check::Format, "executable");
}

#[test]
fn a_library_without_a_sound_manifest_is_refused() {
    let fixture = Fixture::new("fix");
    assert_says(
        &refused_fixture(&fixture.clone().define("NO_SECTION")),
        Check::Manifest,
        "no section",
    );
    let raw = |text: &str| refused_fixture(&fixture.clone().raw_manifest(text));
    assert_says(&raw("{"), Check::Manifest, "not JSON");
    assert_says(&raw("\u{0}"), Check::Manifest, "empty");
    assert_says(&raw("{}\u{0}{}"), Check::Manifest, "several");
    assert_says(&raw("{\"manifest\":9}"), Check::Manifest, "layout 9");
    assert_says(&raw("{\"manifest\":1}"), Check::Manifest, "malformed");
}

#[test]
fn a_plugin_for_another_abi_target_or_panic_strategy_is_refused() {
    let declare =
        |pointer: &str, value| refused_fixture(&Fixture::new("fix").declare(pointer, value));
    assert_says(&declare("/abi/major", json!(2)), Check::Abi, "ABI 2");
    assert_says(&declare("/abi/min_host_minor", json!(7)), Check::Abi, "1.7");
    assert_says(
        &declare("/target", json!("m68k-linux-gnu")),
        Check::Target,
        "m68k",
    );
    assert_says(&declare("/panic", json!("abort")), Check::Panic, "abort");
    assert_says(
        &declare("/handlers/0/concurrency", json!(0)),
        Check::Declarations,
        "concurrency",
    );
}

#[test]
fn a_descriptor_that_is_wrong_or_contradicts_its_manifest_is_refused() {
    let define = |what: &str| refused_fixture(&Fixture::new("fix").define(what));
    // These are seen in the file, before it is mapped.
    assert_says(&define("MAGIC=7"), Check::Symbol, "no descriptor");
    assert_says(&define("MAJOR=2"), Check::Abi, "ABI 2");
    assert_says(&define("NO_SYMBOL"), Check::Symbol, "does not export");
    // And these once it is.
    assert_says(
        &define("DESCRIPTOR_SIZE=16"),
        Check::Descriptor,
        "too short",
    );
    assert_says(&define("DESCRIPTOR_SIZE=0"), Check::Descriptor, "too short");
    assert_says(
        &define("DESCRIPTOR_SIZE=1000000"),
        Check::Descriptor,
        "1000000",
    );
    assert_says(&define("MIN_HOST_MINOR=9"), Check::Descriptor, "1.9");
    assert_says(&define("FLAGS=2"), Check::Panic, "panics");
    assert_says(&define("NULL_CREATE"), Check::Descriptor, "create");
    assert_says(
        &define("LIES"),
        Check::Descriptor,
        "not the one in its section",
    );
}

#[test]
fn a_plugin_that_cannot_be_created_is_listed_with_its_own_words() {
    let define = |what: &str| refused_fixture(&Fixture::new("fix").define(what));
    let reason = define("CREATE_REFUSES");
    assert_says(&reason, Check::Create, "no licence file");
    assert!(reason.contains("buy one"), "{reason}");
    assert_says(&define("CREATE_NONSENSE"), Check::Create, "77");
    assert_says(&define("NULL_VTABLE"), Check::Create, "start function");
    assert_says(&define("VTABLE_SIZE=8"), Check::Create, "start function");
}

#[test]
fn files_and_directories_that_others_can_write_are_refused() {
    for (mode, who) in [(0o664, "group"), (0o646, "everyone")] {
        let world = World::new();
        chmod(
            &Fixture::new("fix").build(&world.directory(), "bad.so"),
            mode,
        );
        assert_says(&refused(&world, "bad"), Check::File, who);
    }
    let mut world = World::new();
    let open = world.root().join("open");
    fs::create_dir(&open).expect("a directory");
    Fixture::new("fix").build(&open, "fix.so");
    chmod(&open, 0o777);
    world.plugins.dirs.push(open);
    assert_says(&refused(&world, "open"), Check::Directory, "writable");
}

#[test]
fn links_are_followed_within_their_directory_only() {
    let world = World::new();
    let elsewhere = Fixture::new("fix").build(world.root(), "elsewhere.so");
    let link = |target: &Path, name: &str| {
        symlink(target, world.directory().join(name)).expect("a link");
    };
    link(&elsewhere, "absolute.so");
    link(Path::new("../elsewhere.so"), "relative.so");
    link(Path::new("gone.so"), "dangling.so");
    link(Path::new("round.so"), "round.so");
    Fixture::new("inside").build(&world.directory(), "inside.bin");
    link(Path::new("inside.bin"), "inside.so");

    assert_says(
        &refused(&world, "absolute"),
        Check::File,
        "out of its directory",
    );
    assert_says(
        &refused(&world, "relative"),
        Check::File,
        "out of its directory",
    );
    assert_says(&refused(&world, "dangling"), Check::File, "to nothing");
    assert_says(&refused(&world, "round"), Check::File, "back to itself");
    assert_eq!(ask(&world.load(), "inside.echo", "1"), json!(1));
}

#[test]
fn what_is_not_a_file_is_refused_without_being_opened() {
    let world = World::new();
    fs::create_dir(world.directory().join("folder.so")).expect("a directory");
    let pipe = world.directory().join("pipe.so");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .expect("mkfifo");
    assert!(made.success());
    assert_says(&refused(&world, "folder"), Check::File, "directory");
    assert_says(&refused(&world, "pipe"), Check::File, "named pipe");
}

#[test]
fn a_missing_directory_is_listed_and_stops_nothing() {
    let mut world = World::new();
    world
        .plugins
        .dirs
        .push(PathBuf::from("/nonexistent/plugins-x"));
    assert_says(
        &refused(&world, "plugins-x"),
        Check::Directory,
        "No such file",
    );
}

#[test]
fn only_libraries_are_looked_at() {
    let world = World::new();
    for name in ["README.md", "plugin.so.bak", ".so", "notes"] {
        fs::write(world.directory().join(name), "text").expect("a file");
    }
    assert_eq!(world.scan().plugins, []);
}

#[test]
fn a_pinned_plugin_runs_and_another_file_in_its_place_does_not() {
    let mut world = World::new();
    let path = Fixture::new("fix").build(&world.directory(), "fix.so");
    let digest = Digest::of(&fs::read(&path).expect("built"));
    world.plugins.trust = Trust::Pinned;
    assert_says(
        &reason(&world.load().plugins(), "fix"),
        Check::Trust,
        "lists no sha256",
    );

    world.plugin("fix").sha256 = vec![*digest.as_bytes()];
    let catalog = world.load();
    assert_eq!(ask(&catalog, "fix.echo", "1"), json!(1));
    assert_eq!(catalog.plugins()[0].trust, "pinned");

    Fixture::new("fix")
        .declare("/version", json!("6.6.6"))
        .build(&world.directory(), "fix.so");
    let plugins = world.load().plugins();
    assert_says(&reason(&plugins, "fix"), Check::Trust, "lists another");
    assert_eq!(plugins[0].version, "6.6.6");
}

#[test]
fn a_replaced_file_is_loaded_anew_beside_the_old_one() {
    // One path, two files: the dynamic linker goes by the path string.
    let world = World::new();
    Fixture::new("fix").build(&world.directory(), "fix.so");
    let old = world.load();
    Fixture::new("fix")
        .declare("/version", json!("2.0.0"))
        .build(&world.directory(), "fix.so");
    let new = world.load();
    assert_eq!(
        new.plugins()[0].state,
        PluginState::Active,
        "it would fail its descriptor check"
    );
    assert_eq!(new.plugins()[0].version, "2.0.0");
    assert_eq!(ask(&old, "fix.echo", "1"), json!(1));
    assert_eq!(ask(&new, "fix.echo", "2"), json!(2));
}

#[test]
fn an_inspection_shows_the_manifest_and_every_failed_check_without_running_anything() {
    let world = World::new();
    let path = Fixture::new("fix")
        .declare("/panic", json!("abort"))
        .declare("/target", json!("m68k-linux-gnu"))
        .build(&world.directory(), "fix.so");
    chmod(&path, 0o666);
    let inspection = inspect(&path, &world.plugins);
    assert_eq!(inspection.manifest.as_ref().expect("read").id, "fix");
    let failed: Vec<Check> = inspection
        .checks
        .iter()
        .filter(|check| check.refusal.is_some())
        .map(|check| check.check)
        .collect();
    assert_eq!(failed, [Check::File, Check::Target, Check::Panic]);
    assert!(
        inspection
            .checks
            .iter()
            .all(|check| check.passed != check.refusal.is_some())
    );
    let document = serde_json::to_value(&inspection).expect("it serialises");
    assert_eq!(document["sha256"].as_str().map(str::len), Some(64));

    let none = inspect(&world.root().join("none.so"), &world.plugins);
    assert_eq!(none.refusal().expect("no such file").check, Check::File);
}
