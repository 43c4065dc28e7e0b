//! Each table and text, as people see it at a fixed time.

use aegis_proto::{
    operator::v1::{self, CommandView, NodeView},
    worker::v1::{CommandError, CommandState, ConfigStatus, DrainStatus, InFlight, Progress},
};
use chrono::{DateTime, Utc};
use prost_types::Timestamp;

use super::*;
use crate::document::{
    Command, CommandList, Config, Group, Node, NodeConfig, Receipt, Revision, RolloutDetail,
};

const NODE: &str = "0192f0c1-7a3e-4b7e-8a51-3f1f6f0e2d11";
const ROLLOUT: &str = "0199dddd-0000-7000-8000-00000000eeee";

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(10_000, 0).unwrap()
}

/// So many seconds ago.
fn ago(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp {
        seconds: 10_000 - seconds,
        nanos: 0,
    })
}

fn view(id: &str, state: CommandState) -> CommandView {
    CommandView {
        command_id: format!("0199aaaa-0000-7000-8000-{id:0>12}"),
        node_id: NODE.into(),
        name: "copy".into(),
        state: state.into(),
        issuer: "operator".into(),
        payload: br#"{"from":"a","to":"b"}"#.to_vec(),
        created_at: ago(90),
        delivered_at: ago(89),
        started_at: ago(88),
        ..Default::default()
    }
}

fn failed() -> CommandView {
    CommandView {
        finished_at: ago(3),
        attempt: 2,
        output_cut: 512,
        error: Some(CommandError {
            code: "disk-full".into(),
            message: "no space on /var\x07".into(),
            help: "Make room, then run it again.".into(),
            retryable: true,
            retry_after: Some(prost_types::Duration {
                seconds: 90,
                nanos: 0,
            }),
        }),
        receipt_signature: vec![1],
        ..view("2", CommandState::Failed)
    }
}

#[test]
fn a_command() {
    let running = CommandView {
        timeout: Some(prost_types::Duration {
            seconds: 300,
            nanos: 0,
        }),
        start_by: ago(-600),
        cancel_requested: true,
        progress: Some(Progress {
            permille: 421,
            note: "second disk".into(),
        }),
        ..view("1", CommandState::Running)
    };
    insta::assert_snapshot!("command_running", command(&running.into(), now()));
    let failed = Command::from(failed()).with_output(b"copying\n\x1b[1mhalf\n");
    insta::assert_snapshot!("command_failed", command(&failed, now()));
}

#[test]
fn the_list_of_commands() {
    let list = [
        view("3", CommandState::Queued),
        failed(),
        view("1", CommandState::Running),
    ];
    insta::assert_snapshot!("commands", commands(&list.map(Command::from), now()));
    insta::assert_snapshot!("commands_none", commands(&[], now()));
}

#[test]
fn what_became_of_several() {
    let succeeded = CommandView {
        response: serde_json::to_vec(&"x".repeat(200)).unwrap(),
        finished_at: ago(87),
        ..view("1", CommandState::Succeeded)
    };
    let open = view("3", CommandState::Delivered);
    let list = CommandList::new(
        String::new(),
        [succeeded, failed(), open].map(Command::from).to_vec(),
    );
    insta::assert_snapshot!("outcomes", outcomes(&list));
}

#[test]
fn a_group() {
    let commands = vec![view("1", CommandState::Running), failed()];
    let counts = [(CommandState::Running, 1), (CommandState::Failed, 1)];
    let shown = v1::Group {
        group_id: "0199aaaa-0000-7000-8000-00000000ffff".into(),
        name: "copy".into(),
        issuer: "operator".into(),
        created_at: ago(90),
        counts: counts
            .map(|(state, commands)| v1::StateCount {
                state: state.into(),
                commands,
            })
            .to_vec(),
        finished_at: None,
    };
    let shown = Group::new(shown, commands.into_iter().map(Command::from).collect());
    insta::assert_snapshot!("group", group(&shown, now()));
}

#[test]
fn a_receipt() {
    let mut shown = Receipt {
        command_id: "0199aaaa-0000-7000-8000-000000000001".into(),
        node_id: NODE.into(),
        name: "copy".into(),
        state: "succeeded".into(),
        error_code: None,
        attempt: 1,
        started_at: DateTime::from_timestamp(9_990, 500_000_000),
        finished_at: DateTime::from_timestamp(9_991, 0),
        response_sha256: "ab".repeat(32),
        output_sha256: "cd".repeat(32),
        receipt: "cmVjZWlwdA==".into(),
        signature: "c2lnbmF0dXJl".into(),
        public_key: "-----BEGIN PUBLIC KEY-----\na2V5\n-----END PUBLIC KEY-----\n".into(),
        key_fingerprint: "ef".repeat(32),
        verified: true,
        faults: Vec::new(),
    };
    insta::assert_snapshot!("receipt", receipt(&shown));
    shown.verified = false;
    shown.faults = vec!["the output is not the one that it names".into()];
    let text = receipt(&shown);
    assert!(text.contains("NOT VERIFIED\n  the output is not"), "{text}");
}

#[test]
fn a_draining_node() {
    let waiting = |id: u32| InFlight {
        command_id: format!("0199aaaa-0000-7000-8000-{id:012}"),
        name: "copy".into(),
        plugin: "files".into(),
        started_at: ago(75),
        ..Default::default()
    };
    let view = NodeView {
        connected: true,
        drain: Some(DrainStatus {
            started_at: ago(60),
            deadline: ago(-30),
            finished_at: None,
            in_flight: vec![
                waiting(0),
                InFlight {
                    timeout_at: ago(-240),
                    ..waiting(1)
                },
                InFlight {
                    cancelled_at: ago(3),
                    ..waiting(2)
                },
                InFlight {
                    given_up: true,
                    ..waiting(3)
                },
            ],
            reason: "new kernel".into(),
        }),
        unhealthy_reason: "no heartbeat was answered for 2m".into(),
        ..Default::default()
    };
    let node = Node::from(view);
    insta::assert_snapshot!("drain_line", drain_line(&node, now()));
    let detail = crate::document::NodeDetail {
        node,
        plugins: Vec::new(),
        handlers: Vec::new(),
    };
    insta::assert_snapshot!("draining_node", node_detail(&detail, now()));
}

#[test]
fn config_layers() {
    let layer = |scope: &str, name: &str| v1::ConfigLayer {
        scope: scope.into(),
        name: name.into(),
        document: br#"{"worker":{"log_level":"debug"}}"#.to_vec(),
        set_by: "operator".into(),
        set_at: ago(3600),
        rollout_id: if name.is_empty() { "" } else { ROLLOUT }.into(),
    };
    let shown = Config::from(v1::ShowConfigResponse {
        layers: vec![layer("global", ""), layer("tag", "gpu")],
        merged: br#"{"worker":{"log_level":"debug"}}"#.to_vec(),
        merged_version: "v2".into(),
        status: Some(ConfigStatus {
            active_version: "v1".into(),
            attempted_version: "v2".into(),
            failed_step: "apply".into(),
            reason: "the plugin refused it".into(),
            rolled_back_to: "v1".into(),
            log_tail: vec!["applying v2".into(), "hello: \x1b[31mno".into()],
            ..Default::default()
        }),
    });
    insta::assert_snapshot!("config", config(&shown, now()));
}

#[test]
fn a_rollout() {
    let node = |id: &str, state: &str, batch| v1::RolloutNode {
        node_id: format!("{id}{}", &NODE[8..]),
        state: state.into(),
        batch,
        released_at: if batch > 0 { ago(40) } else { None },
        ..Default::default()
    };
    let shown = v1::ShowRolloutResponse {
        rollout: Some(v1::Rollout {
            rollout_id: ROLLOUT.into(),
            scope: "tag".into(),
            name: "gpu".into(),
            revision: 12,
            state: "stopped".into(),
            reason: "1 of its nodes failed, 0 may".into(),
            started_by: "operator".into(),
            started_at: ago(60),
            finished_at: None,
            batch_nodes: 2,
            max_failures: 0,
            node_timeout: Some(prost_types::Duration {
                seconds: 300,
                nanos: 0,
            }),
            pause: Some(prost_types::Duration {
                seconds: 90,
                nanos: 0,
            }),
        }),
        nodes: vec![
            node("0192f0c1", "active", 1),
            v1::RolloutNode {
                step: "apply".into(),
                reason: "the plugin \x07refused it".into(),
                ..node("0192f0c2", "failed", 1)
            },
            node("0192f0c3", "waiting", 0),
        ],
    };
    let detail = RolloutDetail::from(shown);
    insta::assert_snapshot!("rollout", rollout(&detail, now()));
    insta::assert_snapshot!("rollouts", rollouts(&[detail.rollout], now()));
    insta::assert_snapshot!("rollout_line", rollout_line(&detail.nodes[1]));
}

#[test]
fn what_layers_were() {
    let revision = |revision, document: &str| v1::ConfigRevision {
        revision,
        layer: Some(v1::ConfigLayer {
            scope: "global".into(),
            document: document.into(),
            set_by: "operator".into(),
            set_at: ago(60),
            ..Default::default()
        }),
        version: if document.is_empty() {
            ""
        } else {
            "cfg-00112233445566778899"
        }
        .into(),
    };
    let revisions = [revision(4, ""), revision(3, "{}")];
    insta::assert_snapshot!("history", history(&revisions.map(Revision::from), now()));
}

#[test]
fn the_config_of_each_node() {
    let view = |id: &str, active: &str, attempted: &str| NodeView {
        info: Some(aegis_proto::cluster::v1::NodeInfo {
            node_id: format!("{id}{}", &NODE[8..]),
            ..Default::default()
        }),
        connected: true,
        config: Some(ConfigStatus {
            active_version: active.into(),
            attempted_version: attempted.into(),
            attempt_succeeded: active == attempted,
            ..Default::default()
        }),
        wanted_config_version: "v2".into(),
        ..Default::default()
    };
    let mut failed = view("0192f0c2", "v1", "v2");
    let status = failed.config.as_mut().unwrap();
    status.failed_step = "apply".into();
    status.reason = "the plugin refused it".into();
    status.rolled_back_to = "v1".into();
    let mut held = view("0192f0c3", "v2", "v2");
    held.held_by_rollout = ROLLOUT.into();
    let mut offline = view("0192f0c5", "v1", "v1");
    offline.connected = false;
    let mut by_hand = view("0192f0c6", "v1", "v1");
    by_hand.wanted_config_version.clear();
    let nodes = [
        view("0192f0c1", "v2", "v2"),
        failed,
        held,
        view("0192f0c4", "v1", "v1"),
        offline,
        by_hand,
        NodeView::default(),
    ];
    insta::assert_snapshot!("config_status", config_status(&nodes.map(NodeConfig::from)));
}

#[test]
fn records() {
    let event = v1::Event {
        event_id: 7,
        at: ago(5),
        kind: "node-registered".into(),
        node_id: NODE.into(),
        command_id: String::new(),
        message: "registered from 127.0.0.1".into(),
    };
    insta::assert_snapshot!("events", events(&[event.into()], now()));
    let entry = v1::AuditEntry {
        audit_id: 3,
        at: ago(5),
        operator: "operator".into(),
        action: "SubmitCommand".into(),
        detail: r#"{"name":"hello","nodes":1}"#.into(),
        result: "ok".into(),
    };
    insta::assert_snapshot!("audit", audit(&[entry.into()], now()));
    let token = v1::EnrolmentToken {
        token_id: "0199cccc".into(),
        state: "spent".into(),
        spent_by: NODE.into(),
        created_at: ago(600),
        expires_at: ago(-3000),
        note: "rack 7".into(),
        ..Default::default()
    };
    insta::assert_snapshot!("tokens", tokens(&[token.into()], now()));
}
