//! What the quickstart runs: built with the cargo, the profile and the target
//! directory that it was built with itself.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::process::Command;

/// After this long a silent build is explained.
const SILENCE: Duration = Duration::from_secs(2);

const PACKAGES: [&str; 4] = [
    "aegis-controller",
    "aegis-worker",
    "aegisctl",
    "hello-plugin",
];

/// The folder with the binaries and the plugin's library.
#[derive(Debug, Clone)]
pub struct Artifacts {
    dir: PathBuf,
}

impl Artifacts {
    /// Builds what is not built yet.
    pub async fn build() -> anyhow::Result<Self> {
        let exe = env::current_exe().context("can't find out where this program is")?;
        let dir = exe
            .parent()
            .context("this program is in no folder")?
            .to_owned();
        let profile = match dir.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let target_dir = dir
            .parent()
            .context("this program is in no target folder")?;
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
        let mut command = Command::new(cargo);
        command
            .args(["build", "--quiet", "--profile", profile])
            .arg("--manifest-path")
            .arg(manifest)
            .arg("--target-dir")
            .arg(target_dir)
            .args(PACKAGES.iter().flat_map(|package| ["--package", package]))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let mut build = command.spawn().context("can't start cargo")?;
        let status = match tokio::time::timeout(SILENCE, build.wait()).await {
            Ok(status) => status,
            Err(_) => {
                eprintln!(
                    "Building {}; the first time this takes some minutes.",
                    PACKAGES.join(", ")
                );
                build.wait().await
            }
        };
        if !status.context("can't wait for cargo")?.success() {
            bail!("the build failed; its errors are above");
        }
        Ok(Self { dir })
    }

    /// A binary.
    pub fn binary(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}{}", env::consts::EXE_SUFFIX))
    }

    /// The example plugin's shared library.
    pub fn plugin(&self) -> PathBuf {
        self.dir.join(format!(
            "{}hello_plugin{}",
            env::consts::DLL_PREFIX,
            env::consts::DLL_SUFFIX
        ))
    }
}
