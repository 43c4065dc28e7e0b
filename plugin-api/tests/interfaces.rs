//! Key-value state and metrics, as a plugin's code uses them.

use aegis_plugin_api::{
    KeyValue, Metrics,
    host::Counter,
    prelude::*,
    serde_json::{Value, json},
    testing::{Figures, KeyValues, Setup, TestPlugin, Through, each_way},
};

struct Keeper {
    used: Counter,
}

impl Plugin for Keeper {
    type Config = NoFields;

    fn start(_: NoFields, host: &Host) -> Result<Self, HandlerError> {
        let kv: KeyValue = host.interface()?;
        let starts = kv.blocking().get("starts")?;
        let before = starts.map_or(0, |entry| entry.value.len());
        kv.blocking().put("starts", &vec![b'|'; before + 1])?;
        let metrics: Metrics = host.interface()?;
        let used = metrics.counter("used", "Commands that were run")?;
        Ok(Self { used })
    }
}

#[derive(Deserialize, JsonSchema)]
struct Step {
    act: String,
    key: String,
    #[serde(default)]
    value: String,
    version: Option<u64>,
}

async fn act(step: Step, kv: KeyValue) -> Result<String, HandlerError> {
    let text = |found: Option<aegis_plugin_api::host::Entry>| {
        found.map_or("nothing".to_owned(), |entry| {
            String::from_utf8_lossy(&entry.value).into_owned()
        })
    };
    Ok(match step.act.as_str() {
        "get" => text(kv.get(step.key).await?),
        "put" => kv.put(step.key, step.value).await?.to_string(),
        "put-if" => {
            let put = kv.put_if(step.key, step.value, step.version);
            put.await?.to_string()
        }
        "delete" => kv.delete(step.key).await?.to_string(),
        "delete-if" => {
            kv.delete_if(step.key, step.version.unwrap_or(0)).await?;
            "gone".to_owned()
        }
        _ => {
            let mut names = Vec::new();
            let mut after = None;
            loop {
                let page = kv.list(step.key.clone(), after).await?;
                names.extend(page.keys.into_iter().map(|key| key.key));
                after = names.last().cloned();
                if !page.more {
                    break names.len().to_string();
                }
            }
        }
    })
}

struct Act;

impl Handler<Keeper> for Act {
    type Request = Step;
    type Response = String;
    const SPEC: HandlerSpec = HandlerSpec::new("act");

    async fn handle(&self, step: Step, cx: &Context<Keeper>) -> Result<String, HandlerError> {
        cx.plugin().used.add(1, &[("act", &step.act)])?;
        act(step, cx.interface()?).await
    }
}

struct Inline;

impl Handler<Keeper> for Inline {
    type Request = Step;
    type Response = String;
    const SPEC: HandlerSpec = HandlerSpec::new("inline").inline();

    async fn handle(&self, step: Step, cx: &Context<Keeper>) -> Result<String, HandlerError> {
        act(step, cx.interface()?).await
    }
}

struct Measure;

impl BlockingHandler<Keeper> for Measure {
    type Request = NoFields;
    type Response = String;
    const SPEC: HandlerSpec = HandlerSpec::new("measure");

    fn handle(&self, _: NoFields, cx: &Context<Keeper>) -> Result<String, HandlerError> {
        let metrics: Metrics = cx.interface()?;
        let level = metrics.gauge("level", "How full it is")?;
        level.set(4.0, &[])?;
        level.add(-1.5, &[])?;
        let took = metrics.histogram("took_seconds", "How long it took", &[0.1, 1.0])?;
        took.observe(0.25, &[("way", "short")])?;
        let wrong = metrics.counter("level", "Something else").err();
        Ok(wrong.map_or("taken".into(), |error| error.code.into_owned()))
    }
}

export_plugin! {
    id: "keeper",
    plugin: Keeper,
    handlers: [Act, Inline],
    blocking: [Measure],
    requires: [KeyValue, Metrics],
}

fn started(setup: Setup, values: &KeyValues, figures: &Figures) -> TestPlugin {
    let setup = setup.key_values(values).figures(figures);
    setup.start().expect("it starts")
}

fn told(plugin: &TestPlugin, name: &str, step: Value) -> Value {
    plugin.call(name, step).expect("it is done")
}

fn code(plugin: &TestPlugin, step: Value) -> String {
    let refused = plugin.call("act", step).expect_err("refused");
    refused.code.into_owned()
}

#[test]
fn what_is_put_is_given_back_after_a_restart_too() {
    for way in [Through::Rust, Through::Abi] {
        let (values, figures) = (KeyValues::default(), Figures::default());
        let plugin = started(Setup::new("keeper").through(way), &values, &figures);
        for name in ["act", "inline"] {
            let absent = json!({ "act": "get", "key": name });
            assert_eq!(told(&plugin, name, absent.clone()), "nothing");
            let put = json!({ "act": "put", "key": name, "value": "Ada" });
            told(&plugin, name, put);
            assert_eq!(values.get(name), Some(b"Ada".to_vec()));
            assert_eq!(told(&plugin, name, absent), "Ada");
        }
        plugin.stop();
        let plugin = started(Setup::new("keeper").through(way), &values, &figures);
        assert_eq!(values.get("starts"), Some(b"||".to_vec()));
        let get = json!({ "act": "get", "key": "act" });
        assert_eq!(told(&plugin, "act", get), "Ada");
        let delete = json!({ "act": "delete", "key": "act" });
        assert_eq!(told(&plugin, "act", delete.clone()), "true");
        assert_eq!(told(&plugin, "act", delete), "false");
        assert_eq!(values.keys(), ["inline", "starts"]);
    }
}

#[test]
fn a_change_that_expects_another_version_is_refused() {
    each_way("keeper", |setup| {
        let (values, figures) = (KeyValues::default(), Figures::default());
        let plugin = started(setup, &values, &figures);
        let put = |version: Option<u64>| json!({ "act": "put-if", "key": "it", "value": "x", "version": version });
        let version = told(&plugin, "act", put(None));
        let version: u64 = version
            .as_str()
            .and_then(|it| it.parse().ok())
            .expect("one");
        assert_eq!(code(&plugin, put(None)), KeyValue::CONFLICT);
        assert_eq!(code(&plugin, put(Some(version + 1))), KeyValue::CONFLICT);
        told(&plugin, "act", put(Some(version)));
        let delete = json!({ "act": "delete-if", "key": "it", "version": version });
        assert_eq!(code(&plugin, delete), KeyValue::CONFLICT);
        assert_eq!(values.get("it"), Some(b"x".to_vec()));
    });
}

#[test]
fn limits_and_a_broken_disk_are_told() {
    each_way("keeper", |setup| {
        let (values, figures) = (KeyValues::default(), Figures::default());
        let plugin = started(setup, &values, &figures);
        let put = |key: &str, bytes: usize| json!({ "act": "put", "key": key, "value": "v".repeat(bytes) });
        told(&plugin, "act", put(&"k".repeat(256), 65536));
        assert_eq!(code(&plugin, put(&"k".repeat(257), 1)), "invalid-key");
        assert_eq!(code(&plugin, put("", 1)), "invalid-key");
        assert_eq!(code(&plugin, put("k", 65537)), "value-too-large");
        for n in 0..600 {
            values.set(&format!("many/{n}"), "");
        }
        let list = json!({ "act": "list", "key": "many/" });
        assert_eq!(told(&plugin, "act", list), "600");
        for n in 0..15 {
            values.set(&format!("large/{n}"), vec![0; 65536]);
        }
        assert_eq!(code(&plugin, put("full", 65536)), "kv-full");
        values.set_unavailable(true);
        assert_eq!(code(&plugin, put("k", 1)), "kv-unavailable");
    });
}

#[test]
fn figures_reach_the_host() {
    each_way("keeper", |setup| {
        let (values, figures) = (KeyValues::default(), Figures::default());
        let plugin = started(setup, &values, &figures);
        for _ in 0..3 {
            told(&plugin, "act", json!({ "act": "get", "key": "k" }));
        }
        assert_eq!(figures.value("used", &[("act", "get")]), Some(3.0));
        assert_eq!(figures.value("used", &[]), None);
        assert_eq!(told(&plugin, "measure", json!({})), "metric-conflict");
        assert_eq!(figures.value("level", &[]), Some(2.5));
        assert_eq!(
            figures.observations("took_seconds", &[("way", "short")]),
            [0.25]
        );
    });
}

#[test]
fn without_the_grant_it_does_not_start() {
    each_way("keeper", |setup| {
        let refused = setup.figures(&Figures::default()).start();
        let refused = refused.expect_err("refused");
        assert_eq!(refused.code, "not-granted");
        let help = refused.help.expect("what to do");
        assert!(
            help.contains(r#""kv""#) && help.contains("[plugins.keeper]"),
            "{help}"
        );
    });
}
