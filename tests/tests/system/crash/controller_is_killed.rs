use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use aegis_proto::{
    operator::v1::{
        CancelCommandRequest, CommandView, ListCommandsRequest, ListNodesRequest, Selector,
        SetConfigRequest, ShowConfigRequest, SubmitCommandRequest, selector::Selector as Choice,
    },
    worker::v1::CommandState,
};
use aegis_tests::{Controller, Operator, PluginDir, Program, Rounds, Worker};
use serde_json::{Value, json};

/// Every labelled point, and how often a controller passes it in a round, about.
const POINTS: [(&str, u64); 17] = [
    ("submit.committing", 7),
    ("submit.committed", 7),
    ("deliver.committing", 4),
    ("deliver.committed", 4),
    ("deliver.sent", 6),
    ("accepted.stored", 2),
    ("running.stored", 2),
    ("result.committing", 3),
    ("result.committed", 3),
    ("result.settled", 3),
    ("result.acknowledged", 3),
    ("cancel.committing", 1),
    ("cancel.committed", 1),
    ("expire.committing", 1),
    ("expire.committed", 1),
    ("config.committing", 1),
    ("config.committed", 1),
];

/// What each round submits; what waits is cancelled.
const COMMANDS: [(&str, bool); 6] = [
    ("effect.once", false),
    ("effect.again", false),
    ("effect.once", false),
    ("effect.again", true),
    ("effect.once", true),
    ("effect.again", false),
];

/// One command that somebody wants, whatever happens to the controller.
struct Wish {
    request: SubmitCommandRequest,
    /// It waits until it is cancelled.
    waits: bool,
    /// As the first answer named it.
    group: Option<String>,
    id: Option<String>,
    cancelled: bool,
}

/// Everything that outlives a round.
struct World {
    controller: Controller,
    operator: Operator,
    node: String,
    /// A node that never takes what it is sent.
    absent: String,
    marks: PathBuf,
    wishes: Vec<Wish>,
    /// What was seen of commands that had ended.
    ended: BTreeMap<String, CommandView>,
    /// The config that was confirmed last, and the newest that was tried.
    config: (u64, u64),
}

/// A controller that is killed at every point, again and again, under a worker
/// that lives: all that it said yes to ends once and for good, is carried out as
/// its handler declares, and repeats of a request do nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_controller_is_killed_it_keeps_its_word() {
    let mut rounds = Rounds::begin("AEGIS_CRASH_ROUNDS", 68);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (mut world, _running) = World::begin(folder.path()).await;
    let mut killed: BTreeMap<&str, u32> = BTreeMap::new();
    for round in 0..rounds.count {
        let (point, most) = POINTS[round % POINTS.len()];
        let target = format!("{point}:{}", 1 + rounds.below(most));
        let environment = [("AEGIS_KILL_POINT".to_owned(), target)];
        world.controller.restart_with(&environment).await;
        world.wish(round);
        if world.round(round).await {
            *killed.entry(point).or_default() += 1;
        }
    }
    world.controller.restart_with(&[]).await;
    world.operator.until_session(&world.node).await;
    world.end().await;
    eprintln!("killed: {killed:?}");
    let missed: Vec<_> = POINTS
        .iter()
        .map(|(point, _)| *point)
        .filter(|point| !killed.contains_key(point))
        .collect();
    assert!(
        missed.is_empty() || rounds.count < 4 * POINTS.len(),
        "no controller was ever killed at {missed:?}: {killed:?}"
    );
}

impl World {
    async fn begin(folder: &Path) -> (Self, (Worker, Program, PluginDir)) {
        let config = folder.join("controller.toml");
        let toml = "[lifecycle]\nsweep_interval = \"50ms\"\n";
        std::fs::write(&config, toml).expect("the directory is ours");
        let config = config.display().to_string();
        let controller = Controller::start_with(&["--config", &config]).await;
        let operator = controller.operator();
        let absent = controller.fixed_client().await.node_id;
        let plugins = PluginDir::with(&["unruly_plugin"]);
        let worker = Worker::new(&controller.endpoint())
            .token(&controller.enrolment_token().await)
            .plugins(&plugins)
            .replace("[lifecycle]\n", "[lifecycle]\nmax_backoff = \"20ms\"\n")
            .config("[handlers.\"effect.again\"]\nconcurrency = 64\n")
            .config("[handlers.\"effect.once\"]\nconcurrency = 64\n");
        let program = worker.start();
        operator.until_session(worker.node_id()).await;
        let world = Self {
            operator,
            node: worker.node_id().to_owned(),
            absent,
            marks: folder.join("marks"),
            wishes: Vec::new(),
            ended: BTreeMap::new(),
            config: (0, 0),
            controller,
        };
        (world, (worker, program, plugins))
    }

    /// Wants more commands.
    fn wish(&mut self, round: usize) {
        let never = self.marks.with_extension("never");
        for (name, waits) in COMMANDS {
            let mut payload = json!({ "file": self.marks });
            if waits {
                payload["until"] = json!(never);
            }
            let request = request(&self.node, name, &payload);
            self.wishes.push(Wish::new(request, waits));
        }
        if POINTS[round % POINTS.len()].0.starts_with("expire") || round.is_multiple_of(8) {
            let mut late = request(&self.absent, "shutdown", &json!({}));
            late.start_by = Some(soon());
            self.wishes.push(Wish::new(late, false));
        }
    }

    /// Asks for everything that is wanted until the controller has died or has
    /// nothing left to do. Returns whether it died by itself.
    async fn round(&mut self, round: usize) -> bool {
        let configures = POINTS[round % POINTS.len()].0.starts_with("config") || round % 8 == 1;
        let mut configured = !configures;
        let patience = Instant::now() + Duration::from_secs(30);
        while self.controller.program.runs() {
            assert!(
                Instant::now() < patience,
                "a controller neither dies nor comes to an end"
            );
            if !configured {
                configured = self.configure().await;
            }
            if self.ask().await && configured && self.is_done().await {
                // It may still be on its way to the point.
                tokio::time::sleep(Duration::from_millis(20)).await;
                return !self.controller.program.runs();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// Submits what was not answered, and cancels what waits. Returns whether
    /// everything was answered.
    async fn ask(&mut self) -> bool {
        let mut all = true;
        for wish in &mut self.wishes {
            if wish.id.is_none() {
                all &= wish.submit(&self.operator).await;
            }
        }
        for wish in &mut self.wishes {
            if let (true, false, Some(id)) = (wish.waits, wish.cancelled, &wish.id) {
                let request = CancelCommandRequest {
                    command_id: id.clone(),
                    reason: "enough".into(),
                };
                wish.cancelled = self
                    .operator
                    .rpc
                    .clone()
                    .cancel_command(request)
                    .await
                    .is_ok();
                all &= wish.cancelled;
            }
        }
        all
    }

    /// Sets the config of the node that is away.
    async fn configure(&mut self) -> bool {
        self.config.1 += 1;
        let request = SetConfigRequest {
            selector: only(&self.absent),
            document: json!({ "number": self.config.1 }).to_string().into_bytes(),
            ..SetConfigRequest::default()
        };
        let set = self.operator.rpc.clone().set_config(request).await.is_ok();
        if set {
            self.config.0 = self.config.1;
        }
        set
    }

    /// Whether every command of the worker, and every one that expires, has
    /// ended. What was seen to have ended must not change.
    async fn is_done(&mut self) -> bool {
        let request = ListNodesRequest::default();
        let Ok(nodes) = self.operator.rpc.clone().list_nodes(request).await else {
            return false;
        };
        let done = nodes.into_inner().nodes.iter().all(|node| {
            let info = node.info.as_ref().expect("a node has it");
            // Config for the node that is away stays queued.
            node.queued_commands == 0
                || (info.node_id == self.absent && node.queued_commands == 1 && self.config.1 > 0)
        });
        let request = ListCommandsRequest {
            limit: 1000,
            ..ListCommandsRequest::default()
        };
        if let Ok(commands) = self.operator.rpc.clone().list_commands(request).await {
            for command in commands.into_inner().commands {
                self.see(command);
            }
        }
        done
    }

    fn see(&mut self, command: CommandView) {
        if command.state() < CommandState::Succeeded {
            let before = self.ended.get(&command.command_id);
            assert!(before.is_none(), "{before:#?} lives again: {command:#?}");
            return;
        }
        let first = self
            .ended
            .entry(command.command_id.clone())
            .or_insert_with(|| command.clone());
        assert_eq!(
            (first.state, &first.finished_at, first.attempt, &first.error),
            (
                command.state,
                &command.finished_at,
                command.attempt,
                &command.error
            ),
            "an outcome changed: {command:#?}"
        );
    }

    /// Nothing is killed any more: everything comes to its end.
    async fn end(&mut self) {
        assert!(self.ask().await, "a controller that lives answers");
        for index in 0..self.wishes.len() {
            let wish = &self.wishes[index];
            let id = wish.id.clone().expect("all was answered");
            let outcome = self.operator.outcome(&id).await;
            wish.check(&outcome);
            wish.repeat(&self.operator).await;
        }
        // Nothing runs any more.
        let marks = std::fs::read_to_string(&self.marks).expect("some ran");
        let mut lines = BTreeSet::new();
        for id in marks.lines() {
            assert!(lines.insert(id), "{id} ran twice under a worker that lives");
        }
        let ids: Vec<_> = self.wishes.iter().filter_map(|it| it.id.clone()).collect();
        for id in &ids {
            let outcome = self.operator.command(id).await.command.expect("it is kept");
            if outcome.state() == CommandState::Succeeded {
                let absent = outcome.node_id == self.absent;
                assert!(
                    absent || lines.contains(id.as_str()),
                    "it never ran: {outcome:#?}"
                );
            }
            self.see(outcome);
        }
        let wanted: BTreeSet<_> = ids.iter().map(String::as_str).collect();
        assert!(
            lines.is_subset(&wanted),
            "something ran that nobody asked for"
        );
        self.check_config().await;
    }

    async fn check_config(&self) {
        let request = ShowConfigRequest {
            selector: only(&self.absent),
        };
        let shown = self.operator.rpc.clone().show_config(request).await;
        let merged = shown.expect("the config").into_inner().merged;
        let merged: Value = serde_json::from_slice(&merged).expect("JSON");
        let number = merged["number"].as_u64().expect("a number");
        assert!(
            (self.config.0..=self.config.1).contains(&number),
            "{number} is not from {:?}",
            self.config
        );
    }
}

impl Wish {
    fn new(request: SubmitCommandRequest, waits: bool) -> Self {
        Self {
            request,
            waits,
            group: None,
            id: None,
            cancelled: false,
        }
    }

    async fn submit(&mut self, operator: &Operator) -> bool {
        let mut answer = operator
            .rpc
            .clone()
            .submit_command(self.request.clone())
            .await;
        let too_late = |status: &tonic::Status| status.message().contains("start_by");
        if answer.as_ref().is_err_and(too_late) {
            // It was never committed, and its time has passed: it is wanted anew.
            self.request.start_by = Some(soon());
            self.request.request_id = uuid::Uuid::new_v4().to_string();
            answer = operator
                .rpc
                .clone()
                .submit_command(self.request.clone())
                .await;
        }
        let Ok(answer) = answer else { return false };
        let answer = answer.into_inner();
        assert_eq!(answer.commands.len(), 1);
        self.group = Some(answer.group_id);
        self.id = Some(answer.commands[0].command_id.clone());
        true
    }

    /// The same request once more.
    async fn repeat(&self, operator: &Operator) {
        let answer = operator
            .rpc
            .clone()
            .submit_command(self.request.clone())
            .await;
        let answer = answer.expect("a repeat is answered").into_inner();
        assert_eq!(Some(&answer.group_id), self.group.as_ref());
        let ids: Vec<_> = answer.commands.iter().map(|it| &it.command_id).collect();
        assert_eq!(ids, [self.id.as_ref().expect("it was answered")]);
    }

    fn check(&self, outcome: &CommandView) {
        let wanted = match (self.waits, self.request.start_by.is_some()) {
            (true, _) => CommandState::Cancelled,
            (_, true) => CommandState::Expired,
            _ => CommandState::Succeeded,
        };
        assert_eq!(outcome.state(), wanted, "{outcome:#?}");
        assert!(!outcome.receipt.is_empty() || wanted != CommandState::Succeeded);
    }
}

fn soon() -> prost_types::Timestamp {
    (SystemTime::now() + Duration::from_millis(150)).into()
}

fn request(node: &str, name: &str, payload: &Value) -> SubmitCommandRequest {
    SubmitCommandRequest {
        selector: only(node),
        name: name.into(),
        payload: payload.to_string().into_bytes(),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..SubmitCommandRequest::default()
    }
}

fn only(node: &str) -> Option<Selector> {
    Some(Selector {
        selector: Some(Choice::Node(node.to_owned())),
    })
}

/// The points are those that the controller has.
#[test]
fn every_point_of_the_controller_is_tried() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../controller/src");
    let mut found = BTreeSet::new();
    collect(&source, &mut found);
    let tried: BTreeSet<_> = POINTS
        .iter()
        .map(|(point, _)| (*point).to_owned())
        .collect();
    assert_eq!(found, tried);
}

fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("source");
        for rest in text.split("kill_point!(\"").skip(1) {
            let label = rest.split('"').next().expect("a label");
            found.insert(label.to_owned());
        }
    }
}
