use std::path::PathBuf;

use aegis_tests::{Answer, Controller, Ctl, PluginDir, Program, Worker, eventually};
use serde_json::Value;
use tempfile::TempDir;

/// Three workers in the order in which a rollout reaches them; the second one
/// refuses every level.
struct Fleet {
    controller: Controller,
    ctl: Ctl,
    workers: Vec<(Worker, Program)>,
    folder: TempDir,
    _plugins: PluginDir,
}

impl Fleet {
    async fn start() -> Self {
        let controller = Controller::start().await;
        let plugins = PluginDir::with(&["stubborn_plugin"]);
        let mut workers = Vec::new();
        for (place, stubborn) in [(1, false), (2, true), (3, false)] {
            let worker = Worker::new(&controller.endpoint())
                .as_node(&format!("{place}0000000-0000-4000-8000-000000000000"))
                .token(&controller.enrolment_token().await)
                .plugins(&plugins)
                .config(&format!(
                    "[plugins.stubborn.config]\nstubborn = {stubborn}\n"
                ));
            let program = worker.start();
            controller.operator().until_session(worker.node_id()).await;
            workers.push((worker, program));
        }
        Self {
            ctl: controller.ctl(),
            controller,
            workers,
            folder: tempfile::tempdir().expect("a temporary directory"),
            _plugins: plugins,
        }
    }

    fn level(&self, level: u32) -> PathBuf {
        let path = self.folder.path().join("config.json");
        let document = format!(r#"{{"plugins": {{"stubborn": {{"level": {level}}}}}}}"#);
        std::fs::write(&path, document).expect("the directory is ours");
        path
    }

    async fn set(&self, level: u32, arguments: &[&str]) -> Answer {
        let file = self.level(level);
        let file = file.to_str().expect("UTF-8");
        let arguments = [&["config", "set", "--all", file], arguments].concat();
        self.ctl.run(&arguments).await
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        self.ctl.json(arguments).await.remove(0)
    }

    /// Waits until `config status` says this of the three.
    async fn until_states(&self, wanted: [&str; 3]) -> Value {
        eventually(&format!("the nodes are {wanted:?}"), async || {
            let status = self.json(&["config", "status"]).await;
            (of_each(&status, "state") == wanted).then_some(status)
        })
        .await
    }
}

fn of_each<'a>(nodes: &'a Value, key: &str) -> Vec<&'a str> {
    let nodes = nodes.as_array().expect("an array");
    nodes
        .iter()
        .map(|it| it[key].as_str().unwrap_or_default())
        .collect()
}

/// The first failure stops it; the controller's end does not change that; and
/// an operator gives it up, or goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_stops_at_the_first_node_that_refuses_its_config() {
    let mut fleet = Fleet::start().await;
    let old = fleet.set(0, &[]).await;
    assert_eq!(old.code, 0, "{old:#?}");
    let status = fleet.until_states(["active", "active", "active"]).await;
    let old = of_each(&status, "active_version")[0].to_owned();

    let answer = fleet.set(1, &["--batch", "1"]).await;
    assert_eq!(answer.code, 1, "{answer:#?}");
    assert!(
        answer.stderr.contains("The rollout has stopped"),
        "{answer:#?}"
    );

    fleet.controller.restart().await;
    for (worker, _) in &fleet.workers {
        fleet
            .controller
            .operator()
            .until_session(worker.node_id())
            .await;
    }
    let status = fleet.until_states(["active", "failed", "held"]).await;
    let active = of_each(&status, "active_version");
    assert_ne!(active[0], old);
    assert_eq!(active[1..], [old.as_str(), old.as_str()]);
    assert_eq!(status[1]["failed_step"], "apply");
    let why = status[1]["reason"].as_str().expect("a reason");
    assert!(why.contains("not to this node's liking"), "{why}");
    let rollout = fleet.json(&["config", "rollout", "show"]).await;
    assert_eq!(rollout["state"], "stopped");
    assert_eq!(
        of_each(&rollout["nodes"], "state"),
        ["active", "failed", "waiting"]
    );

    let id = rollout["rollout_id"].as_str().expect("an id");
    fleet
        .json(&["config", "rollout", "abort", id, "--reason", "no"])
        .await;
    let status = fleet.until_states(["active", "active", "active"]).await;
    assert_eq!(of_each(&status, "active_version"), [old.as_str(); 3]);
    let history = fleet.json(&["config", "history", "--all"]).await;
    assert_eq!(history.as_array().map(Vec::len), Some(3));
    assert_eq!(history[1]["rollout_id"], *id);
}

/// What has failed is accepted by whoever resumes, and the rest gets it, also
/// those that were away.
#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_rollout_reaches_the_others_and_those_that_come_back() {
    let mut fleet = Fleet::start().await;
    let answer = fleet
        .set(1, &["--batch", "2", "--node-timeout", "20s"])
        .await;
    assert_eq!(answer.code, 1, "{answer:#?}");
    let rollout = fleet.json(&["config", "rollout", "show"]).await;
    assert_eq!(
        of_each(&rollout["nodes"], "state"),
        ["active", "failed", "waiting"]
    );
    let id = rollout["rollout_id"].as_str().expect("an id");

    let (worker, program) = fleet.workers.last_mut().expect("three of them");
    program.kill().await;
    let resumed = fleet.ctl.spawn(&["config", "rollout", "resume", id]);
    resumed.says("batch 2").await;
    *program = worker.start();
    let mut resumed = resumed;
    assert_eq!(resumed.exit_code().await, 1, "one of them failed");
    assert!(resumed.text().contains("completed"), "{}", resumed.text());
    fleet.until_states(["active", "failed", "active"]).await;
}
