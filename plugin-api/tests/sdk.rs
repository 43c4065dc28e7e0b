//! What a plugin made with the SDK does, through its Rust code and through the
//! C ABI.

use std::{
    future,
    io::Write,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    task::Poll,
    time::Duration,
};

use aegis_plugin_api::{
    prelude::*,
    serde_json::{self, Value, json},
    testing::{CallOptions, Completion, Setup, Through, each_way},
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    factor: u32,
    #[serde(default)]
    refuse: bool,
}

struct Multiplier {
    factor: AtomicU32,
    calls: AtomicU32,
}

impl Plugin for Multiplier {
    type Config = Config;

    fn start(config: Config, host: &Host) -> Result<Self, HandlerError> {
        tracing::info!(factor = config.factor, "begins on {}", host.node().node_id);
        if config.refuse {
            return Err(HandlerError::new("refused", "told to refuse"));
        }
        assert_ne!(config.factor, 13, "not that factor");
        Ok(Self {
            factor: config.factor.into(),
            calls: AtomicU32::new(0),
        })
    }

    fn reconfigure(&self, config: Config) -> Result<(), HandlerError> {
        self.factor.store(config.factor, Ordering::Relaxed);
        Ok(())
    }

    fn stop(&self) {
        tracing::info!("stops");
    }
}

/// Sets a flag when it is dropped.
struct Dropped(&'static AtomicBool);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Multiply;

impl Handler<Multiplier> for Multiply {
    type Request = u32;
    type Response = u32;
    const SPEC: HandlerSpec = HandlerSpec::new("multiply").inline();

    async fn handle(&self, n: u32, cx: &Context<Multiplier>) -> Result<u32, HandlerError> {
        cx.plugin().calls.fetch_add(1, Ordering::Relaxed);
        Ok(n * cx.plugin().factor.load(Ordering::Relaxed))
    }
}

struct Count;

impl Handler<Multiplier> for Count {
    type Request = NoFields;
    type Response = u32;
    const SPEC: HandlerSpec = HandlerSpec::new("count");

    async fn handle(&self, _: NoFields, cx: &Context<Multiplier>) -> Result<u32, HandlerError> {
        Ok(cx.plugin().calls.load(Ordering::Relaxed))
    }
}

struct Tell;

impl Handler<Multiplier> for Tell {
    type Request = NoFields;
    type Response = Value;
    const SPEC: HandlerSpec = HandlerSpec::new("tell");

    async fn handle(&self, _: NoFields, cx: &Context<Multiplier>) -> Result<Value, HandlerError> {
        cx.progress(500, "half");
        cx.progress(9000, "more than all");
        cx.progress_note("who knows");
        writeln!(cx.output(), "line {}", 1).expect("output never fails");
        tracing::warn!(answer = 42, "look");
        Ok(json!({
            "command": cx.command_id(),
            "issuer": cx.issuer(),
            "attempt": cx.attempt(),
            "has_deadline": cx.remaining().is_some(),
            "tags": cx.node().tags,
            "writable": std::fs::write(cx.state_dir().join("file"), "x").is_ok(),
        }))
    }
}

/// Keeps its output stream beyond its end.
struct Keep;

static KEPT: Mutex<Option<Output>> = Mutex::new(None);

impl Handler<Multiplier> for Keep {
    type Request = NoFields;
    type Response = ();
    const SPEC: HandlerSpec = HandlerSpec::new("keep");

    async fn handle(&self, _: NoFields, cx: &Context<Multiplier>) -> Result<(), HandlerError> {
        cx.output().append(b"in time");
        *KEPT.lock().expect("not poisoned") = Some(cx.output());
        Ok(())
    }
}

/// Holds on until it is cancelled, or for ever.
struct Hold;

static HOLD_DROPPED: AtomicBool = AtomicBool::new(false);

#[derive(Deserialize, JsonSchema)]
struct HoldRequest {
    stubborn: bool,
}

impl Handler<Multiplier> for Hold {
    type Request = HoldRequest;
    type Response = ();
    const SPEC: HandlerSpec = HandlerSpec::new("hold");

    async fn handle(
        &self,
        request: HoldRequest,
        cx: &Context<Multiplier>,
    ) -> Result<(), HandlerError> {
        cx.progress_note("holding");
        if request.stubborn {
            let _dropped = Dropped(&HOLD_DROPPED);
            future::pending::<()>().await;
        }
        cx.sleep(Duration::from_secs(3600)).await
    }
}

struct Fail;

impl Handler<Multiplier> for Fail {
    type Request = NoFields;
    type Response = ();
    const SPEC: HandlerSpec = HandlerSpec::new("fail");

    async fn handle(&self, _: NoFields, _: &Context<Multiplier>) -> Result<(), HandlerError> {
        Err(HandlerError::new("disk-full", "no space left")
            .help("make room")
            .retry_after(Duration::from_secs(3)))
    }
}

struct Panic;

static PANIC_LINE: AtomicU32 = AtomicU32::new(0);

impl Handler<Multiplier> for Panic {
    type Request = bool;
    type Response = ();
    const SPEC: HandlerSpec = HandlerSpec::new("panic");

    async fn handle(&self, _: bool, _: &Context<Multiplier>) -> Result<(), HandlerError> {
        PANIC_LINE.store(line!() + 1, Ordering::SeqCst);
        panic!("at the disco")
    }
}

struct PanicInline;

impl Handler<Multiplier> for PanicInline {
    type Request = NoFields;
    type Response = ();
    const SPEC: HandlerSpec = HandlerSpec::new("panic.inline").inline();

    async fn handle(&self, _: NoFields, _: &Context<Multiplier>) -> Result<(), HandlerError> {
        panic!("on the host's thread")
    }
}

/// Panics where its future is dropped.
struct PanicInDrop;

impl Handler<Multiplier> for PanicInDrop {
    type Request = NoFields;
    type Response = ();
    const SPEC: HandlerSpec = HandlerSpec::new("panic.drop");

    async fn handle(&self, _: NoFields, cx: &Context<Multiplier>) -> Result<(), HandlerError> {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in drop");
            }
        }
        let _bomb = Bomb;
        cx.progress_note("holding");
        future::pending().await
    }
}

/// Says that it is inline and waits all the same.
struct Yield;

impl Handler<Multiplier> for Yield {
    type Request = NoFields;
    type Response = u32;
    const SPEC: HandlerSpec = HandlerSpec::new("yield").inline();

    async fn handle(&self, _: NoFields, _: &Context<Multiplier>) -> Result<u32, HandlerError> {
        let mut polls = 0;
        future::poll_fn(|cx| {
            polls += 1;
            if polls < 3 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        Ok(polls)
    }
}

/// Blocks until the test lets it go.
struct Block;

static LET_GO: Mutex<Option<mpsc::Receiver<()>>> = Mutex::new(None);

impl BlockingHandler<Multiplier> for Block {
    type Request = NoFields;
    type Response = bool;
    const SPEC: HandlerSpec = HandlerSpec::new("block");

    fn handle(&self, _: NoFields, cx: &Context<Multiplier>) -> Result<bool, HandlerError> {
        cx.progress_note("blocking");
        let let_go = LET_GO.lock().expect("not poisoned").take();
        let_go
            .expect("the test has put it there")
            .recv()
            .expect("the test lets go");
        Ok(cx.is_cancelled())
    }
}

export_plugin! {
    id: "multiplier",
    plugin: Multiplier,
    handlers: [
        Multiply, Count, Tell, Keep, Hold, Fail, Panic, PanicInline, PanicInDrop, Yield,
    ],
    blocking: [Block],
}

fn three(setup: Setup) -> aegis_plugin_api::testing::TestPlugin {
    setup
        .config(json!({ "factor": 3 }))
        .start()
        .expect("it starts")
}

#[test]
fn handlers_share_the_plugins_state() {
    each_way("multiplier", |setup| {
        let plugin = three(setup);
        assert_eq!(plugin.call("multiply", 4), Ok(12.into()));
        assert_eq!(plugin.call("multiply", 5), Ok(15.into()));
        assert_eq!(plugin.call("count", json!({})), Ok(2.into()));
    });
}

#[test]
fn a_new_config_takes_effect_and_a_wrong_one_leaves_the_old() {
    each_way("multiplier", |setup| {
        let plugin = three(setup);
        plugin
            .reconfigure(json!({ "factor": 5 }))
            .expect("it is right");
        let error = plugin
            .reconfigure(json!({ "faktor": 7 }))
            .expect_err("it is wrong");
        assert_eq!(error.code, "invalid-config");
        assert!(error.message.contains("unknown field `faktor`"), "{error}");
        assert_eq!(plugin.call("multiply", 2), Ok(10.into()));
    });
}

#[test]
fn a_plugin_that_cannot_start_says_why() {
    each_way("multiplier", |setup| {
        let error = setup.start().expect_err("the config lacks a field");
        assert_eq!(error.code, "invalid-config");
        assert!(error.message.contains("missing field `factor`"), "{error}");
    });
    each_way("multiplier", |setup| {
        let config = json!({ "factor": 1, "refuse": true });
        let error = setup.config(config).start().expect_err("it refuses");
        assert_eq!(error, HandlerError::new("refused", "told to refuse"));
    });
    each_way("multiplier", |setup| {
        let error = setup
            .config(json!({ "factor": 13 }))
            .start()
            .expect_err("it panics");
        assert_eq!(error.code, "panicked");
        assert!(error.message.contains("not that factor"), "{error}");
    });
}

#[test]
fn a_call_knows_its_command_and_is_heard() {
    each_way("multiplier", |setup| {
        let plugin = three(setup);
        let options = CallOptions {
            issuer: "ada".into(),
            attempt: 2,
            ..CallOptions::default()
        };
        let call = plugin.begin_with("tell", json!({}), options);
        let Completion::Succeeded(response) = call.wait() else {
            panic!("{call:?} fails")
        };
        let response: Value = serde_json::from_slice(&response).expect("it is JSON");
        assert_eq!(
            response,
            json!({
                "command": call.command_id(),
                "issuer": "ada",
                "attempt": 2,
                "has_deadline": true,
                "tags": ["test"],
                "writable": true,
            })
        );
        let progress: Vec<_> = call
            .progress()
            .into_iter()
            .map(|p| (p.permille, p.note))
            .collect();
        assert_eq!(
            progress,
            [
                (Some(500), "half".to_owned()),
                (Some(1000), "more than all".to_owned()),
                (None, "who knows".to_owned()),
            ]
        );
        assert_eq!(call.output(), "line 1\n");

        let log = plugin.log();
        let line = log
            .iter()
            .find(|line| line.message == "look")
            .expect("it was logged");
        assert_eq!(line.command_id.as_deref(), Some(call.command_id()));
        assert_eq!((line.level, &line.fields), (2, &json!({ "answer": 42 })));
    });
}

#[test]
fn an_error_arrives_as_the_handler_made_it() {
    each_way("multiplier", |setup| {
        let error = three(setup).call("fail", json!({})).expect_err("it fails");
        let made = HandlerError::new("disk-full", "no space left")
            .help("make room")
            .retry_after(Duration::from_secs(3));
        assert_eq!(error, made);
    });
}

#[test]
fn a_payload_that_does_not_fit_is_refused_with_the_place() {
    each_way("multiplier", |setup| {
        let plugin = three(setup);
        for command in ["multiply", "hold", "block"] {
            let error = plugin
                .call(command, json!({ "stubborn": 1 }))
                .expect_err("it is wrong");
            assert_eq!(error.code, "invalid-payload");
            assert!(error.message.contains("line 1 column"), "{error}");
        }
        let cut = plugin.begin_raw(0, b"{\xff", CallOptions::default()).wait();
        assert!(matches!(cut, Completion::Failed(e) if e.code == "invalid-payload"));
        let no_handler = plugin.begin_raw(99, b"{}", CallOptions::default()).wait();
        assert!(matches!(no_handler, Completion::Failed(e) if e.code == "no-such-handler"));
    });
}

#[test]
fn a_cancelled_call_ends_and_says_why() {
    each_way("multiplier", |setup| {
        let plugin = three(setup);
        let call = plugin.begin("hold", json!({ "stubborn": false }));
        call.wait_for_progress(|p| p.note == "holding");
        assert_eq!(call.completion(), None);
        call.cancel(CancelReason::Deadline);
        let Completion::Cancelled(error) = call.wait() else {
            panic!("it is not cancelled")
        };
        assert!(error.message.contains("timeout"), "{error}");
    });
}

#[test]
fn an_abandoned_call_is_dropped_where_it_stands() {
    // One after the other: both use the same flag.
    each_way("multiplier", |setup| {
        let plugin = three(setup);
        let call = plugin.begin("hold", json!({ "stubborn": true }));
        call.wait_for_progress(|p| p.note == "holding");
        call.cancel(CancelReason::Requested);
        HOLD_DROPPED.store(false, Ordering::SeqCst);
        call.abandon();
        assert!(matches!(call.wait(), Completion::Cancelled(_)));
        assert!(HOLD_DROPPED.load(Ordering::SeqCst));
    });
}

#[test]
fn a_panic_fails_its_call_with_file_and_line_and_poisons_the_plugin() {
    each_way("multiplier", |setup| {
        let plugin = three(setup);
        let Completion::Panicked(error) = plugin.begin("panic", true).wait() else {
            panic!("it does not panic")
        };
        let at = format!("{}:{}:", file!(), PANIC_LINE.load(Ordering::SeqCst));
        assert!(error.message.contains(&at), "{error} is not at {at}");
        assert!(error.message.contains("at the disco"), "{error}");
        let next = plugin.call("multiply", 1).expect_err("it is poisoned");
        assert_eq!(next.code, "plugin-poisoned");
        assert!(next.retryable);
    });
}

#[test]
fn a_panic_on_the_hosts_thread_stays_in_the_plugin() {
    each_way("multiplier", |setup| {
        let plugin = three(setup);
        let call = plugin.begin("panic.inline", json!({}));
        assert!(matches!(call.wait(), Completion::Panicked(_)));
    });
}

#[test]
fn a_panic_while_an_abandoned_call_is_dropped_is_its_completion() {
    each_way("multiplier", |setup| {
        let plugin = three(setup);
        let call = plugin.begin("panic.drop", json!({}));
        call.wait_for_progress(|p| p.note == "holding");
        call.abandon();
        assert!(matches!(call.wait(), Completion::Panicked(e) if e.message.contains("in drop")));
    });
}

#[test]
fn an_inline_handler_that_waits_goes_on_in_the_runtime() {
    each_way("multiplier", |setup| {
        assert_eq!(three(setup).call("yield", json!({})), Ok(3.into()));
    });
}

#[test]
fn a_blocking_handler_is_over_only_when_it_returns() {
    // In one test: both ways use the same channel.
    each_way("multiplier", |setup| {
        let (let_go, waits) = mpsc::channel();
        *LET_GO.lock().expect("not poisoned") = Some(waits);
        let plugin = three(setup);
        let call = plugin.begin("block", json!({}));
        call.wait_for_progress(|p| p.note == "blocking");
        call.cancel(CancelReason::Requested);
        call.abandon();
        assert_eq!(plugin.call("multiply", 2), Ok(6.into()), "others go on");
        assert_eq!(call.completion(), None);
        let_go.send(()).expect("it still waits");
        assert_eq!(call.wait(), Completion::Succeeded(b"true".to_vec()));
    });
}

#[test]
fn what_a_stopped_plugin_says_reaches_nobody() {
    each_way("multiplier", |setup| {
        let plugin = three(setup);
        let call = plugin.begin("keep", json!({}));
        assert_eq!(call.wait(), Completion::Succeeded(b"null".to_vec()));
        plugin.stop();
        let mut kept = KEPT
            .lock()
            .expect("not poisoned")
            .take()
            .expect("it was kept");
        kept.write_all(b", late").expect("output never fails");
        assert_eq!(call.output(), "in time");
    });
}

#[test]
fn schemas_and_manifest_describe_the_handlers() {
    let plugin = three(Setup::new("multiplier").through(Through::Abi));
    let manifest = plugin.manifest();
    assert_eq!(manifest.id, "multiplier");
    assert_eq!(manifest.symbol, "aegis_plugin_v1_sdk");
    assert_eq!(manifest.handlers.len(), 11);
    let schemas = plugin.schemas("hold").expect("it has schemas");
    assert_eq!(
        schemas["request"]["properties"]["stubborn"]["type"],
        "boolean"
    );
    assert_eq!(schemas["request"]["required"], json!(["stubborn"]));
    assert_eq!(schemas["response"]["type"], "null");
    assert_eq!(plugin.schemas("nothing"), None);
}
