use aegis_tests::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_on_the_same_state_directory_is_told_so() {
    let mut cluster = Cluster::start().await;
    let answer = cluster.worker.run(&[]).await;
    assert_ne!(answer.code, 0, "{answer:#?}");
    let state = cluster.worker.state_dir().display().to_string();
    assert!(answer.stderr.contains(&state), "{answer:#?}");
    assert!(answer.stderr.contains("in use"), "{answer:#?}");
    assert!(cluster.program.runs(), "the first does not notice");
}

/// A copied state directory: one node id and key, twice alive.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_workers_with_one_node_id_the_newer_session_wins() {
    let cluster = Cluster::start().await;
    let twin = cluster.worker.twin();
    let mut newer = twin.start();
    cluster.program.says("another live worker").await;
    cluster.operator.until_event("session-superseded").await;
    assert!(newer.runs());
    let outcome = cluster.run("hello", r#"{"name": "twin"}"#).await;
    assert!(!outcome.response.is_empty(), "{outcome:#?}");
}
