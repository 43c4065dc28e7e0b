//! The real worker.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::process::Command;

use crate::{Answer, PATIENCE, PluginDir, Program, binaries};

/// How an `aegis-worker` is to be started, with a state directory of its own.
/// It can be started again over the same state.
pub struct Worker {
    home: TempDir,
    node_id: String,
    config: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Worker {
    /// A fresh node of the controller at `endpoint`, that heartbeats often.
    pub fn new(endpoint: &str) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let node_id = uuid::Uuid::new_v4().to_string();
        let state = home.path().join("state");
        let config = format!(
            "[node]\nid = {node_id:?}\nstate_dir = {state:?}\ntags = [\"test\"]\n\n\
             [controller]\nendpoint = {endpoint:?}\n\n\
             [lifecycle]\nheartbeat_interval = \"250ms\"\nmin_heartbeat_interval = \"100ms\"\n\n"
        );
        Self {
            home,
            node_id,
            config,
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// With an enrolment token for its first attestation.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        let path = self.token_file();
        fs::write(&path, token).expect("the directory is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        self.arguments.extend([
            "--enrolment-token-file".to_owned(),
            path.display().to_string(),
        ]);
        self
    }

    /// Without the token of an earlier [`token`](Self::token).
    #[must_use]
    pub fn without_token(mut self) -> Self {
        if let Some(index) = self
            .arguments
            .iter()
            .position(|it| it == "--enrolment-token-file")
        {
            self.arguments.drain(index..index + 2);
        }
        self
    }

    /// With a plugin directory.
    #[must_use]
    pub fn plugins(self, folder: &PluginDir) -> Self {
        let folder = folder.path().display().to_string();
        self.arguments(&["--plugins", &folder])
    }

    /// With more arguments.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|it| (*it).to_owned()));
        self
    }

    /// With more of a config; a table must not be one of those that
    /// [`new`](Self::new) writes.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self
    }

    /// With a line changed in the config.
    #[must_use]
    pub fn replace(mut self, line: &str, with: &str) -> Self {
        assert!(
            self.config.contains(line),
            "{line} is not in {}",
            self.config
        );
        self.config = self.config.replace(line, with);
        self
    }

    /// With a variable in its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With another node id than its own.
    #[must_use]
    pub fn as_node(mut self, node_id: &str) -> Self {
        self.config = self.config.replace(&self.node_id, node_id);
        self.node_id = node_id.to_owned();
        self
    }

    /// Its id.
    pub fn node_id(&self) -> &str {
        &self.node_id
    }

    /// Where it keeps its state.
    pub fn state_dir(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// The file of [`token`](Self::token).
    pub fn token_file(&self) -> PathBuf {
        self.home.path().join("enrolment.token")
    }

    /// Another worker with a copy of the state directory: the same id and key.
    #[must_use]
    pub fn twin(&self) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        copy(&self.state_dir(), &home.path().join("state"));
        let ours = self.home.path().display().to_string();
        let theirs = home.path().display().to_string();
        Self {
            node_id: self.node_id.clone(),
            config: self.config.replace(&ours, &theirs),
            arguments: self.arguments.clone(),
            environment: self.environment.clone(),
            home,
        }
    }

    /// The config file that it is given. Where that does not say it, plugins run
    /// in the worker's process: tests of other placements say so.
    pub fn config_file(&self) -> PathBuf {
        const PLUGINS: &str = "[plugins]\n";
        const IN_PROCESS: &str = "[plugins]\ndefault_placement = \"in-process\"\n";
        let path = self.home.path().join("worker.toml");
        let config = match &self.config {
            config if config.contains("default_placement") => config.clone(),
            config if config.contains(PLUGINS) => config.replacen(PLUGINS, IN_PROCESS, 1),
            config => format!("{config}\n{IN_PROCESS}"),
        };
        fs::write(&path, config).expect("the directory is ours");
        path
    }

    /// Starts it.
    pub fn start(&self) -> Program {
        Program::spawn("aegis-worker", &mut self.command(&[]))
    }

    /// Starts it with one more variable in its environment.
    pub fn start_with(&self, name: &str, value: &str) -> Program {
        let mut command = self.command(&[]);
        command.env(name, value);
        Program::spawn("aegis-worker", &mut command)
    }

    /// Runs a subcommand, or a worker that must not come up, to its end.
    pub async fn run(&self, subcommand: &[&str]) -> Answer {
        run(self.command(subcommand)).await
    }

    fn command(&self, subcommand: &[&str]) -> Command {
        let mut command = binaries::command("aegis-worker");
        command.arg("--config").arg(self.config_file());
        command.args(&self.arguments).args(subcommand);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Worker {
    /// Runs `aegis-worker` with these arguments alone.
    pub async fn plain(arguments: &[&str], folder: &Path) -> Answer {
        let mut command = binaries::command("aegis-worker");
        command.args(arguments).current_dir(folder);
        run(command).await
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("the directory is ours");
    let mode = fs::metadata(from).expect("it is there").permissions();
    fs::set_permissions(to, mode).expect("it is ours");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        let kind = entry.file_type().expect("an entry");
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            // Keeps the mode.
            fs::copy(entry.path(), target).expect("a plain file");
        }
    }
}

async fn run(mut command: Command) -> Answer {
    command
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let output = match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(output) => output.expect("aegis-worker starts"),
        Err(_) => panic!("{command:?} does not end"),
    };
    Answer {
        code: output.status.code().expect("no signal ended it"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}
