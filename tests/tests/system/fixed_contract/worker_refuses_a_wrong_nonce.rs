use aegis_tests::{FixedController, Seen, Worker};

/// Signing a nonce of any other length could sign something that is no nonce.
#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_of_another_length_is_never_signed() {
    let controller = FixedController::start().await;
    for length in [0, 16, 31, 33, 64] {
        controller.script(|script| script.nonce_bytes = length);
        let worker = Worker::new(&controller.endpoint()).token("t");
        let mut program = worker.start();
        let mine = |it: &Seen| matches!(it, Seen::Attest(it) if it.node_id == worker.node_id());
        controller.until_count("it attests", 1, mine).await;
        let line = program.says("AttestNode").await;
        let said = format!("{length} bytes instead of 32");
        assert!(line.contains(&said), "{line}");
        assert!(program.runs(), "it keeps trying");
    }
    let signed = controller
        .seen()
        .into_iter()
        .find(|it| matches!(it, Seen::Challenge(_)));
    assert!(signed.is_none(), "{signed:?}");
}
