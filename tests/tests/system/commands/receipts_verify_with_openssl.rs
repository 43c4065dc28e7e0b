use std::{fs, path::Path, process::Command};

use aegis_proto::operator::v1::EvictNodeRequest;
use aegis_tests::Cluster;

/// As `ctl/README.md` says: openssl and sha256sum need nothing of ours.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_command_line_writes_is_verified_by_openssl_and_sha256sum() {
    let cluster = Cluster::start().await;
    let outcome = cluster.run("unruly.flood", r#"{"kib": 2}"#).await;
    // The receipt outlives the node's membership and its key's.
    let evict = EvictNodeRequest {
        node: cluster.node().to_owned(),
        reason: "replaced".into(),
    };
    let mut rpc = cluster.operator.rpc.clone();
    rpc.evict_node(evict).await.expect("evicted");

    let folder = tempfile::tempdir().expect("a temporary directory");
    let evidence = folder.path().join("evidence");
    let directory = evidence.to_str().expect("UTF-8");
    let ctl = cluster.controller.ctl();
    let receipt = ctl
        .json(&[
            "command",
            "show",
            &outcome.command_id,
            "--receipt-dir",
            directory,
        ])
        .await
        .remove(0);
    assert_eq!(receipt["verified"], true, "{receipt:#}");
    assert_eq!(receipt["state"], "succeeded");

    assert!(verifies(&evidence), "openssl verifies the receipt");
    let digests = run(&evidence, "sha256sum", &["response.json", "output.bin"]);
    let digest = |line: usize| {
        digests
            .1
            .lines()
            .nth(line)
            .and_then(|it| it.split(' ').next())
    };
    assert_eq!(digest(0), receipt["response_sha256"].as_str());
    assert_eq!(digest(1), receipt["output_sha256"].as_str());
    let fingerprint = "openssl pkey -pubin -in node.pem -outform DER | tail -c 32 | sha256sum";
    let fingerprint = run(&evidence, "sh", &["-c", fingerprint]).1;
    let known = receipt["key_fingerprint"].as_str().expect("a text");
    assert!(fingerprint.starts_with(known), "{fingerprint} {known}");

    // Evidence is never written over.
    let again = ctl
        .run(&[
            "command",
            "show",
            &outcome.command_id,
            "--receipt-dir",
            directory,
        ])
        .await;
    assert_eq!(again.code, 2, "{again:#?}");

    let path = evidence.join("receipt.bin");
    let mut forged = fs::read(&path).expect("it was written");
    *forged.last_mut().expect("it has bytes") ^= 1;
    fs::write(&path, forged).expect("it is ours");
    assert!(!verifies(&evidence), "a changed receipt does not verify");
}

fn verifies(folder: &Path) -> bool {
    let arguments =
        "pkeyutl -verify -pubin -inkey node.pem -rawin -in receipt.bin -sigfile receipt.sig";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let (succeeded, said) = run(folder, "openssl", &arguments);
    succeeded && said.contains("Signature Verified Successfully")
}

fn run(folder: &Path, program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| panic!("{program} is installed: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), text)
}
