//! The steps between start and end: all through `aegisctl`.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{LOOK_EVERY, PATIENCE};
use crate::{
    aegisctl::{Aegisctl, Answer},
    transcript::Transcript,
};

/// One node and who commands it.
pub struct Guide<'a> {
    pub aegisctl: &'a Aegisctl,
    pub transcript: &'a mut Transcript,
    /// The beginning of the node's id: enough for `aegisctl`.
    pub node: &'a str,
}

impl Guide<'_> {
    /// The node and what it can do.
    pub async fn look(&mut self) -> anyhow::Result<()> {
        self.transcript.step("Look at the node");
        self.shown(&["nodes"]).await?;
        self.transcript
            .means("A node is named by the beginning of its id, here and below.");
        self.shown(&["describe"]).await?;
        let detail = self.aegisctl.json(&["node", "show", self.node]).await?;
        let plugin = find(&detail["plugins"], "name", "hello-plugin")?;
        ensure!(
            plugin["state"] == "active",
            "the plugin is not active: {plugin}"
        );
        ensure!(
            plugin["sha256"].is_string(),
            "the plugin was not loaded from a file: {plugin}"
        );
        for command in ["drain", "push-config", "shutdown", "hello"] {
            let handler = find(&detail["handlers"], "name", command)?;
            ensure!(
                handler["enabled"] == true,
                "`{command}` is not enabled: {handler}"
            );
        }
        self.transcript.means(
            "hello, hello.count and hello.wait come from the plugin's shared library, the rest from plugins that are linked in.",
        );
        Ok(())
    }

    /// The plugin's own command.
    pub async fn run_a_command(&mut self) -> anyhow::Result<()> {
        self.transcript.step("Run the plugin's command");
        let answer = self
            .shown(&["run", self.node, "hello", "--arg", "name=newcomer"])
            .await?;
        let response: Value =
            serde_json::from_str(&answer.stdout).context("the answer is not JSON")?;
        ensure!(
            response["text"] == "hello, newcomer",
            "another greeting was expected: {response}"
        );
        self.transcript.means(
            "The controller kept the command, the worker ran it, its signed result came back.",
        );
        let refused = self
            .ends_with(&["run", self.node, "hello", r#"{"nam": "newcomer"}"#], 2)
            .await?;
        ensure!(
            refused.stderr.contains("name"),
            "the error does not name the field: {}",
            refused.stderr
        );
        self.transcript
            .means("What does not fit the handler's schema is refused before anything is sent.");
        Ok(())
    }

    /// A config layer to the node and back.
    pub async fn push_config(&mut self, file: &Path) -> anyhow::Result<()> {
        self.transcript.step("Push a config");
        let document = json!({ "worker": { "heartbeat_interval": "10s" }, "site": { "rack": 7 } });
        fs::write(file, format!("{document:#}\n")).context("can't write the config file")?;
        let file = file.display().to_string();
        self.transcript.command("cat", &[&file]);
        self.transcript.lines(&format!("{document:#}"));
        self.shown(&["push-config", self.node, &file]).await?;
        let config = self.aegisctl.json(&["config", "show", self.node]).await?;
        ensure!(
            config["merged"] == document,
            "another config was expected: {config}"
        );
        let wanted = &config["merged_version"];
        ensure!(
            wanted.is_string() && config["status"]["active_version"] == *wanted,
            "it is not in force: {config}"
        );
        let commands = self.aegisctl.json(&["commands", self.node]).await?;
        let pushed = find(&commands, "name", "push-config")?;
        ensure!(
            pushed["state"] == "succeeded",
            "the push did not succeed: {pushed}"
        );
        self.transcript.means("The worker checked it, kept it on disk, applied it while running, and acknowledged it.");
        Ok(())
    }

    /// A drain and its end while something runs.
    pub async fn drain_and_undo(&mut self) -> anyhow::Result<()> {
        self.transcript.step("Drain the node while a command runs");
        let long = self
            .shown(&[
                "run",
                self.node,
                "hello.wait",
                "--arg",
                "seconds=600",
                "--detach",
            ])
            .await?;
        let long = long.stdout.trim().to_owned();
        self.until("the long command runs", &["command", "show", &long], |it| {
            it["state"] == "running"
        })
        .await?;
        self.transcript
            .means("A command of ten minutes; --detach leaves it to itself.");

        self.shown(&["drain", self.node, "--reason", "maintenance", "--detach"])
            .await?;
        let waits = |nodes: &Value| {
            let drain = &nodes[0]["drain"];
            nodes[0]["state"] == "draining" && drain["in_flight"][0]["command_id"] == long.as_str()
        };
        self.until("the node drains", &["nodes"], waits).await?;
        self.shown(&["nodes"]).await?;
        self.transcript
            .means("Draining, with one command in flight: it is let finish.");
        let refused = self
            .ends_with(&["run", self.node, "hello", "--arg", "name=newcomer"], 1)
            .await?;
        ensure!(
            refused.stderr.contains("draining"),
            "another reason was expected: {}",
            refused.stderr
        );
        self.transcript
            .means("Meanwhile the node takes no new work and says why.");

        self.transcript.step("Undo the drain");
        self.shown(&["drain", self.node, "--undo"]).await?;
        let nodes = self.aegisctl.json(&["nodes"]).await?;
        ensure!(
            nodes[0]["state"] == "active",
            "the node still drains: {}",
            nodes[0]
        );
        let command = self.aegisctl.json(&["command", "show", &long]).await?;
        ensure!(
            command["state"] == "running",
            "the long command no longer runs: {command}"
        );
        let answer = self
            .shown(&["run", self.node, "hello", "--arg", "name=again"])
            .await?;
        let response: Value =
            serde_json::from_str(&answer.stdout).context("the answer is not JSON")?;
        ensure!(
            response["text"] == "hello, again",
            "another greeting was expected: {response}"
        );
        self.transcript
            .means("New work is accepted again, and the long command never noticed.");

        self.transcript.step("Cancel the long command");
        self.shown(&["command", "cancel", &long, "--reason", "seen enough"])
            .await?;
        self.until(
            "the long command is cancelled",
            &["command", "show", &long],
            |it| it["state"] == "cancelled",
        )
        .await?;
        self.shown(&["commands"]).await?;
        self.transcript
            .means("Everything that was asked of the node, with what became of it.");
        Ok(())
    }

    /// Runs it, shows it; it has to succeed.
    async fn shown(&self, arguments: &[&str]) -> anyhow::Result<Answer> {
        self.ends_with(arguments, 0).await
    }

    /// Runs it, shows it; it has to end with this exit code.
    async fn ends_with(&self, arguments: &[&str], code: i32) -> anyhow::Result<Answer> {
        self.transcript.command("aegisctl", arguments);
        let answer = self.aegisctl.run(arguments).await?;
        if arguments.contains(&"--detach") {
            // The id alone on standard output, then what can be done with it.
            self.transcript.lines(&answer.stdout);
            self.transcript.lines(&answer.stderr);
        } else {
            self.transcript.answer(&answer);
        }
        ensure!(
            answer.code == Some(code),
            "`aegisctl {}` should end with {code} and ended with {:?}",
            arguments.join(" "),
            answer.code
        );
        Ok(answer)
    }

    /// Asks again and again until it is so.
    async fn until(
        &self,
        what: &str,
        arguments: &[&str],
        is_so: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<()> {
        let by = Instant::now() + PATIENCE;
        loop {
            let answer = self.aegisctl.json(arguments).await?;
            if is_so(&answer) {
                return Ok(());
            }
            ensure!(
                Instant::now() < by,
                "waited {} s until {what}; `aegisctl {}` says: {answer}",
                PATIENCE.as_secs(),
                arguments.join(" ")
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// The object of a list whose `key` is `value`.
fn find<'a>(list: &'a Value, key: &str, value: &str) -> anyhow::Result<&'a Value> {
    let mut objects = list.as_array().into_iter().flatten();
    objects
        .find(|it| it[key] == value)
        .with_context(|| format!("no {value:?} in {list}"))
}
