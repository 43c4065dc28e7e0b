//! `drain` and `shutdown`.

use aegis_proto::{
    cluster::v1::NodeStatus,
    operator::v1::NodeView,
    worker::v1::{DrainStatus, InFlight},
};
use prost_types::Timestamp;

use crate::{
    aegisctl::Operator,
    fake::{ALPHA, Fake, Script, node, succeeded},
};

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn draining(in_flight: Vec<InFlight>, finished: bool) -> NodeView {
    let mut view = node(ALPHA, "alpha");
    view.info.as_mut().unwrap().status = NodeStatus::Draining.into();
    view.drain = Some(DrainStatus {
        started_at: at(1),
        finished_at: if finished { at(2) } else { None },
        in_flight,
        ..Default::default()
    });
    view
}

fn script(changes: Vec<NodeView>) -> Script {
    Script {
        nodes: vec![node(ALPHA, "alpha")],
        streams: vec![vec![succeeded(ALPHA, "{}")]].into(),
        node_changes: changes,
        ..Default::default()
    }
}

fn blocking() -> InFlight {
    InFlight {
        command_id: "0199bbbb-0000-7000-8000-000000000001".into(),
        name: "hello.wait".into(),
        plugin: "hello-plugin".into(),
        started_at: None,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_followed_until_nothing_blocks_it() {
    let changes = vec![
        node(ALPHA, "alpha"),
        draining(vec![blocking()], false),
        draining(vec![], true),
    ];
    let fake = Fake::start(script(changes)).await;
    let ran = Operator::of(&fake)
        .run(&["drain", "0192", "--deadline", "1m", "--reason", "kernel"])
        .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    insta::assert_snapshot!("drain_stdout", ran.stdout);
    insta::assert_snapshot!("drain_stderr", ran.stderr);
    let payload: serde_json::Value = serde_json::from_slice(&fake.submitted()[0].payload).unwrap();
    assert_eq!(
        payload,
        serde_json::json!({"drain": true, "deadlineMs": 60_000, "reason": "kernel"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_is_followed_until_the_node_takes_work() {
    let fake = Fake::start(script(vec![
        draining(vec![blocking()], false),
        node(ALPHA, "alpha"),
    ]))
    .await;
    let ran = Operator::of(&fake).run(&["drain", "--all", "--undo"]).await;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "0192f0c1 takes work again\n"),
        "{ran:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_someone_undoes_did_not_succeed() {
    let fake = Fake::start(script(vec![
        draining(vec![blocking()], false),
        node(ALPHA, "alpha"),
    ]))
    .await;
    let ran = Operator::of(&fake).run(&["drain", "--all"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("undone"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_is_followed_until_the_worker_has_deregistered() {
    let mut gone = node(ALPHA, "alpha");
    gone.connected = false;
    let mut deregistered = gone.clone();
    deregistered.deregistered = true;
    let fake = Fake::start(script(vec![draining(vec![], false), gone, deregistered])).await;
    let ran = Operator::of(&fake)
        .run(&["shutdown", "0192", "--reason", "moved", "-o", "json"])
        .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let json = ran.json();
    assert_eq!(json["nodes"][0]["state"], "deregistered");
    assert_eq!(json["counts"]["succeeded"], 1);
    assert_eq!(fake.submitted()[0].payload, br#"{"reason":"moved"}"#);
}
