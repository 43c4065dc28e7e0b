//! Runs the binary.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio};

use tempfile::TempDir;
use tokio::process::Command;

use crate::fake::{Fake, TOKEN};

/// What a run left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A token file and the address of a fake.
pub struct Operator {
    dir: TempDir,
    endpoint: String,
}

impl Operator {
    pub fn of(fake: &Fake) -> Self {
        Self::at(fake.endpoint())
    }

    pub fn at(endpoint: String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_token(&dir.path().join("operator.token"), TOKEN, 0o600);
        Self { dir, endpoint }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The command, ready to be run or changed.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aegisctl"));
        command
            .args(arguments)
            .env_clear()
            .env("AEGIS_ENDPOINT", &self.endpoint)
            .env(
                "AEGIS_OPERATOR_TOKEN_FILE",
                self.dir().join("operator.token"),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> Ran {
        ran(&mut self.command(arguments)).await
    }
}

pub async fn ran(command: &mut Command) -> Ran {
    let output = command.output().await.unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub fn write_token(path: &Path, token: &str, mode: u32) {
    fs::write(path, format!("{token}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
