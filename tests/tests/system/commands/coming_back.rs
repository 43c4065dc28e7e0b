use std::path::Path;

use aegis_proto::worker::v1::CommandState;
use aegis_tests::{Cluster, Program};

async fn saying(cluster: &Cluster, until: &Path) -> String {
    let payload = format!(r#"{{"before": "one", "after": "two", "until": {until:?}}}"#);
    let command = cluster
        .operator
        .submit(cluster.node(), "unruly.say", &payload)
        .await
        .expect("committed");
    cluster.operator.until_running(&command.command_id).await;
    command.command_id
}

fn lines_of_output(follower: &Program) -> Vec<String> {
    let lines = follower.lines().into_iter();
    lines.filter(|it| it == "one" || it == "two").collect()
}

/// Whoever comes back sees what was kept, and what comes after; whoever stayed
/// sees nothing twice, though worker and controller begin anew in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_followed_again_and_across_a_restart_of_the_controller() {
    let mut cluster = Cluster::start().await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let until = folder.path().join("until");
    let id = saying(&cluster, &until).await;
    let ctl = cluster.controller.ctl();

    let mut first = ctl.spawn(&["command", "show", &id, "--follow"]);
    first.says("one").await;
    first.interrupt();
    assert_eq!(first.exit_code().await, 130);
    assert!(
        first
            .text()
            .contains(&format!("command show {id} --follow"))
    );

    let mut second = ctl.spawn(&["command", "show", &id, "--follow"]);
    second.says("one").await;
    cluster.controller.restart().await;
    cluster.operator.until_session(cluster.node()).await;
    let mut third = ctl.spawn(&["command", "show", &id, "--follow"]);
    third.says("one").await;
    std::fs::write(&until, "").expect("the directory is ours");

    for follower in [&mut second, &mut third] {
        assert_eq!(follower.exit_code().await, 0);
        assert_eq!(lines_of_output(follower), ["one", "two"]);
    }
    let mut late = ctl.spawn(&["command", "show", &id[..13], "--follow"]);
    assert_eq!(late.exit_code().await, 0);
    assert_eq!(lines_of_output(&late), ["one", "two"]);
}

/// Where the worker dies, the handler is begun again, and so is its output: the
/// one who follows is told, and sees both.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_is_begun_again_begins_its_output_anew() {
    let mut cluster = Cluster::start().await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let until = folder.path().join("until");
    let id = saying(&cluster, &until).await;
    let ctl = cluster.controller.ctl();
    let mut follower = ctl.spawn(&["command", "show", &id, "--follow"]);
    follower.says("one").await;

    cluster.program.kill().await;
    cluster.program = cluster.worker.start();
    follower.says("attempt 2").await;
    std::fs::write(&until, "").expect("the directory is ours");
    assert_eq!(follower.exit_code().await, 0);
    assert_eq!(lines_of_output(&follower), ["one", "one", "two"]);
    // What is kept is the output of the attempt that counts.
    let kept = cluster.operator.command(&id).await.output;
    assert_eq!(kept, b"one\ntwo\n");
}

/// The commands of one submission are one thing to come back to.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_shown_and_followed_as_a_whole() {
    let cluster = Cluster::start().await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let until = folder.path().join("until");
    let id = saying(&cluster, &until).await;
    let command = cluster.operator.command(&id).await.command;
    let group = command.expect("the command").group_id;
    let ctl = cluster.controller.ctl();
    let shown = &ctl.json(&["group", "show", &group]).await[0];
    assert_eq!(shown["counts"]["open"], 1);
    assert!(shown["finished_at"].is_null());

    let mut follower = ctl.spawn(&["group", "show", &group, "--follow"]);
    follower.says("one").await;
    std::fs::write(&until, "").expect("the directory is ours");
    assert_eq!(follower.exit_code().await, 0);
    let outcome = cluster.operator.outcome(&id).await;
    assert_eq!(outcome.state(), CommandState::Succeeded);
    let shown = &ctl.json(&["group", "show", &group]).await[0];
    assert_eq!(shown["counts"]["succeeded"], 1);
    assert!(!shown["finished_at"].is_null());
}

/// What was cut at the end is said, and the exit code is the command's.
#[tokio::test(flavor = "multi_thread")]
async fn output_that_was_cut_is_said_to_be() {
    let cluster = Cluster::start().await;
    let outcome = cluster.run("unruly.flood", r#"{"kib": 1500}"#).await;
    let ctl = cluster.controller.ctl();
    let answer = ctl
        .run(&["command", "show", &outcome.command_id, "--follow"])
        .await;
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let cut = format!("{} bytes of the output", outcome.output_cut);
    assert!(answer.stderr.contains(&cut), "{}", answer.stderr);
    assert!(answer.stdout.len() >= 1024 * 1024);
}
