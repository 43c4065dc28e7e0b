//! `group show`, and `command show` with `--follow` and `--receipt`.

use aegis_proto::{
    operator::v1::{CommandView, Group, StateCount},
    worker::v1::{CommandError, CommandState},
};

use crate::{
    aegisctl::Operator,
    fake::{ALPHA, BETA, Fake, Script, command, command_id, output, state, succeeded, two_nodes},
};

const GROUP: &str = "0199aaaa-0000-7000-8000-00000000ffff";

fn group() -> Script {
    let failed = CommandView {
        error: Some(CommandError {
            code: "no-voice".into(),
            message: "the node can't speak".into(),
            ..Default::default()
        }),
        ..command(BETA, CommandState::Failed)
    };
    let count = |state: CommandState| StateCount {
        state: state.into(),
        commands: 1,
    };
    Script {
        group: Some(Group {
            group_id: GROUP.into(),
            name: "hello".into(),
            issuer: "operator".into(),
            counts: vec![count(CommandState::Running), count(CommandState::Failed)],
            ..Default::default()
        }),
        commands: vec![command(ALPHA, CommandState::Running), failed],
        ..two_nodes()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_shown_with_its_failures() {
    let operator = Operator::of(&Fake::start(group()).await);
    let ran = operator.run(&["group", "show", "0199", "--failed"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    insta::assert_snapshot!("group_failed", ran.stdout);
    let json = operator
        .run(&["group", "show", "0199", "-o", "json"])
        .await
        .json();
    assert_eq!(json["counts"]["failed"], 1);
    assert_eq!(json["counts"]["open"], 1);
    assert_eq!(json["commands"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_followed_to_its_outcomes() {
    let fake = Fake::start(Script {
        streams: vec![vec![
            output(ALPHA, 0, "one\n"),
            succeeded(ALPHA, "{}"),
            state(command(BETA, CommandState::Failed)),
        ]]
        .into(),
        ..group()
    })
    .await;
    let ran = Operator::of(&fake)
        .run(&["group", "show", "0199", "--follow"])
        .await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.contains("one\n"), "{ran:?}");
    assert!(ran.stdout.contains("1 succeeded, 1 failed of 2"), "{ran:?}");
    let way = format!("aegisctl group show {GROUP} --failed");
    assert!(ran.stderr.contains(&way), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_of_the_output_is_said() {
    let cut = CommandView {
        output_cut: 900,
        ..command(ALPHA, CommandState::Succeeded)
    };
    let fake = Fake::start(Script {
        commands: vec![command(ALPHA, CommandState::Running)],
        streams: vec![vec![
            output(ALPHA, 0, "one\n"),
            output(ALPHA, 100, "two\n"),
            state(cut),
        ]]
        .into(),
        ..two_nodes()
    })
    .await;
    let operator = Operator::of(&fake);
    let ran = operator
        .run(&["command", "show", &command_id(ALPHA), "--follow"])
        .await;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "one\ntwo\n"),
        "{ran:?}"
    );
    insta::assert_snapshot!("missing_output", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_command_has_no_receipt_yet() {
    let operator = Operator::of(&Fake::start(group()).await);
    let ran = operator
        .run(&["command", "show", &command_id(ALPHA), "--receipt"])
        .await;
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    insta::assert_snapshot!("no_receipt", ran.stderr);
}
