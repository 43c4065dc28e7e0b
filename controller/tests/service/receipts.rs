//! Receipts as operators get them.

use aegis_proto::{
    operator::v1::EvictNodeRequest,
    worker::v1::{CommandState, worker_message::Message as FromWorker},
};
use ed25519_dalek::{Signature, VerifyingKey};

use crate::peer::{Controller, Node, only};

#[tokio::test]
async fn a_receipt_can_be_verified_after_its_node_was_enrolled_anew_with_another_key() {
    let controller = Controller::start().await;
    let old = controller.node().await;
    let hello = old.hello(&["hello"]);
    let mut session = old.session(&controller, hello).await.expect("a session");
    let submitted = controller.submit(only(&old), "hello", "{}").await;
    let command = session.command().await;
    let result = old.result(&command, CommandState::Succeeded, "{}");
    session.send(FromWorker::CommandResult(result)).await;
    session.ack().await;

    let evict = EvictNodeRequest {
        node: old.id.clone(),
        reason: "its key leaked".into(),
    };
    let mut operator = controller.operator();
    operator.evict_node(evict).await.expect("evicted");
    let mut new = Node::new();
    new.id.clone_from(&old.id);
    let token = controller.enrolment_token().await;
    new.enrol(&controller, &token).await.expect("enrolled anew");

    let shown = controller.command(&submitted.command_id).await;
    assert_eq!(shown.receipt_key, old.key.verifying_key().as_bytes());
    let key = VerifyingKey::try_from(&shown.receipt_key[..]).expect("a key");
    let signature = Signature::from_slice(&shown.receipt_signature).expect("64 bytes");
    key.verify_strict(&shown.receipt, &signature)
        .expect("the receipt verifies");
}
