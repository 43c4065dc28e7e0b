use aegis_proto::operator::v1::BanNodeRequest;
use aegis_tests::Cluster;

/// A banned worker stops trying, says so and ends with 3.
#[tokio::test(flavor = "multi_thread")]
async fn a_banned_worker_ends_with_3_and_says_why() {
    let mut cluster = Cluster::start().await;
    let request = BanNodeRequest {
        node: cluster.node().to_owned(),
        reason: "stolen".into(),
    };
    cluster
        .operator
        .rpc
        .clone()
        .ban_node(request)
        .await
        .expect("banned");
    assert_eq!(cluster.program.exit_code().await, 3);
    assert!(
        cluster.program.text().contains("banned"),
        "{}",
        cluster.program.text()
    );

    // Nor does it come back.
    let answer = cluster.worker.run(&[]).await;
    assert_eq!(answer.code, 3, "{answer:#?}");
    assert!(answer.stderr.contains("banned"), "{answer:#?}");
}
