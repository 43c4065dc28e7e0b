//! `config set --batch` and `config rollout`.

use std::fs;

use aegis_proto::operator::v1::{
    Rollout, RolloutNode, RolloutPlan, ShowRolloutResponse, steer_rollout_request::Action,
};

use crate::{
    aegisctl::Operator,
    fake::{ALPHA, BETA, Fake, Script, two_nodes},
};

const ROLLOUT: &str = "0199dddd-0000-7000-8000-00000000eeee";

fn shown(state: &str, nodes: [(&str, &str, u32); 2]) -> ShowRolloutResponse {
    let nodes = nodes.map(|(id, state, batch)| RolloutNode {
        node_id: id.into(),
        state: state.into(),
        batch,
        step: if state == "failed" { "apply" } else { "" }.into(),
        ..Default::default()
    });
    ShowRolloutResponse {
        rollout: Some(Rollout {
            rollout_id: ROLLOUT.into(),
            scope: "global".into(),
            revision: 3,
            state: state.into(),
            reason: if state == "stopped" {
                "1 of its nodes failed, 0 may"
            } else {
                ""
            }
            .into(),
            batch_nodes: 1,
            ..Default::default()
        }),
        nodes: nodes.to_vec(),
    }
}

fn script(states: Vec<ShowRolloutResponse>) -> Script {
    Script {
        rollouts: states.into(),
        ..two_nodes()
    }
}

async fn set(fake: &Fake, arguments: &[&str]) -> crate::aegisctl::Ran {
    let operator = Operator::of(fake);
    let file = operator.dir().join("config.json");
    fs::write(&file, r#"{"worker": {}}"#).unwrap();
    let file = file.to_str().unwrap();
    let arguments = [&["config", "set", "--all", file], arguments].concat();
    operator.run(&arguments).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_followed_to_its_end() {
    let fake = Fake::start(script(vec![
        shown("running", [(ALPHA, "pending", 1), (BETA, "waiting", 0)]),
        shown("running", [(ALPHA, "active", 1), (BETA, "pending", 2)]),
        shown("completed", [(ALPHA, "active", 1), (BETA, "absent", 2)]),
    ]))
    .await;
    let ran = set(&fake, &["--batch", "50%", "--node-timeout", "1m"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    insta::assert_snapshot!("completed_stdout", ran.stdout);
    insta::assert_snapshot!("completed_stderr", ran.stderr);
    let plan = RolloutPlan {
        batch_percent: 50,
        node_timeout: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        ..Default::default()
    };
    assert_eq!(fake.configs()[0].rollout, Some(plan));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_stops_says_how_to_go_on() {
    let fake = Fake::start(script(vec![
        shown("running", [(ALPHA, "pending", 1), (BETA, "waiting", 0)]),
        shown("stopped", [(ALPHA, "failed", 1), (BETA, "waiting", 0)]),
    ]))
    .await;
    let ran = set(&fake, &["--batch", "1", "--max-failures", "0"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    insta::assert_snapshot!("stopped_stderr", ran.stderr);
    let operator = Operator::of(&fake);
    let json = operator
        .run(&["config", "rollout", "show", "-o", "json"])
        .await
        .json();
    assert_eq!(json["state"], "stopped");
    assert_eq!(json["counts"]["failed"], 1);
    assert_eq!(json["nodes"][0]["step"], "apply");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_steered() {
    let stopped = shown("stopped", [(ALPHA, "failed", 1), (BETA, "waiting", 0)]);
    let fake = Fake::start(script(vec![stopped])).await;
    let operator = Operator::of(&fake);
    for (arguments, code) in [
        (&["pause", "0199", "--reason", "lunch"][..], 0),
        (&["resume", "0199"], 1),
        (&["abort", "0199"], 0),
    ] {
        let ran = operator
            .run(&[&["config", "rollout"], arguments].concat())
            .await;
        assert_eq!(ran.code, code, "{arguments:?} {ran:?}");
    }
    let steered = fake.steered();
    let actions: Vec<_> = steered.iter().map(|it| it.action()).collect();
    assert_eq!(actions, [Action::Pause, Action::Resume, Action::Abort]);
    assert_eq!(steered[0].reason, "lunch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_none_is_not_sent() {
    let fake = Fake::start(two_nodes()).await;
    for arguments in [
        &["--batch", "0"][..],
        &["--batch", "101%"],
        &["--max-failures", "1"],
        &["--revision", "1"],
        &["--revision", "0"],
    ] {
        let ran = set(&fake, arguments).await;
        assert_eq!(ran.code, 2, "{arguments:?} {ran:?}");
    }
    assert!(fake.configs().is_empty());
}
