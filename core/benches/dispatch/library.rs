//! Builds the plugin as a library and puts it where a worker would load it.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process};

/// A directory that holds the plugin's library and nothing else.
pub fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let private = fs::Permissions::from_mode(0o700);
    fs::set_permissions(dir.path(), private).expect("its owner may");
    let built = build();
    let copy = dir
        .path()
        .join(built.file_name().expect("cargo names a file"));
    fs::copy(&built, &copy).expect("a copy");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).expect("its owner may");
    dir
}

fn build() -> PathBuf {
    let output = process::Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--release", "--example", "dispatch_plugin"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(process::Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "the plugin does not build");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "dispatch_plugin")
        .find_map(|message| message["filenames"][0].as_str().map(PathBuf::from))
        .expect("cargo says what it made")
}
