//! Programs of a node's own config, through the real programs.

use std::{fs, path::Path};

use aegis_proto::{error_code, worker::v1::CommandState};
use aegis_tests::{Cluster, eventually};

const FAMILY: &str = r#"
[plugins.exec]
enabled = true

[plugins.exec.config.programs.family]
shell = "/bin/sh"
script = "echo leader $$; sleep 1000 & echo child $!; wait"
env = { PATH = "/usr/bin:/bin" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_not_run_where_the_config_does_not_say_so() {
    // Listing programs is not enough.
    let cluster = Cluster::start_with(|worker| {
        worker.config("[plugins.exec.config.programs.echo]\npath = \"/bin/echo\"\n")
    })
    .await;
    let outcome = cluster.run("exec", r#"{"program": "echo"}"#).await;
    assert_eq!(outcome.state(), CommandState::Rejected, "{outcome:#?}");
    let error = outcome.error.expect("an error");
    assert_eq!(error.code, error_code::DISABLED, "{error:?}");
    let told = format!("{error:?}");
    assert!(
        told.contains("enabled = true under [plugins.exec]"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_seen_while_the_program_runs_and_its_status_when_it_ends() {
    let cluster = Cluster::start_with(|worker| {
        worker.config(
            r#"
            [plugins.exec]
            enabled = true

            [plugins.exec.config.programs.wait-for]
            shell = "/bin/sh"
            script = 'echo waiting for "$1"; while [ ! -e "$1" ]; do sleep 0.02; done; echo over >&2; exit "$2"'
            args = ["{file}", "{status}"]
            parameters = { file = "/[A-Za-z0-9/._-]+", status = "[0-9]+" }
            env = { PATH = "/usr/bin:/bin" }
            "#,
        )
    })
    .await;
    let ctl = cluster.controller.ctl();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let end = folder.path().join("end");
    let payload = format!(r#"{{"program": "wait-for", "args": {{"file": {end:?}, "status": 0}}}}"#);
    let mut follower = ctl.spawn(&["run", cluster.node(), "exec", &payload]);
    follower.says("waiting for /").await;
    fs::write(&end, "").expect("the directory is ours");
    assert_eq!(follower.exit_code().await, 0);
    let told = follower.text();
    assert!(told.contains("over") && told.contains("exitCode"), "{told}");

    let failing = payload.replace("\"status\": 0", "\"status\": 7");
    let answer = ctl.run(&["run", cluster.node(), "exec", &failing]).await;
    assert_eq!(answer.code, 1, "{answer:#?}");
    assert!(
        format!("{answer:?}").contains("exit status 7"),
        "{answer:#?}"
    );

    let wrong = payload.replace("end\"", "end; id\"");
    let outcome = cluster.run("exec", &wrong).await;
    assert_eq!(outcome.state(), CommandState::Rejected, "{outcome:#?}");
}

/// What `aegisctl command cancel` ends is the whole process group.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_what_the_program_started() {
    let cluster = Cluster::start_with(|worker| worker.config(FAMILY)).await;
    let (command, family) = family(&cluster).await;
    let ctl = cluster.controller.ctl();
    assert_eq!(ctl.run(&["command", "cancel", &command]).await.code, 0);
    let outcome = cluster.operator.outcome(&command).await;
    assert_eq!(outcome.state(), CommandState::Cancelled, "{outcome:#?}");
    for process in &family {
        is_gone(process).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_shuts_down_leaves_no_program_behind() {
    let mut cluster = Cluster::start_with(|worker| {
        worker
            .config(FAMILY)
            .replace("[lifecycle]\n", "[lifecycle]\ndrain_timeout = \"100ms\"\n")
    })
    .await;
    let (command, family) = family(&cluster).await;
    cluster.program.terminate();
    assert_eq!(cluster.program.exit_code().await, 0);
    for process in &family {
        is_gone(process).await;
    }
    let outcome = cluster.operator.outcome(&command).await;
    assert_eq!(outcome.state(), CommandState::Cancelled, "{outcome:#?}");
}

/// The system kills the program itself; what that had started is the service
/// manager's to end.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_program_does_not_outlive_a_worker_that_is_killed() {
    let mut cluster = Cluster::start_with(|worker| worker.config(FAMILY)).await;
    let (_, family) = family(&cluster).await;
    cluster.program.kill().await;
    is_gone(&family[0]).await;
    let child = family[1]
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let signal = rustix::process::Signal::KILL;
    rustix::process::kill_process(child.expect("a process id"), signal).expect("it is ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pushed_config_adds_a_program() {
    let cluster = Cluster::start_with(|worker| {
        worker.config("[plugins.exec]\nenabled = true\n[plugins.exec.config]\n")
    })
    .await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("config.json");
    let document = r#"{"plugins": {"exec": {"programs": {"sh": {"path": "/bin/sh"}}}}}"#;
    fs::write(&file, document).expect("the directory is ours");
    let file = file.to_str().expect("UTF-8");
    let ctl = cluster.controller.ctl();
    let answer = ctl.run(&["push-config", cluster.node(), file]).await;
    assert_eq!(answer.code, 1, "{answer:#?}");
    assert!(
        format!("{answer:?}").contains("node's own config"),
        "{answer:#?}"
    );
    let outcome = cluster.run("exec", r#"{"program": "sh"}"#).await;
    assert_eq!(outcome.state(), CommandState::Rejected, "{outcome:#?}");
}

/// `check-config` says what a start would.
#[tokio::test(flavor = "multi_thread")]
async fn faults_in_the_list_of_programs_are_told_by_check_config() {
    let worker = aegis_tests::Worker::new("http://127.0.0.1:1").config(
        "[plugins.exec]\nenabled = true\n[plugins.exec.config.programs.it]\npath = \"echo\"\nnice = 99\n",
    );
    let answer = worker.run(&["check-config"]).await;
    assert_eq!(answer.code, 2, "{answer:#?}");
    for key in ["path", "nice"] {
        let key = format!("plugins.exec.config.programs.it.{key}: ");
        assert!(answer.stderr.contains(&key), "{key} {answer:#?}");
    }
}

/// Runs the program `family`; the command, and the ids of both processes.
async fn family(cluster: &Cluster) -> (String, [String; 2]) {
    let payload = r#"{"program": "family"}"#;
    let submitted = cluster
        .operator
        .submit(cluster.node(), "exec", payload)
        .await;
    let command = submitted.expect("committed").command_id;
    let family = eventually("both say who they are", async || {
        let output = cluster.operator.command(&command).await.output;
        let output = String::from_utf8(output).expect("UTF-8");
        let of = |who: &str| {
            let mut lines = output.lines().filter(|_| output.ends_with('\n'));
            Some(
                lines
                    .find_map(|line| line.strip_prefix(who))?
                    .trim()
                    .to_owned(),
            )
        };
        Some([of("leader")?, of("child")?])
    })
    .await;
    (command, family)
}

async fn is_gone(process: &str) {
    let stat = Path::new("/proc").join(process).join("stat");
    eventually("the process's end", async || {
        match fs::read_to_string(&stat) {
            Ok(stat) => stat.contains(") Z ").then_some(()),
            Err(_) => Some(()),
        }
    })
    .await;
}
