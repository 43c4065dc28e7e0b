//! The programs and plugin files under test.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// What is built: exactly with the features that `cargo test --workspace` and
/// `cargo bench --workspace` use, so that nothing they built is built again.
/// Naming a target that has dev-dependencies brings theirs in.
const TARGETS: [&str; 5] = ["--workspace", "--lib", "--bins", "--bench", "figures"];

/// The folder that holds them. They are built once per test program, with the
/// profile and into the target folder of the test itself; `AEGIS_BIN_DIR` names
/// a folder that has them already.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match env::var_os("AEGIS_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => build(),
    })
}

/// One of the programs, deaf to the settings of whoever runs the tests.
pub fn command(name: &str) -> tokio::process::Command {
    let program = folder().join(format!("{name}{}", env::consts::EXE_SUFFIX));
    let mut command = tokio::process::Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("AEGIS_") {
            command.env_remove(name);
        }
    }
    command
}

/// The library of the plugin crate `name`, with underscores.
pub fn library(name: &str) -> PathBuf {
    folder().join(format!(
        "{}{name}{}",
        env::consts::DLL_PREFIX,
        env::consts::DLL_SUFFIX
    ))
}

/// `TARGET/PROFILE/deps/system-0123` was built into `TARGET/PROFILE`.
fn build() -> PathBuf {
    let test = env::current_exe().expect("a test knows its own path");
    let folder = test
        .ancestors()
        .nth(2)
        .expect("it lies in TARGET/PROFILE/deps");
    let target = folder.parent().expect("it lies in TARGET/PROFILE/deps");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => panic!("{} names no profile", folder.display()),
    };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--profile", profile, "--target-dir"])
        .arg(target)
        .args(TARGETS);
    let status = cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the programs under test do not build");
    folder.to_owned()
}
