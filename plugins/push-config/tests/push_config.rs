//! The push-config command against a node that is a fake.

use std::sync::{Arc, Mutex};

use aegis_plugin_api::{
    ConfigControl, HandlerError,
    serde_json::{Value, json},
    testing::{Setup, TestPlugin, each_way},
};
use aegis_plugin_push_config as _;

/// `{"worker":{}}`
const DOCUMENT: &str = "eyJ3b3JrZXIiOnt9fQ==";

/// A node that goes through the steps and can be told to fail at one.
#[derive(Default)]
struct Node {
    version: String,
    rejected: Option<Value>,
    fail_at: Option<&'static str>,
    retryable_failures: u32,
    steps: Vec<String>,
}

impl Node {
    fn answer(&mut self, function: &str, request: &Value) -> Result<Value, HandlerError> {
        if function == "current" {
            let sha256 = if self.version.is_empty() { "" } else { "0f" };
            return Ok(json!({
                "version": self.version, "sha256": sha256, "rejected": self.rejected,
            }));
        }
        self.steps.push(function.to_owned());
        if self.fail_at == Some(function) {
            return Err(HandlerError::new("broken", format!("cannot {function}")));
        }
        match function {
            "validate" | "store" => assert_eq!(request["document"], json!({ "worker": {} })),
            "apply" => self.version = request["version"].as_str().expect("a text").to_owned(),
            "acknowledge" if self.retryable_failures > 0 => {
                self.retryable_failures -= 1;
                return Err(HandlerError::new("unreachable", "nobody there").retryable());
            }
            "acknowledge" => assert_eq!(request["version"], json!(self.version)),
            "reject" if request["step"] == "acknowledge" => {}
            "reject" => self.rejected = Some(request.clone()),
            other => panic!("there is no function {other}"),
        }
        Ok(json!({}))
    }
}

fn with(setup: Setup, node: Node) -> (TestPlugin, Arc<Mutex<Node>>) {
    let node = Arc::new(Mutex::new(node));
    let asked = Arc::clone(&node);
    let plugin = setup
        .grant::<ConfigControl>(move |function, request| {
            asked
                .lock()
                .expect("not poisoned")
                .answer(function, &request)
        })
        .start()
        .expect("it starts");
    (plugin, node)
}

fn push(plugin: &TestPlugin, version: &str, payload: &str) -> Result<Value, HandlerError> {
    plugin.call(
        "push-config",
        json!({ "configVersion": version, "configPayload": payload }),
    )
}

#[test]
fn a_good_config_goes_through_every_step_in_order() {
    each_way("push-config", |setup| {
        let (plugin, node) = with(
            setup,
            Node {
                version: "v1".to_owned(),
                ..Node::default()
            },
        );
        let applied = push(&plugin, "v2", DOCUMENT).expect("it is applied");
        let expected =
            json!({ "configVersion": "v2", "alreadyApplied": false, "previousVersion": "v1" });
        assert_eq!(applied, expected);
        let node = node.lock().expect("not poisoned");
        assert_eq!(node.steps, ["validate", "store", "apply", "acknowledge"]);
        assert_eq!((node.version.as_str(), &node.rejected), ("v2", &None));
    });
}

#[test]
fn the_config_in_force_is_told_to_be_applied_already() {
    each_way("push-config", |setup| {
        let (plugin, node) = with(
            setup,
            Node {
                version: "v1".to_owned(),
                ..Node::default()
            },
        );
        let applied = push(&plugin, "v1", DOCUMENT).expect("it is in force already");
        assert_eq!(applied["alreadyApplied"], true);
        assert_eq!(applied["previousVersion"], "v1");
        // Whether it is the same, the node knows.
        let steps = ["validate", "store", "apply", "acknowledge"];
        assert_eq!(node.lock().expect("not poisoned").steps, steps);
    });
}

#[test]
fn a_failed_step_rejects_the_version() {
    for (fail_at, steps) in [
        ("validate", vec!["validate", "reject"]),
        ("store", vec!["validate", "store", "reject"]),
        ("apply", vec!["validate", "store", "apply", "reject"]),
    ] {
        each_way("push-config", |setup| {
            let node = Node {
                fail_at: Some(fail_at),
                ..Node::default()
            };
            let (plugin, node) = with(setup, node);
            let error = push(&plugin, "v1", DOCUMENT).expect_err("a step fails");
            assert_eq!(error.code, "config-rejected");
            assert_eq!(
                error.message,
                format!("config v1 was rejected at step {fail_at}: cannot {fail_at}")
            );
            assert!(!error.retryable);
            {
                let mut node = node.lock().expect("not poisoned");
                assert_eq!(node.steps, steps);
                let rejected = json!({ "version": "v1", "step": fail_at, "reason": format!("cannot {fail_at}") });
                assert_eq!(node.rejected, Some(rejected));
                node.fail_at = None;
            }
            // Whether it is the same and not to be tried again, the node knows.
            push(&plugin, "v1", DOCUMENT).expect("the node takes it now");
        });
    }
}

#[test]
fn a_payload_that_is_no_document_is_rejected_at_its_own_step() {
    each_way("push-config", |setup| {
        let (plugin, node) = with(setup, Node::default());
        for (version, payload) in [("v1", "%%%"), ("v2", "WzFd")] {
            let error = push(&plugin, version, payload).expect_err("it is no document");
            assert!(error.message.contains("rejected at step decode"), "{error}");
        }
        assert_eq!(
            node.lock().expect("not poisoned").steps,
            ["reject", "reject"]
        );
    });
}

#[test]
fn a_controller_that_comes_back_is_told_in_the_end() {
    each_way("push-config", |setup| {
        let (plugin, node) = with(
            setup,
            Node {
                retryable_failures: 1,
                ..Node::default()
            },
        );
        push(&plugin, "v1", DOCUMENT).expect("it is applied and acknowledged");
        let node = node.lock().expect("not poisoned");
        assert_eq!(node.steps[3..], ["acknowledge", "acknowledge"]);
    });
}

#[test]
fn a_config_in_force_is_not_rejected_because_nobody_could_be_told() {
    each_way("push-config", |setup| {
        let node = Node {
            fail_at: Some("acknowledge"),
            ..Node::default()
        };
        let (plugin, node) = with(setup, node);
        let error = push(&plugin, "v1", DOCUMENT).expect_err("it is not acknowledged");
        assert_eq!(error.code, "config-not-acknowledged");
        assert!(error.retryable);
        let node = node.lock().expect("not poisoned");
        assert_eq!(
            node.steps[2..],
            ["apply", "acknowledge", "reject"],
            "it is told"
        );
        assert_eq!((node.version.as_str(), &node.rejected), ("v1", &None));
    });
}

#[test]
fn a_config_needs_a_version() {
    each_way("push-config", |setup| {
        let (plugin, node) = with(setup, Node::default());
        let error = push(&plugin, "", DOCUMENT).expect_err("it has none");
        assert_eq!(error.code, "invalid-payload");
        assert!(node.lock().expect("not poisoned").steps.is_empty());
    });
}

#[test]
fn snake_case_is_taken_too() {
    each_way("push-config", |setup| {
        let (plugin, _) = with(setup, Node::default());
        let payload = json!({ "config_version": "v1", "config_payload": DOCUMENT });
        plugin.call("push-config", payload).expect("it is applied");
    });
}

#[test]
fn it_does_not_start_without_its_grant() {
    each_way("push-config", |setup| {
        let error = setup.start().expect_err("nothing was granted");
        assert_eq!(error.code, "not-granted");
        assert!(
            error
                .help
                .expect("it says what to do")
                .contains("\"config\"")
        );
    });
}
