use aegis_plugin_api::HandlerError;
use serde_json::{Value as Json, json};

use super::*;

fn declare(own: &OwnMetrics, document: Json) -> Result<(), HandlerError> {
    own.declare(serde_json::from_value(document).expect("a declaration"))
}

fn record(own: &OwnMetrics, document: Json) -> Result<(), HandlerError> {
    own.record(serde_json::from_value(document).expect("a sample"))
}

fn code(result: Result<(), HandlerError>) -> String {
    result.expect_err("refused").code.into_owned()
}

fn one() -> (Arc<PluginMetrics>, OwnMetrics) {
    let all = Arc::new(PluginMetrics::default());
    let own = all.of("one");
    (all, own)
}

fn value(all: &PluginMetrics, name: &str, plugin: &str) -> Option<Value> {
    let key = (plugin.into(), Labels::new());
    all.collected().families[name].series.get(&key).cloned()
}

#[test]
fn counters_grow_gauges_are_set_and_histograms_tell_apart() {
    let (all, own) = one();
    for (name, kind) in [("jobs", "counter"), ("level", "gauge")] {
        declare(&own, json!({ "name": name, "type": kind, "help": "Some" })).expect("declared");
    }
    let took = json!({ "name": "took", "type": "histogram", "help": "Some", "buckets": [1, 2] });
    declare(&own, took).expect("declared");
    for sample in [
        json!({ "name": "jobs", "value": 2 }),
        json!({ "name": "jobs", "value": 0.5 }),
        json!({ "name": "level", "value": 7 }),
        json!({ "name": "level", "value": 3 }),
        json!({ "name": "level", "value": -1, "add": true }),
        json!({ "name": "took", "value": 1 }),
        json!({ "name": "took", "value": 1.5 }),
        json!({ "name": "took", "value": 9 }),
    ] {
        record(&own, sample).expect("recorded");
    }
    assert_eq!(value(&all, "jobs", "one"), Some(Value::Number(2.5)));
    assert_eq!(value(&all, "level", "one"), Some(Value::Number(2.0)));
    let observed = Value::Observed {
        sum: 11.5,
        counts: vec![1, 1, 1],
    };
    assert_eq!(value(&all, "took", "one"), Some(observed));
    let less = record(&own, json!({ "name": "jobs", "value": -1 }));
    assert_eq!(code(less), "invalid-metric");
    assert_eq!(value(&all, "jobs", "one"), Some(Value::Number(2.5)));
}

#[test]
fn a_name_is_shared_by_plugins_that_mean_the_same_and_no_series_is() {
    let (all, one) = one();
    let two = all.of("two");
    let jobs = json!({ "name": "jobs", "type": "counter", "help": "Some" });
    declare(&one, jobs.clone()).expect("declared");
    let early = record(&two, json!({ "name": "jobs", "value": 1 }));
    assert_eq!(code(early), "invalid-metric");
    declare(&two, jobs).expect("declared");
    record(&two, json!({ "name": "jobs", "value": 1 })).expect("recorded");
    assert_eq!(value(&all, "jobs", "one"), None);
    assert_eq!(value(&all, "jobs", "two"), Some(Value::Number(1.0)));
    let other = declare(
        &two,
        json!({ "name": "jobs", "type": "gauge", "help": "Some" }),
    );
    let error = other.expect_err("refused");
    assert_eq!(error.code, "metric-conflict");
    assert!(error.message.contains("one, two"), "{error}");
}

#[test]
fn what_the_exposition_could_not_carry_is_refused_and_counted() {
    let (all, own) = one();
    let declared = |name: &str, help: &str| {
        let document = json!({ "name": name, "type": "gauge", "help": help });
        declare(&own, document)
    };
    declared("level", "Some").expect("sound");
    let long = "n".repeat(65);
    let names = [
        "", "9lives", "a-b", "a b", "a\n", "x_total", "x_bucket", &long,
    ];
    for name in names {
        assert_eq!(code(declared(name, "Some")), "invalid-metric", "{name}");
    }
    let helps = ["", "two\nlines", "back\\slash", &"h".repeat(513)];
    for help in helps {
        assert_eq!(code(declared("other", help)), "invalid-metric", "{help}");
    }
    for buckets in [json!([]), json!([2, 1]), json!([1, 1])] {
        let took = json!({ "name": "t", "type": "histogram", "help": "Some", "buckets": buckets });
        assert_eq!(code(declare(&own, took)), "invalid-metric", "{buckets}");
    }
    let many: Labels = (0..9).map(|n| (format!("l{n}"), String::new())).collect();
    for labels in [
        json!({ "plugin": "mine" }),
        json!({ "le": "1" }),
        json!({ "__name__": "x" }),
        json!({ "a-b": "x" }),
        json!({ "a": "x".repeat(257) }),
        json!(many),
    ] {
        let sample = json!({ "name": "level", "labels": labels, "value": 1 });
        assert_eq!(code(record(&own, sample)), "invalid-metric", "{labels}");
    }
    let all = all.collected();
    assert_eq!(all.refused["one"], 8 + 4 + 3 + 6);
    assert!(all.families["level"].series.is_empty());
}

#[test]
fn a_plugin_has_its_limits_and_leaves_others_theirs() {
    let (all, own) = one();
    let gauge = |n: usize| json!({ "name": format!("g{n}"), "type": "gauge", "help": "Some" });
    for n in 0..MAX_METRICS {
        declare(&own, gauge(n)).expect("within the limit");
    }
    assert_eq!(code(declare(&own, gauge(MAX_METRICS))), "too-many-metrics");
    declare(&own, gauge(0)).expect("known");
    let series = |n: usize| {
        let name = format!("g{}", n % MAX_METRICS);
        json!({ "name": name, "labels": { "n": n.to_string() }, "value": 1 })
    };
    for n in 0..MAX_SERIES {
        record(&own, series(n)).expect("within the limit");
    }
    assert_eq!(code(record(&own, series(MAX_SERIES))), "too-many-series");
    record(&own, series(1)).expect("known");
    assert_eq!(all.collected().refused["one"], 2);

    let other = all.of("two");
    declare(&other, gauge(0)).expect("its own limit");
    record(&other, series(0)).expect("its own limit");
}

#[test]
fn a_figure_stays_a_number() {
    let (all, own) = one();
    declare(
        &own,
        json!({ "name": "jobs", "type": "counter", "help": "Some" }),
    )
    .expect("declared");
    let most = json!({ "name": "jobs", "value": f64::MAX });
    record(&own, most.clone()).expect("a number");
    assert_eq!(code(record(&own, most)), "invalid-metric");
    assert_eq!(value(&all, "jobs", "one"), Some(Value::Number(f64::MAX)));
}
