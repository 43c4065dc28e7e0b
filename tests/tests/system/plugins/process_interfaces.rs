use std::fs;

use aegis_proto::worker::v1::CommandState;
use aegis_tests::{Cluster, PluginDir};

const DEADLY: &str = include_str!("../../../plugins/deadly.c");

async fn asked(grants: &str) -> String {
    let folder = PluginDir::empty();
    folder.compile("libdeadly.so", DEADLY);
    let section = format!("[plugins.deadly]\nplacement = \"process\"\n{grants}");
    let cluster = Cluster::start_in(folder, |worker| worker.config(&section)).await;
    let outcome = cluster.run("deadly.ask", "{}").await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    String::from_utf8(outcome.response).expect("UTF-8")
}

/// What the operator grants reaches into the worker, and nothing else does.
#[tokio::test(flavor = "multi_thread")]
async fn a_granted_interface_leads_to_the_worker_and_another_does_not() {
    let answer = asked("grants = [\"node-control\"]\n").await;
    assert!(answer.contains("\"draining\":false"), "{answer}");
    assert_eq!(asked("").await, "\"not granted\"");
}

async fn push(cluster: &Cluster, mood: &str) -> aegis_tests::Answer {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("config.json");
    let document = format!(r#"{{"plugins": {{"moody": {{"mood": {mood:?}}}}}}}"#);
    fs::write(&file, document).expect("the directory is ours");
    let file = file.to_str().expect("UTF-8");
    let ctl = cluster.controller.ctl();
    ctl.run(&["push-config", cluster.node(), file]).await
}

/// A pushed config reaches the process, one that it refuses or dies of leaves
/// the last good one in force, and the worker lives.
#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_config_reaches_the_process_and_survives_it() {
    let section = "[plugins]\ndefault_placement = \"process\"\n";
    let folder = PluginDir::with(&["moody_plugin"]);
    let mut cluster = Cluster::start_in(folder, |worker| worker.config(section)).await;
    let worker = cluster.program.id();
    for (mood, code, tells) in [
        ("nervous", 0, None),
        ("calm", 0, Some("\"Calm\"")),
        ("stubborn", 1, Some("\"Calm\"")),
        ("deadly", 1, Some("\"Calm\"")),
    ] {
        let answer = push(&cluster, mood).await;
        assert_eq!(answer.code, code, "{mood}: {answer:#?}");
        let told = cluster.run("moody.tell", "{}").await;
        match tells {
            Some(tells) => {
                assert_eq!(told.state(), CommandState::Succeeded, "{mood}: {told:#?}");
                assert_eq!(String::from_utf8_lossy(&told.response), tells, "{mood}");
            }
            None => assert_eq!(told.state(), CommandState::Failed, "{mood}: {told:#?}"),
        }
    }
    assert!(cluster.program.runs());
    assert_eq!(cluster.program.id(), worker);
}
