use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt};

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{
    clock::BootInstant,
    config::model::PluginConfig,
    control::{CandidateConfig, ConfigControl, CurrentConfig, RejectedConfig},
};

mod probation;
mod schedules;

/// How long a config is on probation here, by the clock that tests give.
const PROBATION: Duration = Duration::from_secs(60);

/// Plugins that keep what they are given, and refuse `{"bad": true}`.
#[derive(Default)]
struct Fake {
    configs: Mutex<BTreeMap<String, Value>>,
    log: Mutex<Vec<String>>,
    conditions: Mutex<BTreeMap<String, Condition>>,
}

impl PluginConfigs for Fake {
    fn is_loaded(&self, plugin: &str) -> bool {
        plugin == "alpha" || plugin == "beta"
    }

    fn reconfigure(&self, plugin: &str, config: &Value) -> Result<(), HandlerError> {
        lock(&self.log).push(plugin.to_owned());
        if config.get("bad").is_some() {
            return Err(HandlerError::new("bad-config", "`bad` is set"));
        }
        lock(&self.configs).insert(plugin.to_owned(), config.clone());
        Ok(())
    }

    fn condition(&self, plugin: &str) -> Condition {
        lock(&self.conditions)
            .get(plugin)
            .cloned()
            .unwrap_or_default()
    }
}

struct Node {
    dir: TempDir,
    pushed: Arc<PushedConfig>,
    requests: mpsc::Receiver<SyncRequest>,
    plugins: Arc<Fake>,
    _attached: Arc<dyn PluginConfigs>,
}

impl Node {
    fn new() -> Self {
        Self::at(TempDir::new().expect("a directory"))
    }

    fn at(dir: TempDir) -> Self {
        let own = json!({ "colour": "red" });
        let local = PluginsConfig {
            by_name: BTreeMap::from([(
                "beta".to_owned(),
                PluginConfig {
                    config: object(own),
                    ..PluginConfig::default()
                },
            )]),
            ..PluginsConfig::default()
        };
        let (pushed, requests) =
            PushedConfig::open_with(options(&dir, local), Duration::from_millis(20))
                .expect("opens");
        let plugins = Arc::new(Fake::default());
        let attached: Arc<dyn PluginConfigs> = Arc::clone(&plugins) as _;
        pushed.attach(&attached);
        Self {
            dir,
            pushed,
            requests,
            plugins,
            _attached: attached,
        }
    }

    /// The process dies, and another one starts.
    fn crash(self) -> Self {
        Self::at(self.dir)
    }

    /// The process ends as it should, and another one starts.
    fn restart(self) -> Self {
        self.pushed.put_off();
        Self::at(self.dir)
    }

    /// Looks every second for as long as anything is on trial, ten minutes at
    /// the most.
    fn look(&self, in_place: bool) {
        for second in 0..600 {
            let signs = Signs {
                in_place,
                unhealthy: None,
                heartbeats: second,
            };
            self.pushed
                .look(&signs, BootInstant::after_boot(Duration::from_secs(second)));
        }
        assert!(!self.pushed.is_on_trial());
    }

    /// Pushes a config that does the node good.
    fn push_good(&self, version: &str, document: Value) {
        self.push(version, document).expect("applied");
        self.look(true);
    }

    /// What the push-config plugin does, but for the acknowledgement.
    fn push(&self, version: &str, document: Value) -> Result<(), (&'static str, HandlerError)> {
        let candidate = CandidateConfig {
            version: version.to_owned(),
            document: object(document),
        };
        let done = self
            .pushed
            .validate(&candidate)
            .map_err(|error| ("validate", error))
            .and_then(|()| {
                self.pushed
                    .store(&candidate)
                    .map_err(|error| ("store", error))
            })
            .and_then(|()| self.pushed.apply(version).map_err(|error| ("apply", error)));
        if let Err((step, error)) = &done {
            let rejected = RejectedConfig {
                version: version.to_owned(),
                step: (*step).to_owned(),
                reason: error.to_string(),
            };
            self.pushed.reject(rejected).expect("remembered");
        }
        done
    }

    fn refused_at(&self, version: &str, document: Value) -> &'static str {
        self.push(version, document).expect_err("refused").0
    }

    fn version(&self) -> String {
        self.pushed.current().version
    }

    fn rejected(&self) -> Option<(String, String)> {
        let rejected = self.pushed.current().rejected?;
        Some((rejected.version, rejected.step))
    }

    fn state(&self) -> ConfigState {
        self.pushed.status().borrow().clone()
    }

    fn config_of(&self, plugin: &str) -> Option<Value> {
        lock(&self.plugins.configs).get(plugin).cloned()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("pushed-config").join(name)
    }
}

fn options(dir: &TempDir, local: PluginsConfig) -> PushedConfigOptions {
    PushedConfigOptions {
        state_dir: dir.path().to_owned(),
        local,
        probation: PROBATION,
        log_tail: LogTail::default(),
    }
}

fn object(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().expect("an object").clone()
}

#[test]
fn a_good_config_is_in_force_at_once_and_after_a_restart() {
    let node = Node::new();
    let mut settings = node.pushed.settings();
    let mut team = node.pushed.subscribe("team");
    node.push(
        "v1",
        json!({
            "worker": { "heartbeat_interval": "10s", "handlers": { "greet": { "concurrency": 1 } } },
            "plugins": { "alpha": { "size": 1 } },
            "team": "blue",
        }),
    )
    .expect("applied");
    let check = |node: &Node| {
        assert_eq!((node.version().as_str(), node.rejected()), ("v1", None));
        assert_eq!(node.config_of("alpha"), Some(json!({ "size": 1 })));
        let state = node.state();
        assert_eq!(
            (state.active_version.as_str(), state.attempt_succeeded),
            ("v1", true)
        );
    };
    check(&node);
    assert_eq!(
        settings.borrow_and_update().heartbeat_interval,
        Some(Duration::from_secs(10))
    );
    assert_eq!(*team.borrow_and_update(), Some(json!("blue")));
    let mode = fs::metadata(node.file("trial.json"))
        .expect("stored")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let node = node.restart();
    check(&node);
    assert_eq!(
        node.pushed.settings().borrow().handlers["greet"].concurrency,
        Some(1)
    );
    assert_eq!(*node.pushed.subscribe("team").borrow(), Some(json!("blue")));
}

#[test]
fn what_the_node_cannot_take_is_refused_before_anything_changes() {
    let node = Node::new();
    for (version, bad) in [
        ("unknown key", json!({ "worker": { "heartbeat": "10s" } })),
        (
            "no duration",
            json!({ "worker": { "heartbeat_interval": 10 } }),
        ),
        ("zero", json!({ "worker": { "heartbeat_interval": "0s" } })),
        ("level", json!({ "worker": { "log_level": "loud" } })),
        (
            "name",
            json!({ "worker": { "handlers": { "No Such": {} } } }),
        ),
        (
            "concurrency",
            json!({ "worker": { "handlers": { "greet": { "concurrency": 0 } } } }),
        ),
        (
            "the way back",
            json!({ "worker": { "handlers": { "push-config": { "enabled": false } } } }),
        ),
        ("plugin", json!({ "plugins": { "gamma": {} } })),
        ("shape", json!({ "plugins": { "alpha": 1 } })),
        ("size", json!({ "other": "x".repeat(1 << 20) })),
        ("control\u{7}", json!({})),
        ("", json!({})),
    ] {
        assert_eq!(node.refused_at(version, bad), "validate", "{version}");
    }
    assert!(lock(&node.plugins.log).is_empty());
    assert_eq!(node.pushed.current().version, "");
}

#[test]
fn a_plugin_that_refuses_its_part_leaves_the_last_good_config_in_force() {
    let node = Node::new();
    let good = json!({ "plugins": { "alpha": { "size": 1 } }, "worker": { "log_level": "warn" } });
    node.push_good("v1", good);
    let bad = json!({ "plugins": { "alpha": { "size": 2 }, "beta": { "bad": true } } });
    assert_eq!(node.refused_at("v2", bad.clone()), "apply");
    let check = |node: &Node| {
        assert_eq!(node.config_of("alpha"), Some(json!({ "size": 1 })));
        assert_eq!(
            node.pushed.settings().borrow().log_level.as_deref(),
            Some("warn")
        );
        let state = node.state();
        assert_eq!(state.active_version, "v1");
        assert_eq!(
            (state.attempted_version.as_str(), state.failed_step.as_str()),
            ("v2", "apply")
        );
        assert!(state.reason.contains("beta"), "{}", state.reason);
        assert_eq!(node.pushed.current().rejected.expect("told").version, "v2");
    };
    check(&node);
    assert!(!node.file("candidate.json").exists());
    // Nor does a restart forget it, or try it again.
    let node = node.restart();
    check(&node);
    lock(&node.plugins.log).clear();
    let (step, error) = node.push("v2", bad).expect_err("not again");
    assert_eq!(
        (step, error.code.as_ref()),
        ("validate", "config-rejected-before")
    );
    assert!(lock(&node.plugins.log).is_empty());
    check(&node);
    // Until it changes.
    node.push("v2", json!({ "plugins": { "alpha": { "size": 2 } } }))
        .expect("applied");
    assert_eq!((node.version().as_str(), node.rejected()), ("v2", None));
}

#[test]
fn a_part_that_is_gone_gives_the_plugin_its_own_config_back() {
    let node = Node::new();
    node.push("v1", json!({ "plugins": { "beta": { "size": 1 } } }))
        .expect("applied");
    assert_eq!(
        node.config_of("beta"),
        Some(json!({ "size": 1, "colour": "red" }))
    );
    node.push("v2", json!({})).expect("applied");
    assert_eq!(node.config_of("beta"), Some(json!({ "colour": "red" })));
}

#[test]
fn a_key_of_the_nodes_own_config_is_not_overruled() {
    let node = Node::new();
    let (step, refused) = node
        .push("v1", json!({ "plugins": { "beta": { "colour": "blue" } } }))
        .expect_err("it would be without effect");
    assert_eq!((step, &*refused.code), ("validate", "local-config-only"));
    assert!(refused.message.contains("plugins.beta.colour"), "{refused}");
    node.push(
        "v2",
        json!({ "plugins": { "beta": { "colour": "red", "size": 1 } } }),
    )
    .expect("it changes nothing of the node's own");
    assert_eq!(
        node.config_of("beta"),
        Some(json!({ "colour": "red", "size": 1 }))
    );
}

#[test]
fn a_damaged_file_is_set_aside_and_no_version_is_claimed() {
    for damage in [
        "",
        "{\"version\":\"v1\"",
        "{\"version\":\"v2\",\"sha256\":\"00\",\"document\":{}}",
    ] {
        let node = Node::new();
        node.push_good("v1", json!({ "team": "blue" }));
        fs::write(node.file("active.json"), damage).expect("written");
        fs::write(node.file("rejected.json"), damage).expect("written");
        let node = node.restart();
        assert_eq!(node.pushed.current(), CurrentConfig::default());
        let state = node.state();
        assert_eq!(state.active_version, "");
        assert!(state.reason.contains("set aside"), "{}", state.reason);
        let aside = fs::read_dir(node.file(""))
            .expect("listed")
            .filter(|entry| {
                let name = entry.as_ref().expect("an entry").file_name();
                name.to_string_lossy().contains("damaged")
            });
        assert_eq!(aside.count(), 2);
        node.push("v1", json!({ "team": "blue" }))
            .expect("applied anew");
    }
}

#[test]
fn a_last_good_config_that_a_plugin_no_longer_takes_is_not_claimed() {
    let node = Node::new();
    node.push_good(
        "v1",
        json!({ "worker": { "log_level": "warn" }, "plugins": { "alpha": {} } }),
    );
    let (dir, local) = (node.dir, PluginsConfig::default());
    let (pushed, _requests) = PushedConfig::open(options(&dir, local)).expect("opens");
    struct Nobody;
    impl PluginConfigs for Nobody {
        fn is_loaded(&self, _: &str) -> bool {
            false
        }
        fn reconfigure(&self, _: &str, _: &Value) -> Result<(), HandlerError> {
            Ok(())
        }
        fn condition(&self, _: &str) -> Condition {
            Condition::default()
        }
    }
    let nobody: Arc<dyn PluginConfigs> = Arc::new(Nobody);
    pushed.attach(&nobody);
    assert_eq!(pushed.current().version, "");
    assert_eq!(pushed.status().borrow().failed_step, "apply");
    // What narrows the node stays in force.
    assert_eq!(
        pushed.settings().borrow().log_level.as_deref(),
        Some("warn")
    );
}

#[test]
fn a_config_that_can_not_be_made_durable_is_undone() {
    let node = Node::new();
    node.push("v1", json!({ "plugins": { "alpha": { "size": 1 } } }))
        .expect("applied");
    let candidate = CandidateConfig {
        version: "v2".to_owned(),
        document: object(json!({ "plugins": { "alpha": { "size": 2 } } })),
    };
    node.pushed.validate(&candidate).expect("valid");
    node.pushed.store(&candidate).expect("stored");
    fs::remove_file(node.file("candidate.json")).expect("removed");
    node.pushed.apply("v2").expect_err("not durable");
    assert_eq!(node.config_of("alpha"), Some(json!({ "size": 1 })));
    assert_eq!(node.pushed.current().version, "v1");
}

#[test]
fn only_what_was_stored_is_applied_and_only_what_is_in_force_acknowledged() {
    let node = Node::new();
    assert_eq!(
        node.pushed.apply("v1").expect_err("not stored").code,
        "config-not-stored"
    );
    assert_eq!(
        node.pushed.acknowledge("v1").expect_err("not applied").code,
        "config-not-applied"
    );
}

#[test]
fn an_acknowledgement_waits_for_the_controllers_answer_even_on_a_runtimes_thread() {
    let mut node = Node::new();
    node.push("v1", json!({})).expect("applied");
    // Nobody answers in time; the config stays in force and the version is not
    // remembered as rejected.
    let error = node.pushed.acknowledge("v1").expect_err("unanswered");
    assert_eq!(error.code, "not-acknowledged");
    let rejected = RejectedConfig {
        version: "v1".to_owned(),
        step: "acknowledge".to_owned(),
        reason: error.to_string(),
    };
    node.pushed.reject(rejected).expect("told");
    assert_eq!((node.version().as_str(), node.rejected()), ("v1", None));
    assert_eq!(node.state().failed_step, "acknowledge");
    node.requests
        .try_recv()
        .expect("the request that timed out");

    let (sync, mut requests) = mpsc::channel::<SyncRequest>(1);
    let controller = std::thread::spawn(move || {
        let request = requests.blocking_recv().expect("a request");
        request.reply.send(Ok(())).expect("someone waits");
        request.version
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        acknowledge::wait(&sync, "v1", Duration::from_secs(60)).expect("heard");
    });
    assert_eq!(controller.join().expect("no panic"), "v1");
}
