//! The example as its author would test it.

use aegis_plugin_api::{
    CancelReason,
    serde_json::json,
    testing::{Completion, each_way},
};
use hello_plugin as _;

#[test]
fn it_greets() {
    each_way("hello-plugin", |setup| {
        let plugin = setup.start().expect("it starts");
        let answer = plugin.call("hello", json!({ "name": "Ada" }));
        assert_eq!(answer, Ok(json!({ "text": "hello, Ada" })));
    });
}

#[test]
fn a_greeting_needs_a_name() {
    each_way("hello-plugin", |setup| {
        let plugin = setup.start().expect("it starts");
        let error = plugin
            .call("hello", json!({ "nom": "Ada" }))
            .expect_err("no name");
        assert_eq!(error.code, "invalid-payload");
        assert!(error.message.contains("missing field `name`"), "{error}");
    });
}

#[test]
fn waiting_shows_each_step() {
    each_way("hello-plugin", |setup| {
        let plugin = setup.start().expect("it starts");
        let call = plugin.begin("hello.wait", json!({ "seconds": 0, "steps": 2 }));
        assert_eq!(
            call.wait(),
            Completion::Succeeded(br#"{"steps":2}"#.to_vec())
        );
        assert_eq!(call.output(), "step 1 of 2\nstep 2 of 2\n");
        assert_eq!(call.progress().last().map(|p| p.permille), Some(Some(1000)));
    });
}

#[test]
fn waiting_can_be_cancelled() {
    each_way("hello-plugin", |setup| {
        let plugin = setup.start().expect("it starts");
        let call = plugin.begin("hello.wait", json!({ "seconds": 3600, "steps": 2 }));
        assert_eq!(call.completion(), None);
        call.cancel(CancelReason::Requested);
        assert!(matches!(call.wait(), Completion::Cancelled(_)));
    });
}

#[test]
fn waiting_for_a_bad_number_of_steps_is_refused() {
    each_way("hello-plugin", |setup| {
        let plugin = setup.start().expect("it starts");
        for bad in [
            json!({ "seconds": 1, "steps": 0 }),
            json!({ "seconds": -1 }),
        ] {
            let error = plugin
                .call("hello.wait", bad)
                .expect_err("it is out of range");
            assert_eq!(error.code, "invalid-payload");
        }
    });
}
