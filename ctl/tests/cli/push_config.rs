//! `push-config`.

use std::fs;

use aegis_proto::{
    operator::v1::{CommandView, ShowConfigResponse},
    worker::v1::{CommandError, CommandState, ConfigStatus},
};

use crate::{
    aegisctl::Operator,
    fake::{ALPHA, Fake, Script, command, node, state, succeeded},
};

fn config(status: ConfigStatus) -> ShowConfigResponse {
    ShowConfigResponse {
        merged_version: "v2".into(),
        status: Some(status),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_config_is_followed_until_its_node_acknowledged_it() {
    let fake = Fake::start(Script {
        nodes: vec![node(ALPHA, "alpha")],
        streams: vec![vec![succeeded(ALPHA, "{}")]].into(),
        config: config(ConfigStatus {
            active_version: "v2".into(),
            ..Default::default()
        }),
        ..Default::default()
    })
    .await;
    let operator = Operator::of(&fake);
    let file = operator.dir().join("config.json");
    fs::write(&file, r#"{"worker": {}}"#).unwrap();
    let ran = operator
        .run(&["push-config", "0192", file.to_str().unwrap()])
        .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    insta::assert_snapshot!("pushed", ran.stdout);
    assert_eq!(fake.configs()[0].document, br#"{"worker": {}}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_config_says_at_which_step_and_what_stays_in_force() {
    let refused = CommandView {
        error: Some(CommandError {
            code: "config-rejected".into(),
            message: "validate: unknown key \"wrker\"".into(),
            ..Default::default()
        }),
        ..command(ALPHA, CommandState::Failed)
    };
    let fake = Fake::start(Script {
        nodes: vec![node(ALPHA, "alpha")],
        streams: vec![vec![state(refused)]].into(),
        config: config(ConfigStatus {
            active_version: "v1".into(),
            attempted_version: "v2".into(),
            failed_step: "validate".into(),
            reason: "unknown key \"wrker\"".into(),
            ..Default::default()
        }),
        ..Default::default()
    })
    .await;
    let operator = Operator::of(&fake);
    let file = operator.dir().join("config.json");
    fs::write(&file, r#"{"wrker": {}}"#).unwrap();
    let ran = operator
        .run(&["push-config", "--all", file.to_str().unwrap()])
        .await;
    assert_eq!(ran.code, 1, "{ran:?}");
    insta::assert_snapshot!("refused", ran.stdout);
}
