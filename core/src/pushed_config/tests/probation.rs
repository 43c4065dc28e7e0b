//! Configs that come into force and do the node no good.

use super::*;

fn good() -> Value {
    json!({
        "plugins": { "alpha": { "size": 1 }, "beta": { "size": 1 } },
        "worker": { "log_level": "warn" },
        "team": "blue",
    })
}

fn bad() -> Value {
    json!({ "plugins": { "alpha": { "size": 2 } }, "team": "red" })
}

/// Wholly back at what `good` says.
fn is_back(node: &Node) {
    assert_eq!(node.version(), "v1");
    assert_eq!(node.config_of("alpha"), Some(json!({ "size": 1 })));
    assert_eq!(
        node.config_of("beta"),
        Some(json!({ "size": 1, "colour": "red" }))
    );
    let settings = node.pushed.settings().borrow().clone();
    assert_eq!(settings.log_level.as_deref(), Some("warn"));
    assert_eq!(*node.pushed.subscribe("team").borrow(), Some(json!("blue")));
    assert!(!node.pushed.is_on_trial());
    for file in ["candidate.json", "trial.json", "pending.json"] {
        assert!(!node.file(file).exists(), "{file}");
    }
}

/// The controller hears which one failed, at which step, and what is in force.
fn is_told(node: &Node, step: &str, why: &str) {
    let state = node.state();
    assert_eq!(
        (state.active_version.as_str(), state.attempt_succeeded),
        ("v1", false)
    );
    assert_eq!(
        (state.attempted_version.as_str(), state.failed_step.as_str()),
        ("v2", step)
    );
    assert!(state.reason.contains(why), "{}", state.reason);
    assert_eq!(state.rolled_back_to, "v1");
}

#[test]
fn a_node_that_does_not_do_well_goes_back_for_good() {
    let mut node = Node::new();
    node.push_good("v1", good());
    node.push("v2", bad()).expect("applied");
    assert_eq!(node.config_of("alpha"), Some(json!({ "size": 2 })));
    node.look(false);
    is_back(&node);
    is_told(&node, "health", "could not reach its controller");
    let request = node.requests.try_recv().expect("the controller is told");
    assert_eq!(request.version, "v1");
    // Whoever still tries to acknowledge it does not hide that.
    let unheard = RejectedConfig {
        version: "v2".to_owned(),
        step: "acknowledge".to_owned(),
        reason: "it is not in force".to_owned(),
    };
    node.pushed.acknowledge("v2").expect_err("not in force");
    node.pushed.reject(unheard).expect("noted");
    is_told(&node, "health", "could not reach its controller");
    // Nor is it tried again, now or after a crash, until it changes.
    assert_eq!(node.refused_at("v2", bad()), "validate");
    is_back(&node);
    is_told(&node, "health", "could not reach its controller");
    let node = node.crash();
    is_back(&node);
    is_told(&node, "health", "could not reach its controller");
    assert_eq!(node.refused_at("v2", bad()), "validate");
    let mut other = bad();
    other["team"] = json!("green");
    node.push("v2", other).expect("applied");
}

#[test]
fn a_plugin_that_fails_or_panics_under_its_new_settings_undoes_them() {
    let failed = Condition {
        panics: 0,
        failure: Some("it does not restart".to_owned()),
    };
    let panicked = Condition {
        panics: 8,
        failure: None,
    };
    for (condition, why) in [(failed, "does not restart"), (panicked, "panicked")] {
        let node = Node::new();
        // Panics from before are forgiven.
        let before = Condition {
            panics: 7,
            failure: None,
        };
        for plugin in ["alpha", "beta"] {
            lock(&node.plugins.conditions).insert(plugin.to_owned(), before.clone());
        }
        node.push_good("v1", good());
        node.push("v2", bad()).expect("applied");
        let look = |node: &Node| {
            let signs = Signs {
                in_place: true,
                ..Signs::default()
            };
            node.pushed.look(&signs, BootInstant::default());
        };
        look(&node);
        assert_eq!(node.version(), "v2");
        lock(&node.plugins.conditions).insert("alpha".to_owned(), condition);
        look(&node);
        is_back(&node);
        is_told(&node, "health", why);
    }
}

#[test]
fn a_plugin_that_kept_its_settings_is_no_reason_to_go_back() {
    let node = Node::new();
    node.push_good("v1", good());
    let mut document = good();
    document["plugins"]["alpha"] = json!({ "size": 2 });
    node.push("v2", document).expect("applied");
    let condition = Condition {
        panics: 1,
        failure: None,
    };
    lock(&node.plugins.conditions).insert("beta".to_owned(), condition);
    node.look(true);
    assert_eq!(node.version(), "v2");
}

#[test]
fn a_process_that_dies_on_probation_is_followed_by_one_with_the_last_good_config() {
    let node = Node::new();
    node.push_good("v1", good());
    node.push("v2", bad()).expect("applied");
    let node = node.crash();
    is_back(&node);
    is_told(&node, "health", "process died");
    assert_eq!(node.refused_at("v2", bad()), "validate");
    // Nor does anything come back that was pushed before there was a good one.
    let node = Node::new();
    node.push("v1", good()).expect("applied");
    let node = node.crash();
    assert_eq!(node.version(), "");
    assert_eq!(node.config_of("alpha"), None);
    assert_eq!(node.state().rolled_back_to, "");
    assert_eq!(
        node.rejected(),
        Some(("v1".to_owned(), "health".to_owned()))
    );
}

#[test]
fn a_plugin_that_takes_the_process_with_it_does_so_once() {
    let node = Node::new();
    node.push_good("v1", good());
    // As it stands while the plugins are given their parts.
    let candidate = CandidateConfig {
        version: "v2".to_owned(),
        document: object(bad()),
    };
    node.pushed.validate(&candidate).expect("valid");
    node.pushed.store(&candidate).expect("stored");
    node.pushed.files.begin_trial().expect("marked");
    let node = node.crash();
    is_back(&node);
    is_told(&node, "health", "process died");
    assert_eq!(node.refused_at("v2", bad()), "validate");
}

#[test]
fn a_death_before_anything_was_in_force_rejects_nothing() {
    let node = Node::new();
    node.push_good("v1", good());
    let candidate = CandidateConfig {
        version: "v2".to_owned(),
        document: object(bad()),
    };
    node.pushed.store(&candidate).expect("stored");
    let node = node.crash();
    is_back(&node);
    assert_eq!(node.rejected(), None);
    node.push("v2", bad()).expect("tried anew");
}

#[test]
fn a_death_between_the_rejection_and_the_way_back_changes_nothing() {
    let node = Node::new();
    node.push_good("v1", good());
    node.push("v2", bad()).expect("applied");
    let trial = fs::read(node.file("trial.json")).expect("there");
    node.look(false);
    fs::write(node.file("trial.json"), trial).expect("written");
    let node = node.crash();
    is_back(&node);
    is_told(&node, "health", "could not reach its controller");
}

#[test]
fn an_orderly_end_puts_the_probation_off() {
    let node = Node::new();
    node.push_good("v1", good());
    node.push("v2", bad()).expect("applied");
    let node = node.restart();
    assert_eq!((node.version().as_str(), node.rejected()), ("v2", None));
    assert!(node.pushed.is_on_trial());
    assert_eq!(node.config_of("alpha"), Some(json!({ "size": 2 })));
    // Twice is no different, and a config that came while the worker ended too.
    let node = node.restart();
    node.pushed.put_off();
    let mut last = bad();
    last["team"] = json!("green");
    node.push("v3", last).expect("applied");
    assert!(!node.pushed.is_on_trial(), "the worker ends");
    let node = Node::at(node.dir);
    assert_eq!(node.version(), "v3");
    assert!(node.pushed.is_on_trial());
    node.look(false);
    assert_eq!(node.version(), "v1");
    assert_eq!(node.config_of("alpha"), Some(json!({ "size": 1 })));
    let node = node.crash();
    assert_eq!(node.version(), "v1");
}

#[test]
fn a_config_on_trial_that_a_plugin_refuses_at_the_start_is_undone() {
    let node = Node::new();
    node.push_good("v1", good());
    node.push("v2", bad()).expect("applied");
    node.pushed.put_off();
    let stored = fs::read_to_string(node.file("pending.json")).expect("there");
    let refused = bad();
    let mut document = object(refused);
    document.insert("plugins".to_owned(), json!({ "alpha": { "bad": true } }));
    let pending = Stored::from(&CandidateConfig {
        version: "v2".to_owned(),
        document,
    });
    assert!(stored.contains("\"v2\""));
    let text = serde_json::to_vec(&pending).expect("text");
    fs::write(node.file("pending.json"), text).expect("written");
    let node = Node::at(node.dir);
    is_back(&node);
    is_told(&node, "apply", "alpha");
}

#[test]
fn a_newer_config_takes_the_place_of_one_on_trial_and_the_good_one_is_kept() {
    let node = Node::new();
    node.push_good("v1", good());
    let mut second = good();
    second["plugins"]["beta"] = json!({ "size": 2 });
    node.push("v2", second).expect("applied");
    let mut third = good();
    third["plugins"]["alpha"] = json!({ "bad": true });
    // One that is refused leaves the one on trial in force, and on trial.
    assert_eq!(node.refused_at("v3", third), "apply");
    assert_eq!(node.version(), "v2");
    assert!(node.pushed.is_on_trial() && node.file("trial.json").exists());
    node.push("v4", bad()).expect("applied");
    node.look(false);
    assert_eq!(node.version(), "v1");
    assert_eq!(
        node.config_of("beta"),
        Some(json!({ "size": 1, "colour": "red" }))
    );
    assert_eq!(
        node.rejected(),
        Some(("v4".to_owned(), "health".to_owned()))
    );
    // And the good one pushed again ends the trial of another.
    node.push("v5", json!({ "team": "green" }))
        .expect("applied");
    node.push("v1", good()).expect("applied");
    is_back(&node);
    let node = node.crash();
    is_back(&node);
}

#[test]
fn a_version_is_known_by_its_content_too() {
    let node = Node::new();
    node.push_good("v1", good());
    lock(&node.plugins.log).clear();
    node.push("v1", good()).expect("in force already");
    assert!(lock(&node.plugins.log).is_empty(), "nothing was changed");
    assert!(!node.pushed.is_on_trial());
    let before = node.pushed.current().sha256;
    node.push("v1", bad())
        .expect("another content is another config");
    assert_eq!(node.config_of("alpha"), Some(json!({ "size": 2 })));
    assert!(node.pushed.is_on_trial());
    assert_ne!(node.pushed.current().sha256, before);
    let payload = |document: Value| serde_json::to_vec_pretty(&document).expect("text");
    let seen = |version, payload: &[u8]| node.state().has_seen(version, payload);
    assert!(seen("v1", &payload(bad())));
    assert!(!seen("v1", &payload(good())) && !seen("v2", &payload(bad())) && !seen("v1", b"[]"));
    // Nor is what was rejected taken again before it changes.
    node.look(false);
    assert!(seen("v1", &payload(bad())) && seen("v1", &payload(good())));
    assert!(!seen("v1", &payload(json!({}))));
}

#[test]
fn plugins_that_were_given_back_their_settings_are_told_of() {
    let node = Node::new();
    node.push_good("v1", good());
    let both = json!({ "plugins": { "alpha": { "size": 2 }, "beta": { "bad": true } } });
    assert_eq!(node.refused_at("v2", both), "apply");
    assert_eq!(node.state().rolled_back_to, "v1");
    is_back(&node);
    let first = json!({ "plugins": { "alpha": { "bad": true } } });
    assert_eq!(node.refused_at("v3", first), "apply");
    assert_eq!(
        node.state().rolled_back_to,
        "",
        "nothing had to be restored"
    );
}

#[test]
fn a_rejection_that_was_overtaken_is_not_told_again_after_a_restart() {
    let node = Node::new();
    node.push_good("v1", good());
    let refused = json!({ "plugins": { "alpha": { "bad": true } } });
    assert_eq!(node.refused_at("v2", refused), "apply");
    node.push_good("v3", bad());
    let node = node.crash();
    let state = node.state();
    assert_eq!(
        (state.attempted_version.as_str(), state.attempt_succeeded),
        ("v3", true)
    );
}
