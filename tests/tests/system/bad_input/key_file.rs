use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use aegis_tests::{FixedController, Seen, Worker};

/// A worker that lived once, and its key file.
async fn lived() -> (FixedController, Worker, PathBuf) {
    let controller = FixedController::start().await;
    let worker = Worker::new(&controller.endpoint()).token("t");
    let mut program = worker.start();
    controller
        .until_count("a heartbeat", 1, |it| matches!(it, Seen::Heartbeat(_)))
        .await;
    program.terminate();
    assert_eq!(program.exit_code().await, 0);
    let key = fs::read_dir(worker.state_dir())
        .expect("the state directory")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| fs::read_to_string(path).is_ok_and(|it| it.contains("BEGIN PRIVATE KEY")))
        .expect("a key file");
    (controller, worker, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_others_can_read_is_refused() {
    let (_controller, worker, key) = lived().await;
    let mode = fs::metadata(&key)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("it is ours");
    let answer = worker.run(&[]).await;
    assert_eq!(answer.code, 1, "{answer:#?}");
    let path = key.display().to_string();
    assert!(answer.stderr.contains(&path), "{answer:#?}");
    assert!(
        answer.stderr.contains("chmod") || answer.stderr.contains("0600"),
        "{answer:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_lost_key_is_not_replaced_behind_the_operators_back() {
    let (_controller, worker, key) = lived().await;
    let path = key.display().to_string();
    fs::write(
        &key,
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    )
    .expect("ours");
    let answer = worker.run(&[]).await;
    assert_eq!(answer.code, 1, "{answer:#?}");
    assert!(answer.stderr.contains(&path), "{answer:#?}");
    fs::remove_file(&key).expect("it is ours");
    let answer = worker.run(&[]).await;
    assert_eq!(answer.code, 1, "{answer:#?}");
    assert!(answer.stderr.contains(&path), "{answer:#?}");
    assert!(!key.exists(), "no new identity under the old id");
}

/// Other tools read the key.
#[tokio::test(flavor = "multi_thread")]
async fn openssl_reads_the_key_file() {
    let (_controller, worker, key) = lived().await;
    let output = tokio::process::Command::new("openssl")
        .args(["pkey", "-noout", "-text", "-in"])
        .arg(&key)
        .output()
        .await;
    let Ok(output) = output else {
        eprintln!("openssl is not installed");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("ED25519 Private-Key"),
        "{output:?}"
    );

    let answer = worker.run(&["identity", "show"]).await;
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert!(answer.stdout.contains(worker.node_id()), "{answer:#?}");
}
