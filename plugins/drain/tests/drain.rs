//! The drain command against a node that is a fake.

use std::sync::{Arc, Mutex};

use aegis_plugin_api::{
    HandlerError, NodeControl,
    serde_json::{Value, json},
    testing::{Setup, each_way},
};
use aegis_plugin_drain as _;

type Asked = Arc<Mutex<Vec<(String, Value)>>>;

fn with_node(setup: Setup) -> (Setup, Asked) {
    let asked = Asked::default();
    let noted = Arc::clone(&asked);
    let setup = setup.grant::<NodeControl>(move |function, request| {
        let drain = request["drain"].clone();
        noted
            .lock()
            .expect("not poisoned")
            .push((function.to_owned(), request));
        Ok(json!({
            "draining": drain,
            "started_at": "2026-01-02T03:04:05Z",
            "deadline": null,
            "finished_at": null,
            "reason": "kernel update",
            "in_flight": [{
                "command_id": "c1", "name": "hello.wait", "plugin": "hello-plugin",
                "started_at": "2026-01-02T03:04:00Z",
                "cancelled_at": "2026-01-02T03:04:05Z", "given_up": true,
            }],
        }))
    });
    (setup, asked)
}

#[test]
fn a_drain_reaches_the_node_and_answers_with_its_status() {
    each_way("drain", |setup| {
        let (setup, asked) = with_node(setup);
        let plugin = setup.start().expect("it starts");
        let payload = json!({ "drain": true, "deadlineMs": 60000, "reason": "kernel update" });
        let status = plugin.call("drain", payload).expect("the node drains");
        assert_eq!(status["draining"], true);
        assert_eq!(status["startedAt"], "2026-01-02T03:04:05Z");
        let blocking = &status["inFlight"][0];
        assert_eq!(blocking["commandId"], "c1");
        assert_eq!(blocking["cancelledAt"], "2026-01-02T03:04:05Z");
        assert_eq!(blocking["givenUp"], true);
        assert_eq!(blocking["timeoutAt"], Value::Null);
        let request = json!({ "drain": true, "deadline_ms": 60000, "reason": "kernel update" });
        assert_eq!(
            *asked.lock().expect("not poisoned"),
            [("drain".to_owned(), request)]
        );
    });
}

#[test]
fn snake_case_is_taken_too_and_an_undo_needs_no_more_than_itself() {
    each_way("drain", |setup| {
        let (setup, asked) = with_node(setup);
        let plugin = setup.start().expect("it starts");
        plugin
            .call("drain", json!({ "drain": true, "deadline_ms": 5 }))
            .expect("it drains");
        let status = plugin
            .call("drain", json!({ "drain": false }))
            .expect("it is undone");
        assert_eq!(status["draining"], false);
        let asked = asked.lock().expect("not poisoned");
        assert_eq!(
            asked[0].1,
            json!({ "drain": true, "deadline_ms": 5, "reason": "" })
        );
        assert_eq!(asked[1].1, json!({ "drain": false, "reason": "" }));
    });
}

#[test]
fn what_makes_no_sense_never_reaches_the_node() {
    each_way("drain", |setup| {
        let (setup, asked) = with_node(setup);
        let plugin = setup.start().expect("it starts");
        for bad in [
            json!({}),
            json!({ "drain": "yes" }),
            json!({ "drain": true, "deadline": 1 }),
            json!({ "drain": false, "deadlineMs": 1 }),
        ] {
            let error = plugin.call("drain", &bad).expect_err("it is refused");
            assert_eq!(error.code, "invalid-payload", "{bad}");
        }
        assert!(asked.lock().expect("not poisoned").is_empty());
    });
}

#[test]
fn a_refusal_of_the_node_is_the_answer() {
    each_way("drain", |setup| {
        let refusal = HandlerError::new("shutting-down", "the worker is ending").help("wait");
        let said = refusal.clone();
        let plugin = setup
            .grant::<NodeControl>(move |_, _| Err(said.clone()))
            .start()
            .expect("it starts");
        assert_eq!(
            plugin.call("drain", json!({ "drain": false })),
            Err(refusal)
        );
    });
}

#[test]
fn it_does_not_start_without_its_grant() {
    each_way("drain", |setup| {
        let error = setup.start().expect_err("nothing was granted");
        assert_eq!(error.code, "not-granted");
        let help = error.help.expect("it says what to do");
        assert!(
            help.contains("\"node-control\"") && help.contains("[plugins.drain]"),
            "{help}"
        );
    });
}

#[test]
fn it_runs_while_the_node_drains() {
    let (setup, _) = with_node(Setup::new("drain"));
    let plugin = setup.start().expect("it starts");
    assert!(plugin.manifest().handlers[0].runs_while_draining);
    assert_eq!(plugin.manifest().requires, ["aegis.node-control/1"]);
}
