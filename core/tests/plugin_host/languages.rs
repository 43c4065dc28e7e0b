//! Plugins that other compilers built, from the sources in `examples/`.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use aegis_core::manifest;
use serde_json::json;

use crate::{
    fixture::chmod,
    world::{World, ask},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a tool that has to succeed.
fn build(command: &mut Command) {
    let output = command.output().expect("it was there a moment ago");
    assert!(
        output.status.success(),
        "{command:?}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn answers(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn a_plugin_in_c_runs_whichever_compiler_built_it() {
    // A machine that builds the workspace has `cc`.
    let mut built = 0;
    for compiler in ["cc", "gcc", "clang"] {
        if !answers(compiler, &["--version"]) {
            eprintln!("skipped: there is no {compiler} here");
            continue;
        }
        let world = World::new();
        let library = world.directory().join("libc_plugin.so");
        build(
            Command::new(compiler)
                .args(["-std=c11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden"])
                .args(["-pthread", "-I"])
                .arg(root().join("plugin-api/include"))
                .args([OsStr::new("-o"), library.as_os_str()])
                .arg(root().join("examples/c-plugin/c_plugin.c")),
        );
        chmod(&library, 0o644);
        let catalog = world.load();
        assert_eq!(ask(&catalog, "c-echo", "[1,2]"), json!([1, 2]));
        assert_eq!(
            ask(&catalog, "c-count", r#"{"to":1}"#),
            json!({"counted":1})
        );
        built += 1;
    }
    assert!(built > 0, "no C compiler was found");
}

#[test]
fn a_plugin_in_zig_runs() {
    let Some(zig) = zig() else {
        eprintln!("skipped: neither `zig` nor `python3 -m ziglang` is here");
        return;
    };
    let world = World::new();
    let library = world.directory().join("libzig_plugin.so");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("zig");
    build(
        Command::new(zig[0])
            .args(&zig[1..])
            .args([
                "build-lib",
                "-dynamic",
                "-O",
                "ReleaseSmall",
                "-fPIC",
                "-lc",
            ])
            .arg(format!("-femit-bin={}", library.display()))
            .arg(root().join("examples/zig-plugin/zig_plugin.zig"))
            // Nothing of ours is left in the home directory.
            .env("ZIG_GLOBAL_CACHE_DIR", &cache)
            .env("ZIG_LOCAL_CACHE_DIR", &cache),
    );
    chmod(&library, 0o644);
    let catalog = world.load();
    assert_eq!(
        ask(&catalog, "zig-primes", r#"{"to":100}"#),
        json!({"primes":25})
    );
    // The check value of CRC-32.
    assert_eq!(
        ask(&catalog, "zig-crc32", "123456789"),
        json!({"crc32":"cbf43926"})
    );
}

/// How Zig is called here.
fn zig() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["zig"], &["python3", "-m", "ziglang"]];
    ways.into_iter().find(|way| {
        let arguments: Vec<&str> = way[1..].iter().copied().chain(["version"]).collect();
        answers(way[0], &arguments)
    })
}

#[test]
fn a_plugin_of_another_rustc_runs() {
    if !answers("rustup", &["run", "nightly", "rustc", "--version"]) {
        eprintln!("skipped: no nightly toolchain is installed (rustup toolchain install nightly)");
        return;
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nightly");
    let mut cargo = Command::new("rustup");
    cargo
        .args(["run", "nightly", "cargo", "build", "--quiet"])
        .args(["--locked", "--package", "hello-plugin", "--target-dir"])
        .arg(&target)
        .current_dir(root());
    // What the cargo that runs this test says is about another compiler.
    for name in ["CARGO", "RUSTC", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        cargo.env_remove(name);
    }
    build(&mut cargo);

    let world = World::new();
    let library = world.directory().join("libhello_plugin.so");
    fs::copy(target.join("debug/libhello_plugin.so"), &library).expect("it was built");
    chmod(&library, 0o644);
    let read = manifest::read(&fs::read(&library).expect("copied")).expect("a sound plugin");
    assert!(
        read.manifest.toolchain.contains("nightly"),
        "{}",
        read.manifest.toolchain
    );
    let catalog = world.load();
    assert_eq!(
        ask(&catalog, "hello", r#"{"name":"Ada"}"#),
        json!({"text":"hello, Ada"})
    );
}
