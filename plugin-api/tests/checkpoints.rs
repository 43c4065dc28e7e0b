//! What a resumable handler keeps and is given back.

use aegis_plugin_api::{
    prelude::*,
    serde_json::{self, Value, json},
    testing::{CallOptions, Completion, Setup, TestPlugin, each_way},
};

/// Gives back what it was given and keeps what it is told.
#[derive(Deserialize, JsonSchema)]
struct Next {
    keep: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Before {
    before: Option<String>,
    now: Option<String>,
    attempt: u32,
}

async fn step(next: Next, cx: &Context) -> Result<Before, HandlerError> {
    let before = cx.resumed()?;
    if let Some(keep) = next.keep {
        cx.checkpoint(&keep).await?;
    }
    Ok(Before {
        before,
        now: cx.resumed()?,
        attempt: cx.attempt(),
    })
}

struct Step;

impl Handler for Step {
    type Request = Next;
    type Response = Before;
    const SPEC: HandlerSpec = HandlerSpec::new("step").effect(Effect::Resumable);

    async fn handle(&self, next: Next, cx: &Context) -> Result<Before, HandlerError> {
        step(next, cx).await
    }
}

struct Inline;

impl Handler for Inline {
    type Request = Next;
    type Response = Before;
    const SPEC: HandlerSpec = HandlerSpec::new("inline")
        .effect(Effect::Resumable)
        .inline();

    async fn handle(&self, next: Next, cx: &Context) -> Result<Before, HandlerError> {
        step(next, cx).await
    }
}

struct Once;

impl Handler for Once {
    type Request = Next;
    type Response = Before;
    const SPEC: HandlerSpec = HandlerSpec::new("once").effect(Effect::AtMostOnce);

    async fn handle(&self, next: Next, cx: &Context) -> Result<Before, HandlerError> {
        step(next, cx).await
    }
}

struct Blocking;

impl BlockingHandler for Blocking {
    type Request = Next;
    type Response = Before;
    const SPEC: HandlerSpec = HandlerSpec::new("blocking").effect(Effect::Resumable);

    fn handle(&self, next: Next, cx: &Context) -> Result<Before, HandlerError> {
        let before = cx.resumed()?;
        if let Some(keep) = next.keep {
            cx.checkpoint_blocking(&keep)?;
        }
        Ok(Before {
            before,
            now: cx.resumed()?,
            attempt: cx.attempt(),
        })
    }
}

export_plugin! {
    id: "stepper",
    handlers: [Step, Inline, Once],
    blocking: [Blocking],
}

const RESUMABLE: [&str; 3] = ["step", "inline", "blocking"];

fn started(setup: Setup) -> TestPlugin {
    setup.start().expect("it starts")
}

fn answer(completion: Completion) -> Value {
    match completion {
        Completion::Succeeded(response) => serde_json::from_slice(&response).expect("JSON"),
        other => panic!("{other:?}"),
    }
}

fn refused(completion: Completion) -> HandlerError {
    match completion {
        Completion::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_one_attempt_keeps_the_next_is_given() {
    each_way("stepper", |setup| {
        let plugin = started(setup);
        for name in RESUMABLE {
            let first = plugin.begin(name, json!({ "keep": "half" }));
            let told = json!({ "before": null, "now": "half", "attempt": 1 });
            assert_eq!(answer(first.wait()), told, "{name}");
            let options = CallOptions {
                attempt: 2,
                checkpoint: first.checkpoint(),
                ..CallOptions::default()
            };
            let second = plugin.begin_with(name, json!({}), options);
            let told = json!({ "before": "half", "now": "half", "attempt": 2 });
            assert_eq!(answer(second.wait()), told, "{name}");
        }
    });
}

#[test]
fn calls_keep_their_checkpoints_to_themselves() {
    each_way("stepper", |setup| {
        let plugin = started(setup);
        let one = plugin.begin("step", json!({ "keep": "one" }));
        one.wait();
        let other = plugin.begin("step", json!({}));
        assert_eq!(answer(other.wait())["before"], Value::Null);
        assert_eq!(
            (one.checkpoint(), other.checkpoint()),
            (Some(json!("one")), None)
        );
    });
}

#[test]
fn what_is_too_large_or_of_no_use_is_not_kept() {
    each_way("stepper", |setup| {
        let plugin = started(setup);
        for name in RESUMABLE {
            // With its quotes it has 65536 bytes.
            let fits = plugin.begin(name, json!({ "keep": "x".repeat(65534) }));
            answer(fits.wait());
            let large = plugin.begin(name, json!({ "keep": "x".repeat(65535) }));
            assert_eq!(refused(large.wait()).code, "checkpoint-too-large", "{name}");
            assert_eq!(large.checkpoint(), None);
        }
        let once = plugin.begin("once", json!({ "keep": "half" }));
        assert_eq!(refused(once.wait()).code, "not-resumable");
    });
}

#[test]
fn a_checkpoint_of_another_form_is_told_and_not_guessed_at() {
    each_way("stepper", |setup| {
        let plugin = started(setup);
        for name in RESUMABLE {
            let options = CallOptions {
                checkpoint: Some(json!({ "from": "an older version" })),
                ..CallOptions::default()
            };
            let call = plugin.begin_with(name, json!({ "keep": "new" }), options);
            assert_eq!(refused(call.wait()).code, "malformed-checkpoint", "{name}");
        }
    });
}
