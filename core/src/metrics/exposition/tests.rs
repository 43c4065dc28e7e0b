use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::Utc;

use super::*;
use crate::{
    control::{DrainStatus, InFlight},
    journal::{JournalCounters, JournalFigures},
    plugin::{FaultCounts, Placement, PluginInfo, PluginState},
    plugin_metrics::{Collected, PluginMetrics},
};

fn snapshot() -> Snapshot {
    Snapshot {
        version: "1.2.3".to_owned(),
        status: NodeStatus::Active,
        ready: true,
        link: LinkStage::Session,
        reconnects: 2,
        token_left: Some(Duration::from_millis(90_500)),
        heartbeats: (7, 1),
        unknown_messages: 0,
        dispatch: DispatchFigures::default(),
        journal: JournalFigures::default(),
        drain: DrainStatus::default(),
        plugins: Vec::new(),
        faults: BTreeMap::new(),
        plugin_metrics: Collected::default(),
    }
}

fn plugin(name: &str, state: PluginState) -> PluginInfo {
    PluginInfo {
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        placement: Placement::InProcess,
        placed_by: String::new(),
        sha256: None,
        file: None,
        state,
        trust: "owner".to_owned(),
        trust_reason: String::new(),
    }
}

fn render(snapshot: Snapshot) -> String {
    let page = page(snapshot);
    assert_eq!((page.status, page.content_type), (Status::Ok, CONTENT_TYPE));
    page.body
}

fn has(body: &str, line: &str) {
    assert!(body.lines().any(|each| each == line), "no {line}\n{body}");
}

#[test]
fn a_node_and_its_link_are_told() {
    let body = render(snapshot());
    for line in [
        r#"aegis_worker_build_info{version="1.2.3"} 1"#,
        r#"aegis_worker_node_status{state="active"} 1"#,
        r#"aegis_worker_node_status{state="draining"} 0"#,
        "aegis_worker_ready 1",
        r#"aegis_worker_link{state="session"} 1"#,
        r#"aegis_worker_link{state="heartbeats"} 0"#,
        "aegis_worker_reconnects_total 2",
        "aegis_worker_heartbeats_sent_total 7",
        "aegis_worker_heartbeats_failed_total 1",
        "# UNIT aegis_worker_token_remaining_seconds seconds",
        "aegis_worker_token_remaining_seconds 90.5",
        r#"aegis_worker_drain{state="none"} 1"#,
    ] {
        has(&body, line);
    }
    assert!(body.ends_with("# EOF\n"));
}

#[test]
fn without_a_token_nothing_is_said_of_its_end() {
    let body = render(Snapshot {
        token_left: None,
        ..snapshot()
    });
    assert!(!body.contains("token_remaining"), "{body}");
}

#[test]
fn commands_are_told_by_name_and_state() {
    let dispatch = DispatchFigures {
        lanes: vec![LaneFigures {
            command: "hello".to_owned(),
            plugin: "greeter".to_owned(),
            concurrency: 4,
            running: 2,
            wedged: 1,
            queued: 3,
            scheduled: 5,
        }],
        outcomes: vec![("hello".to_owned(), [6, 5, 4, 3, 2, 1])],
        unknown: [0, 0, 9, 0, 0, 0],
    };
    let body = render(Snapshot {
        dispatch,
        ..snapshot()
    });
    for line in [
        r#"aegis_worker_commands_total{command="hello",state="succeeded"} 6"#,
        r#"aegis_worker_commands_total{command="hello",state="unknown"} 1"#,
        r#"aegis_worker_commands_total{command="(unknown)",state="rejected"} 9"#,
        r#"aegis_worker_commands_running{command="hello",plugin="greeter"} 2"#,
        r#"aegis_worker_commands_queued{command="hello",plugin="greeter"} 3"#,
        r#"aegis_worker_commands_scheduled{command="hello",plugin="greeter"} 5"#,
        r#"aegis_worker_handler_slots{command="hello",plugin="greeter"} 4"#,
        r#"aegis_worker_handler_wedged_slots{command="hello",plugin="greeter"} 1"#,
    ] {
        has(&body, line);
    }
}

#[test]
fn journal_and_drain_are_told() {
    let body = render(Snapshot {
        journal: JournalFigures {
            held: 3,
            held_bytes: 4096,
            outbox: 2,
            counters: JournalCounters {
                redelivered: 8,
                ..JournalCounters::default()
            },
        },
        drain: DrainStatus {
            draining: true,
            started_at: Some(Utc::now()),
            in_flight: vec![InFlight {
                command_id: String::new(),
                name: "hello".to_owned(),
                plugin: "greeter".to_owned(),
                started_at: None,
                timeout_at: None,
                cancelled_at: None,
                given_up: false,
            }],
            ..DrainStatus::default()
        },
        ..snapshot()
    });
    for line in [
        "aegis_worker_outbox_outcomes 2",
        "aegis_worker_journal_commands 3",
        "aegis_worker_journal_held_bytes 4096",
        r#"aegis_worker_journal_irregularities_total{kind="redelivered"} 8"#,
        r#"aegis_worker_drain{state="draining"} 1"#,
        r#"aegis_worker_drain{state="drained"} 0"#,
        "aegis_worker_drain_in_flight_commands 1",
    ] {
        has(&body, line);
    }
}

#[test]
fn plugins_and_their_faults_are_told() {
    let faults = FaultCounts {
        double: 1,
        late: 2,
        forged: 3,
        after_quiesce: 4,
    };
    let body = render(Snapshot {
        plugins: vec![plugin("greeter", PluginState::Active)],
        faults: BTreeMap::from([("greeter".to_owned(), faults)]),
        ..snapshot()
    });
    has(
        &body,
        r#"aegis_worker_plugin_state{plugin="greeter",version="0.1.0",placement="in-process",state="active"} 1"#,
    );
    for (kind, count) in [
        ("double", 1),
        ("late", 2),
        ("forged", 3),
        ("after-quiesce", 4),
    ] {
        has(
            &body,
            &format!(
                r#"aegis_worker_plugin_stray_completions_total{{plugin="greeter",kind="{kind}"}} {count}"#
            ),
        );
    }
}

/// Two plugins count under one name, and one of them has hostile labels.
#[test]
fn what_plugins_count_is_told_with_their_names() {
    let metrics = Arc::new(PluginMetrics::default());
    for plugin in ["one", "two"] {
        let own = metrics.of(plugin);
        for declaration in [
            r#"{"name": "jobs", "type": "counter", "help": "Jobs done"}"#,
            r#"{"name": "level", "type": "gauge", "help": "How full"}"#,
            r#"{"name": "took", "type": "histogram", "help": "How long", "buckets": [0.5, 2]}"#,
            r#"{"name": "idle", "type": "gauge", "help": "Of nothing yet"}"#,
        ] {
            let declaration = serde_json::from_str(declaration).expect("a declaration");
            own.declare(declaration).expect("declared");
        }
        for sample in [
            r#"{"name": "jobs", "labels": {"way": "a\"} 1\n# EOF\n\\"}, "value": 3}"#,
            r#"{"name": "level", "value": -2.5}"#,
            r#"{"name": "took", "labels": {"way": "b"}, "value": 1}"#,
            r#"{"name": "took", "labels": {"way": "b"}, "value": 7}"#,
        ] {
            let sample = serde_json::from_str(sample).expect("a sample");
            own.record(sample).expect("recorded");
        }
        let sample = serde_json::from_str(r#"{"name": "none", "value": 1}"#);
        own.record(sample.expect("a sample")).expect_err("refused");
    }
    let body = render(Snapshot {
        plugin_metrics: metrics.collected(),
        ..snapshot()
    });
    for line in [
        r"# HELP aegis_plugin_jobs Jobs done",
        r"# TYPE aegis_plugin_jobs counter",
        r#"aegis_plugin_jobs_total{plugin="one",way="a\"} 1\n# EOF\n\\"} 3.0"#,
        r#"aegis_plugin_jobs_total{plugin="two",way="a\"} 1\n# EOF\n\\"} 3.0"#,
        r#"aegis_plugin_level{plugin="one"} -2.5"#,
        r#"aegis_plugin_took_sum{plugin="one",way="b"} 8.0"#,
        r#"aegis_plugin_took_count{plugin="one",way="b"} 2"#,
        r#"aegis_plugin_took_bucket{le="0.5",plugin="one",way="b"} 0"#,
        r#"aegis_plugin_took_bucket{le="2.0",plugin="one",way="b"} 1"#,
        r#"aegis_plugin_took_bucket{le="+Inf",plugin="one",way="b"} 2"#,
        r#"aegis_worker_plugin_refused_metrics_total{plugin="two"} 1"#,
    ] {
        has(&body, line);
    }
    assert_eq!(body.matches("# TYPE aegis_plugin_jobs ").count(), 1);
    assert!(!body.contains("aegis_plugin_idle"), "{body}");
    assert_eq!(body.matches("\n# EOF\n").count(), 1);
    assert!(body.ends_with("# EOF\n"));
}

/// A refused file may be named anything, and its name ends up in a label.
#[test]
fn hostile_names_neither_break_a_line_nor_repeat_a_series() {
    let evil = "a\"} 1\naegis_worker_ready 0\n# EOF\n\\";
    let refused = |name| plugin(name, PluginState::Refused(String::new()));
    let body = render(Snapshot {
        plugins: vec![refused(evil), refused(evil)],
        ..snapshot()
    });
    let named: Vec<&str> = body
        .lines()
        .filter(|line| line.starts_with("aegis_worker_plugin_state{"))
        .collect();
    assert_eq!(
        named,
        [
            r#"aegis_worker_plugin_state{plugin="a\"} 1\naegis_worker_ready 0\n# EOF\n\\",version="0.1.0",placement="in-process",state="refused"} 1"#
        ]
    );
    assert_eq!(body.matches("\n# EOF\n").count(), 1);
    has(&body, "aegis_worker_ready 1");
}

#[test]
fn every_family_has_its_help_and_no_series_comes_twice() {
    let body = render(Snapshot {
        dispatch: DispatchFigures {
            outcomes: vec![("hello".to_owned(), [0; 6])],
            ..DispatchFigures::default()
        },
        ..snapshot()
    });
    let mut series = BTreeSet::new();
    let mut helped = BTreeSet::new();
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("a text");
            assert!(
                name.starts_with("aegis_worker_") && !text.is_empty(),
                "{line}"
            );
            assert!(helped.insert(name.to_owned()), "{name} comes twice");
        } else if !line.starts_with('#') {
            let (key, value) = line.rsplit_once(' ').expect("a value");
            assert!(series.insert(key.to_owned()), "{key} comes twice");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let name = key.split('{').next().expect("a name");
            let known = ["", "_total", "_info"].iter().any(|suffix| {
                name.strip_suffix(suffix)
                    .is_some_and(|name| helped.contains(name))
            });
            assert!(known, "{name} has no help");
        }
    }
    assert!(series.len() > 30, "{}", series.len());
}
