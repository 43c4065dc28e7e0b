use aegis_proto::cluster::v1::AttestNodeRequest;
use aegis_tests::{Controller, FixedClient, retry_delay};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn malformed_attestations_are_invalid_arguments() {
    let controller = Controller::start().await;
    let token = controller.enrolment_token().await;
    let mut client = FixedClient::new(&controller.endpoint());
    type Spoil = fn(&mut AttestNodeRequest);
    let cases: [(&str, Spoil); 9] = [
        ("no node id", |it| it.node_id.clear()),
        ("not a UUID", |it| it.node_id = "node-1".into()),
        ("not hyphenated", |it| {
            it.node_id = it.node_id.replace('-', "")
        }),
        ("no role", |it| it.role = 0),
        ("an unknown role", |it| it.role = 99),
        ("no capabilities", |it| it.capabilities = None),
        ("no key", |it| it.public_key.clear()),
        ("a short key", |it| it.public_key.truncate(31)),
        // The identity point: any signature verifies under it.
        ("a weak key", |it| {
            it.public_key = vec![0; 32];
            it.public_key[0] = 1;
        }),
    ];
    for (what, spoil) in cases {
        let mut request = client.attestation(&token);
        spoil(&mut request);
        let result = client.rpc.attest_node(request).await;
        let status = result.expect_err(what);
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
    }
    // None of that spent the token.
    client.join(&token).await.expect("it joins");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_attestations_is_told_when_to_come_back() {
    let controller = Controller::start().await;
    let mut client = FixedClient::new(&controller.endpoint());
    let mut exhausted = None;
    for _ in 0..2000 {
        if let Err(status) = client.attest("made-up").await
            && status.code() == Code::ResourceExhausted
        {
            exhausted = Some(status);
            break;
        }
    }
    let status = exhausted.expect("2000 attempts at once are too many");
    assert!(retry_delay(&status).is_some(), "{status:?}");
}
