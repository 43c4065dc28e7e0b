use aegis_proto::operator::v1::CreateEnrolmentTokenRequest;
use aegis_tests::{Controller, Worker, eventually};

async fn not_admitted(worker: &Worker, says: &[&str]) {
    let answer = worker.run(&[]).await;
    assert_eq!(answer.code, 3, "{answer:#?}");
    for word in says {
        assert!(
            answer.stderr.contains(word),
            "it does not say {word:?}: {answer:#?}"
        );
    }
    // And what to do next.
    assert!(answer.stderr.contains("aegisctl enrol"), "{answer:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_good_enrolment_token_ends_with_3_and_says_why() {
    let controller = Controller::start().await;
    let operator = controller.operator();
    let new = || Worker::new(&controller.endpoint());

    not_admitted(&new(), &["enrolment token"]).await;
    not_admitted(&new().token("made-up"), &["enrolment token"]).await;

    let bound = operator.enrol(&uuid::Uuid::new_v4().to_string()).await;
    not_admitted(&new().token(&bound), &["another node"]).await;

    let ttl = Some(prost_types::Duration {
        seconds: 1,
        nanos: 0,
    });
    let request = CreateEnrolmentTokenRequest {
        ttl,
        ..Default::default()
    };
    let answer = operator
        .rpc
        .clone()
        .create_enrolment_token(request)
        .await
        .expect("a token");
    let expired = answer.into_inner();
    let end = expired.expires_at.expect("an expiry");
    let end = std::time::SystemTime::try_from(end).expect("a time");
    eventually("the token expires", async || {
        (std::time::SystemTime::now() > end).then_some(())
    })
    .await;
    not_admitted(&new().token(&expired.enrolment_token), &["expired"]).await;

    let spent = controller.enrolment_token().await;
    let first = new().token(&spent);
    let mut program = first.start();
    operator.until_session(first.node_id()).await;
    not_admitted(&new().token(&spent), &["used before"]).await;

    // The first one never needs it again.
    program.kill().await;
    let again = first.without_token();
    let _program = again.start();
    operator.until_session(again.node_id()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_token_file_that_cannot_be_read_is_named() {
    let worker = Worker::new("http://127.0.0.1:1")
        .arguments(&["--enrolment-token-file", "/nowhere/enrolment.token"]);
    let answer = worker.run(&[]).await;
    assert!(answer.code == 2 || answer.code == 1, "{answer:#?}");
    assert!(
        answer.stderr.contains("/nowhere/enrolment.token"),
        "{answer:#?}"
    );
}
