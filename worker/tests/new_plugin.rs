//! What `aegis-worker plugins new` writes is a plugin as it stands.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn worker(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aegis-worker"));
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("AEGIS_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).args(arguments);
    command.output().expect("the worker runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// With the versions that this workspace has, so that nothing is fetched.
fn cargo(folder: &Path, target: &Path, arguments: &[&str]) {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let status = cargo
        .arg("--quiet")
        .args(arguments)
        .args(["--offline", "--target-dir"])
        .arg(target)
        .env("RUSTFLAGS", "-D warnings")
        .current_dir(folder)
        .status();
    assert!(status.expect("cargo runs").success(), "cargo {arguments:?}");
}

#[test]
fn it_builds_passes_its_tests_and_is_a_plugin_that_a_worker_would_load() {
    let folder = tempfile::tempdir().expect("a directory");
    let made = worker(folder.path(), &["plugins", "new", "disk-usage"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let plugin = folder.path().join("disk-usage");
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    fs::copy(lock, plugin.join("Cargo.lock")).expect("the workspace's versions");

    // Kept between runs: its dependencies take long.
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("new-plugin");
    cargo(&plugin, &target, &["test"]);

    let library = folder.path().join("libdisk_usage.so");
    fs::copy(target.join("debug/deps/libdisk_usage.so"), &library).expect("it was built");
    let list = worker(
        folder.path(),
        &[
            "--plugins",
            ".",
            "--state-dir",
            "state",
            "plugins",
            "list",
            "--json",
        ],
    );
    assert!(list.status.success(), "{}", text(&list.stderr));
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).expect("JSON");
    let found = list["plugins"]
        .as_array()
        .and_then(|plugins| plugins.iter().find(|plugin| plugin["name"] == "disk-usage"));
    let found = found.unwrap_or_else(|| panic!("it is listed: {list}"));
    assert_eq!(found["state"], "active", "{found}");
}

#[test]
fn what_is_there_is_never_overwritten() {
    let folder = tempfile::tempdir().expect("a directory");
    let taken = folder.path().join("mine");
    fs::create_dir(&taken).expect("a folder");
    fs::write(taken.join("notes"), "precious").expect("a file");
    let refused = worker(folder.path(), &["plugins", "new", "mine"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        text(&refused.stderr).contains("mine is not empty"),
        "{}",
        text(&refused.stderr)
    );
    let kept = fs::read_dir(&taken).expect("a folder").count();
    assert_eq!(kept, 1);
}

#[test]
fn a_name_that_cannot_be_one_is_a_usage_error_that_says_why() {
    let folder = tempfile::tempdir().expect("a directory");
    for (name, reason) in [
        ("Disk", "only a-z"),
        ("match", "keyword"),
        ("drain", "taken"),
        ("../up", "only a-z"),
    ] {
        let refused = worker(folder.path(), &["plugins", "new", name]);
        assert_eq!(refused.status.code(), Some(2), "{name}");
        assert!(
            text(&refused.stderr).contains(reason),
            "{}",
            text(&refused.stderr)
        );
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn a_checkout_can_stand_for_the_copy_of_the_sources() {
    let folder = tempfile::tempdir().expect("a directory");
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-api");
    let sdk = sdk.to_str().expect("UTF-8");
    let made = worker(folder.path(), &["plugins", "new", "mine", "--sdk", sdk]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(!folder.path().join("mine/aegis-plugin-api").exists());
    let manifest = fs::read_to_string(folder.path().join("mine/Cargo.toml")).expect("written");
    assert!(manifest.contains("plugin-api\" }"), "{manifest}");

    let wrong = worker(
        folder.path(),
        &["plugins", "new", "other", "--sdk", "/nowhere"],
    );
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("no crate aegis-plugin-api"));
}
