use aegis_proto::operator::v1::BanNodeRequest;
use aegis_tests::Cluster;

/// Who, what, when: for every call that changes something, refused ones too.
#[tokio::test(flavor = "multi_thread")]
async fn every_changing_call_is_in_the_audit_log() {
    let cluster = Cluster::start().await;
    let ctl = cluster.controller.ctl();
    ctl.run(&[
        "run",
        cluster.node(),
        "hello",
        r#"{"name": "a-private-name"}"#,
    ])
    .await;
    let request = BanNodeRequest {
        node: uuid::Uuid::new_v4().to_string(),
        reason: "there is no such node".to_owned(),
    };
    let mut rpc = cluster.operator.rpc.clone();
    rpc.ban_node(request)
        .await
        .expect_err("there is no such node");
    let entries = cluster.operator.audit().await;
    let find = |action: &str| entries.iter().find(|it| it.action == action);

    let enrolled = find("CreateEnrolmentToken").expect("the harness made a token");
    assert_eq!(enrolled.result, "ok");
    let submitted = find("SubmitCommand").expect("it is logged");
    assert_eq!(submitted.result, "ok");
    assert!(
        !submitted.operator.is_empty() && submitted.at.is_some(),
        "{submitted:?}"
    );
    assert!(submitted.detail.contains("hello"), "{submitted:?}");
    assert!(
        !submitted.detail.contains("a-private-name"),
        "payloads stay out: {submitted:?}"
    );
    let banned = find("BanNode").expect("it is logged although it failed");
    assert_ne!(banned.result, "ok", "{banned:?}");
}
