//! A server process of ours, with its log.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// How long a process may take to end when it is asked to.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Started in a process group of its own, so that Ctrl-C reaches it through us;
/// killed with its handle.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it, with everything it prints in `log`.
    pub fn start(program: &Path, arguments: &[String], log: PathBuf) -> anyhow::Result<Self> {
        let file = File::create(&log).with_context(|| format!("can't write {}", log.display()))?;
        let child = Command::new(program)
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("can't share the log file")?)
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can't start {}", program.display()))?;
        Ok(Self { child, log })
    }

    /// Its status, if it has ended.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .context("can't ask for the state of a process")
    }

    /// Waits for it to end by itself.
    pub async fn exit(&mut self) -> anyhow::Result<ExitStatus> {
        tokio::time::timeout(ENDS_WITHIN, self.child.wait())
            .await
            .with_context(|| format!("it still ran after {} s", ENDS_WITHIN.as_secs()))?
            .context("can't wait for a process")
    }

    /// Asks it to end; kills it if it does not.
    pub async fn stop(&mut self) {
        let pid = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid
            && kill_process(pid, Signal::TERM).is_ok()
            && self.exit().await.is_ok()
        {
            return;
        }
        // An error says that it has ended already.
        let _ = self.child.kill().await;
    }

    /// The last lines of its log.
    pub fn tail(&self, lines: usize) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Where its log is.
    pub fn log(&self) -> &Path {
        &self.log
    }
}
