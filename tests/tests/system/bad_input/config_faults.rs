use std::fs;

use aegis_tests::Worker;

const FAULTY: &str = r#"[node]
role = "wroker"
tagz = ["a"]

[controller]
endpoint = "controller:50056"

[lifecycle]
heartbeat_interval = "soon"
drain_timeout = 30

[plugin]
dirs = []

[handlers.hello]
enabled = "yes"
"#;

/// Every fault at once, each with its line, and no worker is started; the same
/// words from `check-config`.
#[tokio::test(flavor = "multi_thread")]
async fn all_config_faults_are_told_at_once_with_their_lines() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("worker.toml");
    fs::write(&file, FAULTY).expect("the directory is ours");
    let file = file.to_str().expect("UTF-8");
    let state = folder.path().join("state").display().to_string();

    for arguments in [
        vec!["--config", file, "--state-dir", &state],
        vec!["--config", file, "--state-dir", &state, "check-config"],
    ] {
        let answer = Worker::plain(&arguments, folder.path()).await;
        assert_eq!(answer.code, 2, "{answer:#?}");
        for (line, words) in [
            (2, vec!["role", "worker"]),
            (3, vec!["tagz", "tags"]),
            (6, vec!["endpoint", "http"]),
            (9, vec!["heartbeat_interval", "30s"]),
            (10, vec!["drain_timeout"]),
            (12, vec!["plugin", "plugins"]),
            (16, vec!["enabled"]),
        ] {
            let told = answer
                .stderr
                .lines()
                .find(|it| it.contains(&format!("line {line}:")));
            let told = told.unwrap_or_else(|| panic!("line {line} is not told: {answer:#?}"));
            for word in words {
                assert!(told.contains(word), "{told:?} does not say {word:?}");
            }
        }
    }
    assert!(!folder.path().join("state").exists(), "nothing was begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_config_passes_its_check() {
    let worker = Worker::new("http://127.0.0.1:50056");
    let answer = worker.run(&["check-config"]).await;
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert!(!worker.state_dir().exists(), "a check changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let answer = Worker::plain(&["--config", "nowhere.toml"], folder.path()).await;
    assert_eq!(answer.code, 2, "{answer:#?}");
    assert!(answer.stderr.contains("nowhere.toml"), "{answer:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_flags_are_usage_errors() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for arguments in [
        vec!["--no-such-flag"],
        vec!["no-such-subcommand"],
        vec!["--node-id", "node-1", "check-config"],
        vec!["--heartbeat-interval", "soon", "check-config"],
        vec!["--controller", "controller", "check-config"],
    ] {
        let answer = Worker::plain(&arguments, folder.path()).await;
        assert_eq!(answer.code, 2, "{arguments:?}: {answer:#?}");
        assert!(!answer.stderr.is_empty(), "{arguments:?}");
    }
}
