//! Runs the operator's command line, as a person would.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use serde_json::Value;
use tokio::process::Command;

/// Nothing in the tour takes a tenth of this, on an idle machine.
const PATIENCE: Duration = Duration::from_secs(15);

/// `aegisctl` with its two environment variables.
pub struct Aegisctl {
    pub program: PathBuf,
    pub endpoint: String,
    pub token_file: PathBuf,
}

/// What it answered.
pub struct Answer {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Aegisctl {
    /// Runs it, whatever it answers.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<Answer> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("AEGIS_ENDPOINT", &self.endpoint)
            .env("AEGIS_OPERATOR_TOKEN_FILE", &self.token_file)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output())
            .await
            .map_err(|_| {
                anyhow!(
                    "`aegisctl {}` took more than {} s",
                    arguments.join(" "),
                    PATIENCE.as_secs()
                )
            })?
            .with_context(|| format!("can't run {}", self.program.display()))?;
        Ok(Answer {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs it with `-o json`; it has to succeed.
    pub async fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let answer = self.run(&[arguments, &["-o", "json"]].concat()).await?;
        if answer.code != Some(0) {
            bail!(
                "`aegisctl {} -o json` failed\n{}",
                arguments.join(" "),
                answer.stderr.trim()
            );
        }
        serde_json::from_str(&answer.stdout)
            .with_context(|| format!("`aegisctl {} -o json` printed no JSON", arguments.join(" ")))
    }
}
