//! The example as its author would test it.

use aegis_plugin_api::{
    CancelReason,
    serde_json::json,
    testing::{CallOptions, Completion, each_way},
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

#[test]
fn counting_goes_on_from_its_checkpoint() {
    each_way("hello-plugin", |setup| {
        let plugin = setup.start().expect("it starts");
        let first = plugin.begin("hello.count", json!({ "to": 100_000, "pause_ms": 1 }));
        let kept = first.wait_for_checkpoint(|number| number.as_u64() >= Some(3));
        first.cancel(CancelReason::Requested);
        first.wait();

        let reached = kept.as_u64().expect("a number");
        let options = CallOptions {
            attempt: 2,
            checkpoint: Some(kept),
            ..CallOptions::default()
        };
        let second = plugin.begin_with("hello.count", json!({ "to": reached + 2 }), options);
        let counted = json!({ "counted_to": reached + 2, "resumed_from": reached });
        assert_eq!(
            second.wait(),
            Completion::Succeeded(counted.to_string().into())
        );
        assert_eq!(
            second.output(),
            format!("{}\n{}\n", reached + 1, reached + 2)
        );
        assert_eq!(second.checkpoint(), Some(json!(reached + 2)));
    });
}
