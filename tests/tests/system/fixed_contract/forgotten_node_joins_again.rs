use aegis_tests::{FixedController, Rpc, Seen, Worker};

/// A controller that lost its memory answers UNAUTHENTICATED, without details.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_the_controller_forgot_attests_and_registers_again() {
    let controller = FixedController::start().await;
    let worker = Worker::new(&controller.endpoint()).token("spent-at-once");
    let _program = worker.start();
    let beat = |it: &Seen| matches!(it, Seen::Heartbeat(_));
    controller.until_count("a heartbeat", 1, beat).await;

    controller.forget();
    let is_refusal = |it: &Seen| matches!(it, Seen::Refused(Rpc::Heartbeat | Rpc::SyncConfig, _));
    controller
        .until_count("a refused call", 1, is_refusal)
        .await;
    let again = controller
        .until("it registers again and heartbeats", |seen| {
            let refused = seen.iter().position(is_refusal)?;
            let rest = &seen[refused..];
            let registered = rest.iter().position(|it| matches!(it, Seen::Register(_)))?;
            rest[registered..].iter().any(beat).then(|| rest.to_vec())
        })
        .await;
    let attests = again.iter().filter_map(|it| match it {
        Seen::Attest(request) => Some(request.enrolment_token.as_str()),
        _ => None,
    });
    assert_eq!(attests.collect::<Vec<_>>(), [""], "the key alone, and once");
}
