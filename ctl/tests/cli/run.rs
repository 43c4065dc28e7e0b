//! `run`.

use aegis_proto::{
    operator::v1::CommandView,
    worker::v1::{CommandError, CommandState},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tonic::Status;

use crate::{
    aegisctl::Operator,
    fake::{
        ALPHA, BETA, Fake, Script, command, command_id, output, progress, state, succeeded,
        two_nodes,
    },
};

fn script(streams: Vec<Vec<Result<aegis_proto::operator::v1::CommandEvent, Status>>>) -> Script {
    Script {
        streams: streams.into(),
        ..two_nodes()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_streams_progress_and_output_and_prints_the_response() {
    let fake = Fake::start(script(vec![vec![
        state(command(ALPHA, CommandState::Running)),
        progress(ALPHA, 400, "warming up"),
        output(ALPHA, 0, "one\n"),
        output(ALPHA, 4, "two\n"),
        succeeded(ALPHA, r#"{"text":"hello, x"}"#),
    ]]))
    .await;
    let ran = Operator::of(&fake)
        .run(&["run", "0192", "hello", r#"{"name":"x"}"#])
        .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    insta::assert_snapshot!("run_stdout", ran.stdout);
    insta::assert_snapshot!("run_stderr", ran.stderr);
    let submitted = fake.submitted();
    assert_eq!(submitted.len(), 1);
    assert_eq!(submitted[0].payload, br#"{"name":"x"}"#);
    assert!(!submitted[0].request_id.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_of_ones_own_is_sent_and_takes_no_time_from_now() {
    const ID: &str = "01a20a52-b359-711d-ae48-7dd672f881dd";
    let fake = Fake::start(two_nodes()).await;
    let operator = Operator::of(&fake);
    let run = ["run", "0192", "hello", "{}", "--unchecked", "--detach"];
    let ran = operator
        .run(&[&run[..], &["--request-id", ID, "--start-by", "10m"]].concat())
        .await;
    assert_eq!(ran.code, 2, "{ran:?}");
    let time = ["--start-by", "2126-01-31T18:00:00Z"];
    let ran = operator
        .run(&[&run[..], &["--request-id", ID], &time].concat())
        .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let submitted = fake.submitted();
    let ids: Vec<_> = submitted.iter().map(|it| it.request_id.as_str()).collect();
    assert_eq!(ids, [ID]);
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_have_the_types_of_the_schema() {
    let fake = Fake::start(script(vec![vec![
        succeeded(ALPHA, "{}"),
        succeeded(BETA, "{}"),
    ]]))
    .await;
    let operator = Operator::of(&fake);
    let ran = operator
        .run(&[
            "run", "--all", "hello", "--arg", "name=7", "--arg", "times=2",
        ])
        .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let payload: serde_json::Value = serde_json::from_slice(&fake.submitted()[0].payload).unwrap();
    assert_eq!(payload, json!({"name": "7", "times": 2}));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_nodes_get_a_line_each_and_one_failure_is_exit_1() {
    let failed = CommandView {
        error: Some(CommandError {
            code: "no-voice".into(),
            message: "the node can't speak".into(),
            ..Default::default()
        }),
        ..command(BETA, CommandState::Failed)
    };
    let fake = Fake::start(script(vec![vec![
        output(ALPHA, 0, "first li"),
        output(BETA, 0, "other\n"),
        output(ALPHA, 8, "ne\nlast"),
        succeeded(ALPHA, r#"{"text":"hello"}"#),
        state(failed),
    ]]))
    .await;
    let ran = Operator::of(&fake)
        .run(&["run", "--tag", "gpu", "hello", "--arg", "name=x"])
        .await;
    assert_eq!(ran.code, 1, "{ran:?}");
    insta::assert_snapshot!("several_stdout", ran.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_says_why_and_what_to_do() {
    let rejected = CommandView {
        error: Some(CommandError {
            code: "draining".into(),
            message: "the node drains and takes no new work".into(),
            help: "Run `aegisctl drain NODE --undo`.".into(),
            retryable: true,
            ..Default::default()
        }),
        ..command(ALPHA, CommandState::Rejected)
    };
    let fake = Fake::start(script(vec![vec![state(rejected)]])).await;
    let ran = Operator::of(&fake)
        .run(&["run", ALPHA, "hello", "--arg", "name=x"])
        .await;
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    insta::assert_snapshot!("rejected", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_does_not_fit_is_not_sent() {
    let fake = Fake::start(two_nodes()).await;
    let operator = Operator::of(&fake);
    for arguments in [
        &["run", "--all", "hello"][..],
        &["run", "--all", "hello", r#"{"name": 1}"#],
        &[
            "run",
            "--all",
            "hello",
            "--arg",
            "name=x",
            "--arg",
            "times=many",
        ],
        &["run", "--all", "hello", "{name}"],
        &["run", "--all", "helo", "--arg", "name=x"],
    ] {
        let ran = operator.run(arguments).await;
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (2, ""),
            "{arguments:?} {ran:?}"
        );
    }
    assert!(fake.submitted().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn unchecked_leaves_the_judgement_to_the_worker() {
    let fake = Fake::start(script(vec![vec![succeeded(ALPHA, "{}")]])).await;
    let ran = Operator::of(&fake)
        .run(&["run", "0192", "later", "{}", "--unchecked"])
        .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fake.submitted()[0].name, "later");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_watch_is_opened_again_and_nothing_is_shown_twice() {
    let fake = Fake::start(script(vec![
        vec![
            output(ALPHA, 0, "one\n"),
            Err(Status::unavailable("going away")),
        ],
        vec![
            output(ALPHA, 0, "one\n"),
            output(ALPHA, 4, "two\n"),
            succeeded(ALPHA, r#"{"n":2}"#),
        ],
    ]))
    .await;
    let ran = Operator::of(&fake)
        .run(&["run", "0192", "hello", "--arg", "name=x"])
        .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout, "one\ntwo\n{\n  \"n\": 2\n}\n");
    assert!(ran.stderr.contains("going away"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn detach_prints_the_id_and_returns() {
    let fake = Fake::start(two_nodes()).await;
    let ran = Operator::of(&fake)
        .run(&["run", "0192", "hello", "--arg", "name=x", "--detach"])
        .await;
    assert_eq!(
        (ran.code, ran.stdout.trim()),
        (0, command_id(ALPHA).as_str()),
        "{ran:?}"
    );
    assert!(
        ran.stderr.contains("aegisctl command show"),
        "{}",
        ran.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_detaches_and_says_how_to_come_back() {
    let fake = Fake::start(script(vec![vec![state(command(
        ALPHA,
        CommandState::Running,
    ))]]))
    .await;
    let operator = Operator::of(&fake);
    let mut child = operator
        .command(&["run", "0192", "hello", "--arg", "name=x"])
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    let running = stderr.next_line().await.unwrap().unwrap();
    assert!(running.contains("running"), "{running}");

    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();

    let said = stderr.next_line().await.unwrap().unwrap();
    let way_back = format!("aegisctl command show {} --follow", command_id(ALPHA));
    assert!(said.contains(&way_back), "{said}");
    assert_eq!(child.wait().await.unwrap().code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_one_document() {
    let fake = Fake::start(script(vec![vec![
        output(ALPHA, 0, "one\n"),
        succeeded(ALPHA, r#"{"text":"hello, x"}"#),
    ]]))
    .await;
    let ran = Operator::of(&fake)
        .run(&["-o", "json", "run", "0192", "hello", "--arg", "name=x"])
        .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    insta::assert_snapshot!("run_json", ran.stdout);
}
