use aegis_proto::worker::v1::{CommandState, Receipt};
use aegis_tests::Cluster;
use ed25519_dalek::{Signature, SigningKey, VerifyingKey, pkcs8::DecodePrivateKey};
use prost::Message;

/// What the controller keeps is what the node's own key signed.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_comes_with_a_receipt_that_the_nodes_key_signed() {
    let cluster = Cluster::start().await;
    let outcome = cluster.run("hello", r#"{"name": "Ada"}"#).await;
    let receipt = Receipt::decode(outcome.receipt.as_slice()).expect("a receipt");
    assert_eq!(receipt.purpose, aegis_proto::RECEIPT_PURPOSE);
    assert_eq!(receipt.command_id, outcome.command_id);
    assert_eq!(receipt.node_id, cluster.node());
    assert_eq!(receipt.name, "hello");
    assert_eq!(receipt.state(), CommandState::Succeeded);

    let signature = Signature::from_slice(&outcome.receipt_signature).expect("64 bytes");
    let key = node_key(&cluster);
    key.verify_strict(&outcome.receipt, &signature)
        .expect("the node's signature");
}

/// The identity is a PEM file in the state directory that other tools read.
fn node_key(cluster: &Cluster) -> VerifyingKey {
    let entries = std::fs::read_dir(cluster.worker.state_dir()).expect("the state directory");
    let pem = entries
        .filter_map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).ok())
        .find(|text| text.contains("BEGIN PRIVATE KEY"))
        .expect("a PEM file");
    SigningKey::from_pkcs8_pem(&pem)
        .expect("an Ed25519 key")
        .verifying_key()
}
