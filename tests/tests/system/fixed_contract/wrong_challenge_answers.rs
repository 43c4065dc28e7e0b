use aegis_proto::cluster::v1::{AttestNodeResponse, ChallengeNodeRequest};
use aegis_tests::{Controller, FixedClient, refused};
use ed25519_dalek::Signer;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn wrong_answers_to_a_challenge_are_unauthenticated() {
    let controller = Controller::start().await;
    let token = controller.enrolment_token().await;
    let mut client = FixedClient::new(&controller.endpoint());

    let unknown = AttestNodeResponse {
        challenge_nonce: vec![0; 32],
        challenge_id: uuid::Uuid::new_v4().to_string(),
    };
    refused(
        client.challenge(&unknown, &token).await,
        Code::Unauthenticated,
    );

    let mut challenge = client.attest(&token).await.expect("a challenge");
    let nonce = challenge.challenge_nonce.clone();
    challenge.challenge_nonce[0] ^= 1;
    refused(
        client.challenge(&challenge, &token).await,
        Code::Unauthenticated,
    );
    // A challenge is good for one answer.
    challenge.challenge_nonce = nonce;
    refused(
        client.challenge(&challenge, &token).await,
        Code::Unauthenticated,
    );

    // Nor is it good for another node.
    let challenge = client.attest(&token).await.expect("a challenge");
    let mut other = FixedClient::new(&controller.endpoint());
    other.key = client.key.clone();
    refused(
        other.challenge(&challenge, &token).await,
        Code::Unauthenticated,
    );

    let challenge = client.attest(&token).await.expect("a challenge");
    let mut short = ChallengeNodeRequest {
        challenge_id: challenge.challenge_id,
        node_id: client.node_id.clone(),
        challenge_signature: client.key.sign(&challenge.challenge_nonce).to_vec(),
        bootstrap_proof: None,
    };
    short.challenge_signature.truncate(63);
    refused(
        client.rpc.challenge_node(short).await,
        Code::Unauthenticated,
    );
    // None of that spent the token.
    client.join(&token).await.expect("it joins");
}
