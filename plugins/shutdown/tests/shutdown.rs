//! The shutdown command against a node that is a fake.

use std::sync::{Arc, Mutex};

use aegis_plugin_api::{
    Effect, HandlerError, NodeControl,
    serde_json::{Value, json},
    testing::{Setup, each_way},
};
use aegis_plugin_shutdown as _;

type Asked = Arc<Mutex<Vec<(String, Value)>>>;

fn with_node(setup: Setup) -> (Setup, Asked) {
    let asked = Asked::default();
    let noted = Arc::clone(&asked);
    let setup = setup.grant::<NodeControl>(move |function, request| {
        noted
            .lock()
            .expect("not poisoned")
            .push((function.to_owned(), request));
        Ok(json!({}))
    });
    (setup, asked)
}

#[test]
fn a_shutdown_reaches_the_node_with_its_reason() {
    each_way("shutdown", |setup| {
        let (setup, asked) = with_node(setup);
        let plugin = setup.start().expect("it starts");
        let payload = json!({ "reason": "retired", "drainTimeoutMs": 1500 });
        assert_eq!(plugin.call("shutdown", payload), Ok(json!({})));
        plugin
            .call("shutdown", json!({}))
            .expect("a reason is not needed");
        let asked = asked.lock().expect("not poisoned");
        let first = json!({ "reason": "retired", "drain_timeout_ms": 1500 });
        assert_eq!(asked[0], ("shutdown".to_owned(), first));
        assert_eq!(asked[1], ("shutdown".to_owned(), json!({ "reason": "" })));
    });
}

#[test]
fn what_makes_no_sense_never_reaches_the_node() {
    each_way("shutdown", |setup| {
        let (setup, asked) = with_node(setup);
        let plugin = setup.start().expect("it starts");
        for bad in [
            json!({ "reason": 1 }),
            json!({ "drainTimeoutMs": -1 }),
            json!({ "now": true }),
        ] {
            let error = plugin.call("shutdown", &bad).expect_err("it is refused");
            assert_eq!(error.code, "invalid-payload", "{bad}");
        }
        assert!(asked.lock().expect("not poisoned").is_empty());
    });
}

#[test]
fn a_refusal_of_the_node_is_the_answer() {
    each_way("shutdown", |setup| {
        let refusal = HandlerError::new("not-now", "the worker is starting").retryable();
        let said = refusal.clone();
        let plugin = setup
            .grant::<NodeControl>(move |_, _| Err(said.clone()))
            .start()
            .expect("it starts");
        assert_eq!(plugin.call("shutdown", json!({})), Err(refusal));
    });
}

#[test]
fn it_is_never_run_twice_and_runs_while_the_node_drains() {
    let (setup, _) = with_node(Setup::new("shutdown"));
    let plugin = setup.start().expect("it starts");
    let handler = &plugin.manifest().handlers[0];
    assert_eq!(handler.effect, Effect::AtMostOnce);
    assert!(handler.runs_while_draining);
}
