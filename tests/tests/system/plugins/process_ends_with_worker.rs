use std::fs;

use aegis_proto::worker::v1::CommandState;
use aegis_tests::{Cluster, eventually};

/// The processes that `parent` has started and that are there.
fn children(parent: u32) -> Vec<u32> {
    let stat = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path().join("stat")).ok()?;
        let pid = text.split_once(' ')?.0.parse::<u32>().ok()?;
        let mut rest = text.rsplit_once(") ")?.1.split(' ');
        let state = rest.next()?.to_owned();
        let parent = rest.next()?.parse::<u32>().ok()?;
        Some((pid, state, parent))
    };
    fs::read_dir("/proc")
        .expect("a system with /proc")
        .filter_map(|entry| stat(entry.ok()?))
        .filter(|(_, state, of)| *of == parent && state != "Z")
        .map(|(pid, _, _)| pid)
        .collect()
}

fn is_there(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat"));
    state.is_ok_and(|text| !text.contains(") Z"))
}

async fn cluster() -> Cluster {
    let section = "[plugins]\ndefault_placement = \"process\"\n";
    Cluster::start_with(|worker| worker.config(section)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_leaves_no_process_behind() {
    let mut cluster = cluster().await;
    let children = children(cluster.program.id());
    assert_eq!(children.len(), 2, "one for each plugin");
    cluster.program.kill().await;
    for child in children {
        eventually("its end", async || (!is_there(child)).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_asked_to_end_lets_commands_finish_and_ends_its_processes() {
    let mut cluster = cluster().await;
    let children = children(cluster.program.id());
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("now");
    let payload = format!(r#"{{"file": {file:?}}}"#);
    let submitted = cluster
        .operator
        .submit(cluster.node(), "unruly.wait", &payload)
        .await;
    let id = submitted.expect("committed").command_id;
    cluster.operator.until_running(&id).await;
    cluster.program.terminate();
    cluster.program.says("shutting down").await;
    fs::write(&file, "").expect("the directory is ours");
    assert_eq!(cluster.program.exit_code().await, 0);
    let outcome = cluster.operator.outcome(&id).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    for child in children {
        assert!(!is_there(child), "{child} goes with the worker");
    }
}

/// What the worker has open is not its business, and its own is what it needs.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_has_the_descriptors_that_it_needs_and_no_environment() {
    let cluster = cluster().await;
    for child in children(cluster.program.id()) {
        let open = |number: u32| {
            let target = fs::read_link(format!("/proc/{child}/fd/{number}")).ok()?;
            Some(target.to_string_lossy().into_owned())
        };
        assert_eq!(open(0).as_deref(), Some("/dev/null"));
        for said in [1, 2] {
            assert!(open(said).is_some_and(|it| it.starts_with("pipe:")));
        }
        assert!(open(3).is_some_and(|it| it.starts_with("socket:")));
        assert!(
            open(4).is_some_and(|it| it.contains("aegis-plugin")),
            "{:?}",
            open(4)
        );
        let own = cluster.worker.state_dir();
        for entry in fs::read_dir(format!("/proc/{child}/fd")).expect("ours") {
            let target = fs::read_link(entry.expect("an entry").path()).unwrap_or_default();
            assert!(
                !target.starts_with(&own),
                "{} is the worker's",
                target.display()
            );
        }
        let environment = fs::read(format!("/proc/{child}/environ")).expect("ours");
        assert_eq!(String::from_utf8_lossy(&environment), "");
    }
}
