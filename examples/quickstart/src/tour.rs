//! The steps. Each one is checked against what the programs really answer.

mod guide;

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use self::guide::Guide;
use crate::{aegisctl::Aegisctl, cluster::Cluster, process::Process, transcript::Transcript};

/// How long anything may take that we wait for.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Walks through the main job.
pub struct Tour<'a> {
    cluster: &'a mut Cluster,
    transcript: &'a mut Transcript,
}

impl<'a> Tour<'a> {
    /// Of a cluster in which nothing runs yet.
    pub fn new(cluster: &'a mut Cluster, transcript: &'a mut Transcript) -> Self {
        Self {
            cluster,
            transcript,
        }
    }

    /// All steps; without the shutdown if it is to stay.
    pub async fn run(mut self, stay: bool) -> anyhow::Result<()> {
        let start = Instant::now();
        let aegisctl = self.start_controller().await?;
        self.enrol(&aegisctl).await?;
        let id = self.start_worker(&aegisctl).await?;
        let node = id.split('-').next().unwrap_or(&id);
        let mut guide = Guide {
            aegisctl: &aegisctl,
            transcript: self.transcript,
            node,
        };
        guide.look().await?;
        guide.run_a_command().await?;
        guide.push_config(&self.cluster.path("config.json")).await?;
        guide.drain_and_undo().await?;
        if !stay {
            self.shut_down(&aegisctl, node).await?;
            self.transcript.done(start.elapsed());
        }
        Ok(())
    }

    async fn start_controller(&mut self) -> anyhow::Result<Aegisctl> {
        self.transcript.step("Start a controller");
        let data_dir = self.cluster.argument("controller");
        let arguments = ["--listen", "127.0.0.1:0", "--data-dir", &data_dir];
        self.transcript.command("aegis-controller", &arguments);
        let log = self.cluster.path("controller.log");
        let program = self.cluster.artifacts.binary("aegis-controller");
        let process = Process::start(&program, &arguments.map(str::to_owned), log)?;
        self.cluster.controller = Some(process);

        let by = Instant::now() + PATIENCE;
        let endpoint = loop {
            if let Some(endpoint) = self.cluster.endpoint() {
                break endpoint;
            }
            let ended = self
                .cluster
                .controller
                .as_mut()
                .map(Process::ended)
                .transpose()?
                .flatten();
            if let Some(status) = ended {
                bail!("the controller ended with {status}");
            }
            ensure!(
                Instant::now() < by,
                "the controller wrote no address within {} s",
                PATIENCE.as_secs()
            );
            tokio::time::sleep(LOOK_EVERY).await;
        };
        self.transcript.lines(&format!("listening on {endpoint}"));
        self.transcript.means(
            "It keeps nodes, commands and config in an embedded database in its data directory.",
        );
        self.transcript
            .command("export", &[&format!("AEGIS_ENDPOINT={endpoint}")]);
        let token_file = self.cluster.argument("controller/operator.token");
        self.transcript.command(
            "export",
            &[&format!("AEGIS_OPERATOR_TOKEN_FILE={token_file}")],
        );
        self.transcript.means(
            "At its first start it made the operator's token, which aegisctl finds through these.",
        );
        Ok(self.cluster.aegisctl(endpoint))
    }

    async fn enrol(&mut self, aegisctl: &Aegisctl) -> anyhow::Result<()> {
        self.transcript.step("Make an enrolment token");
        let file = self.cluster.path("enrolment.token");
        let arguments = ["enrol", "--ttl", "10m", "--note", "quickstart"];
        self.transcript.command(
            "aegisctl",
            &[
                &arguments[..],
                &[">", &self.cluster.argument("enrolment.token")],
            ]
            .concat(),
        );
        let answer = aegisctl.run(&arguments).await?;
        ensure!(
            answer.code == Some(0),
            "aegisctl failed\n{}",
            answer.stderr.trim()
        );
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file)
            .and_then(|mut file| file.write_all(answer.stdout.as_bytes()))
            .context("can't write the token to a file")?;
        self.transcript.lines(&answer.stderr);
        let tokens = aegisctl.json(&["enrol", "list"]).await?;
        ensure!(
            states(&tokens) == ["open"],
            "one open token was expected: {tokens}"
        );
        self.transcript
            .means("It admits one node once; from then on the node's own key is its identity.");
        Ok(())
    }

    async fn start_worker(&mut self, aegisctl: &Aegisctl) -> anyhow::Result<String> {
        self.transcript.step("Start a worker with a plugin");
        self.cluster.install_plugin()?;
        let [plugins, state_dir, token] =
            ["plugins", "worker", "enrolment.token"].map(|it| self.cluster.argument(it));
        let arguments = [
            "--controller",
            &aegisctl.endpoint,
            "--plugins",
            &plugins,
            "--state-dir",
            &state_dir,
            "--enrolment-token-file",
            &token,
        ];
        self.transcript.command("aegis-worker", &arguments);
        let log = self.cluster.path("worker.log");
        let program = self.cluster.artifacts.binary("aegis-worker");
        let process = Process::start(&program, &arguments.map(str::to_owned), log)?;
        self.cluster.worker = Some(process);

        let by = Instant::now() + PATIENCE;
        loop {
            let nodes = aegisctl.json(&["nodes"]).await?;
            if let Some(node) = nodes[0]["node_id"].as_str()
                && nodes[0]["state"] == "active"
                && nodes[0]["transport"] == "session"
            {
                self.transcript.means(
                    "It made its key, enrolled, proved who it is, registered, and opened a session to the controller.",
                );
                return Ok(node.to_owned());
            }
            let ended = self
                .cluster
                .worker
                .as_mut()
                .map(Process::ended)
                .transpose()?
                .flatten();
            if let Some(status) = ended {
                bail!("the worker ended with {status}");
            }
            ensure!(
                Instant::now() < by,
                "the worker opened no session within {} s; the controller says: {nodes}",
                PATIENCE.as_secs()
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn shut_down(&mut self, aegisctl: &Aegisctl, node: &str) -> anyhow::Result<()> {
        self.transcript.step("Shut the worker down from here");
        let arguments = ["shutdown", node, "--reason", "end of the tour"];
        self.transcript.command("aegisctl", &arguments);
        let answer = aegisctl.run(&arguments).await?;
        ensure!(
            answer.code == Some(0),
            "aegisctl failed\n{}",
            answer.stderr.trim()
        );
        self.transcript.answer(&answer);
        let worker = self
            .cluster
            .worker
            .as_mut()
            .context("the worker was never started")?;
        let status = worker.exit().await.context("the worker did not end")?;
        ensure!(status.success(), "the worker ended with {status}");
        let nodes = aegisctl.json(&["nodes"]).await?;
        ensure!(
            nodes[0]["state"] == "deregistered",
            "the node has not deregistered: {}",
            nodes[0]
        );
        self.transcript
            .lines(&format!("the worker ended with {status}"));
        self.transcript.means(
            "Its shutdown handler drained the node; then it deregistered and exited with 0.",
        );
        Ok(())
    }
}

/// The `state` of each object in a list.
fn states(list: &Value) -> Vec<&str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["state"].as_str())
        .collect()
}
