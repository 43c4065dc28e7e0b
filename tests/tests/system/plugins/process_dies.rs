use std::time::Duration;

use aegis_proto::{
    operator::v1::{CommandView, Selector, SubmitCommandRequest, selector::Selector as Choice},
    worker::v1::CommandState,
};
use aegis_tests::{Cluster, PluginDir};

const DEADLY: &str = include_str!("../../../plugins/deadly.c");

/// The example in the worker, the deadly one beside it.
async fn cluster(more: &str) -> Cluster {
    let folder = PluginDir::with(&["hello_plugin"]);
    folder.compile("libdeadly.so", DEADLY);
    let section = format!(
        "[plugins.hello-plugin]\nplacement = \"in-process\"\n\n\
         [plugins.deadly]\nplacement = \"process\"\n{more}"
    );
    Cluster::start_in(folder, |worker| worker.config(&section)).await
}

async fn run_for_a_second(cluster: &Cluster, name: &str) -> CommandView {
    let request = SubmitCommandRequest {
        selector: Some(Selector {
            selector: Some(Choice::Node(cluster.node().to_owned())),
        }),
        name: name.to_owned(),
        payload: b"{}".to_vec(),
        timeout: Some(Duration::from_secs(1).try_into().expect("a duration")),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let answer = cluster.operator.rpc.clone().submit_command(request).await;
    let command = answer.expect("committed").into_inner().commands.remove(0);
    cluster.operator.outcome(&command.command_id).await
}

async fn is_well(cluster: &mut Cluster, after: &str) {
    let own = cluster.run("deadly.fine", "{}").await;
    assert_eq!(
        own.state(),
        CommandState::Succeeded,
        "after {after}: {own:#?}"
    );
    let other = cluster.run("hello", r#"{"name": "Ada"}"#).await;
    assert_eq!(
        other.state(),
        CommandState::Succeeded,
        "after {after}: {other:#?}"
    );
    assert!(cluster.program.runs(), "after {after}");
}

/// However it ends, its command learns how, and the next one runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_ends_its_process_ends_nothing_else() {
    let mut cluster = cluster("[plugins.deadly.limits]\nmemory = \"1GiB\"\n").await;
    for (name, says) in [
        ("exit", "exited with status 7"),
        ("abort", "signal 6"),
        ("segv", "signal 11"),
        ("stack", "overflowed its stack"),
        ("garbage", "a breach of the protocol"),
        ("close", "exited with status 0"),
        ("leak", "no memory is left"),
    ] {
        let lost = cluster.run(&format!("deadly.{name}"), "{}").await;
        assert_eq!(lost.state(), CommandState::Unknown, "{name}: {lost:#?}");
        let error = lost.error.expect("an error");
        assert_eq!(error.code, "plugin-crashed", "{name}: {error:?}");
        assert!(error.message.contains("deadly"), "{name}: {error:?}");
        assert!(error.message.contains(says), "{name}: {error:?}");
        is_well(&mut cluster, name).await;
    }
    let text = cluster.program.text();
    assert!(text.contains("leaving now"), "what it wrote is in the log");
    cluster.program.terminate();
    assert_eq!(cluster.program.exit_code().await, 0);
}

/// A handler that never answers, or that blocks where it said that it would
/// not, is killed after its timeout.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_hangs_is_killed_and_the_next_command_runs() {
    let mut cluster = cluster("").await;
    for name in ["silent", "block"] {
        let outcome = run_for_a_second(&cluster, &format!("deadly.{name}")).await;
        assert_eq!(
            outcome.state(),
            CommandState::Unknown,
            "{name}: {outcome:#?}"
        );
        is_well(&mut cluster, name).await;
    }
}

/// What it says too often is dropped, what it leaves behind is killed with it,
/// and what it answers twice counts once.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_floods_forks_or_answers_twice_hurts_nobody() {
    let mut cluster = cluster("").await;
    for (name, response) in [
        ("babble", "\"fine\""),
        ("fork", "\"fine\""),
        ("twice", "\"first\""),
    ] {
        let outcome = cluster.run(&format!("deadly.{name}"), "{}").await;
        assert_eq!(
            outcome.state(),
            CommandState::Succeeded,
            "{name}: {outcome:#?}"
        );
        assert_eq!(
            String::from_utf8_lossy(&outcome.response),
            response,
            "{name}"
        );
        is_well(&mut cluster, name).await;
    }
    cluster
        .program
        .says("the plugin logs more than the worker takes")
        .await;
    cluster.program.terminate();
    assert_eq!(cluster.program.exit_code().await, 0);
}

/// Three crashes in a row, and it waits for its release; that needs no restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_crashes_three_times_in_a_row_waits_for_its_release() {
    let cluster = cluster("").await;
    for _ in 0..3 {
        let lost = cluster.run("deadly.abort", "{}").await;
        assert_eq!(lost.error.expect("an error").code, "plugin-crashed");
    }
    let refused = cluster.run("deadly.fine", "{}").await;
    assert_eq!(refused.state(), CommandState::Rejected, "{refused:#?}");
    let error = refused.error.expect("an error");
    assert!(
        error.message.contains("plugins release deadly"),
        "{error:?}"
    );

    let released = cluster.worker.run(&["plugins", "release", "deadly"]).await;
    assert_eq!(released.code, 0, "{released:#?}");
    assert!(
        released.stdout.contains("deadly is released"),
        "{released:#?}"
    );
    let fine = cluster.run("deadly.fine", "{}").await;
    assert_eq!(fine.state(), CommandState::Succeeded, "{fine:#?}");
}
