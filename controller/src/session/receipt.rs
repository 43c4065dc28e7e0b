//! Results and the receipts that nodes sign for them.
//!
//! A result whose receipt does not hold can't be taken at its word, and a node
//! that sent it once will send it again: the command ends as unknown, and why
//! is said.

use aegis_proto::{
    CommandId, RECEIPT_PURPOSE,
    limits::{DEFAULT_OUTPUT_BYTES, MAX_PAYLOAD_BYTES},
    worker::v1::{CommandError, CommandResult, Receipt},
};
use ed25519_dalek::Signature;
use prost::Message;
use sha2::{Digest, Sha256};

use crate::{
    command::FinalState,
    outcome,
    store::{Finish, NodeRecord, Seen},
    time,
};

/// Bytes of each text in an error.
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// What is to be committed for a result; `None` where it names no command.
pub(super) fn check(result: CommandResult, node: &NodeRecord) -> Option<Finish> {
    let receipt = Receipt::decode(&result.receipt[..]).ok()?;
    let id = receipt.command_id.parse().ok()?;
    Some(match judge(&result, &receipt, node) {
        Ok(state) => finish(id, state, result, receipt, node),
        Err(why) => refused(node, id, why),
    })
}

/// What is committed in the place of a result that does not hold.
pub(super) fn refused(node: &NodeRecord, id: CommandId, why: impl std::fmt::Display) -> Finish {
    let now = time::now();
    Finish {
        id,
        node: node.id,
        name: None,
        seen: Seen::InHand,
        state: FinalState::Unknown,
        response: Vec::new(),
        error: Some(outcome::unknown(
            "invalid-receipt",
            format!("the result was refused: {why}"),
        )),
        output: Vec::new(),
        output_cut: 0,
        receipt: Vec::new(),
        receipt_signature: Vec::new(),
        receipt_key: Vec::new(),
        started_at: None,
        finished_at: now,
        ended_at: now,
        attempt: 0,
    }
}

fn judge(
    result: &CommandResult,
    receipt: &Receipt,
    node: &NodeRecord,
) -> Result<FinalState, &'static str> {
    let signature = Signature::from_slice(&result.signature)
        .map_err(|_| "the receipt's signature has not 64 bytes")?;
    node.public_key
        .verify_strict(&result.receipt, &signature)
        .map_err(|_| "the receipt's signature is not that of the node's pinned key")?;
    if receipt.purpose != RECEIPT_PURPOSE {
        return Err("the signed message is no receipt");
    }
    if receipt.node_id.parse() != Ok(node.id) {
        return Err("the receipt names another node");
    }
    if !is_digest_of(&receipt.response_sha256, &result.response) {
        return Err("the response is not the one that the receipt names");
    }
    if !is_digest_of(&receipt.output_sha256, &result.output) {
        return Err("the output is not the one that the receipt names");
    }
    if result.response.len() > MAX_PAYLOAD_BYTES {
        return Err("the response is larger than 1 MiB");
    }
    if result.output.len() > DEFAULT_OUTPUT_BYTES {
        return Err("the kept output is larger than 1 MiB");
    }
    FinalState::of(receipt.state()).ok_or("the receipt's state is not final")
}

/// The digest of nothing may be left out.
fn is_digest_of(digest: &[u8], data: &[u8]) -> bool {
    digest == &Sha256::digest(data)[..] || (digest.is_empty() && data.is_empty())
}

fn finish(
    id: CommandId,
    state: FinalState,
    result: CommandResult,
    receipt: Receipt,
    node: &NodeRecord,
) -> Finish {
    Finish {
        id,
        node: node.id,
        name: Some(receipt.name),
        seen: Seen::InHand,
        state,
        response: result.response,
        error: result.error.map(shorten),
        output: result.output,
        output_cut: result.output_cut,
        receipt: result.receipt,
        receipt_signature: result.signature,
        receipt_key: node.public_key.as_bytes().to_vec(),
        started_at: receipt.started_at.as_ref().and_then(time::from_timestamp),
        finished_at: receipt
            .finished_at
            .as_ref()
            .and_then(time::from_timestamp)
            .unwrap_or_else(time::now),
        ended_at: time::now(),
        attempt: receipt.attempt,
    }
}

fn shorten(mut error: CommandError) -> CommandError {
    for text in [&mut error.code, &mut error.message, &mut error.help] {
        if text.len() > MAX_TEXT_BYTES {
            let end = (0..=MAX_TEXT_BYTES)
                .rev()
                .find(|at| text.is_char_boundary(*at));
            text.truncate(end.unwrap_or(0));
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use aegis_proto::{NodeId, cluster::v1::NodeRole, worker::v1::CommandState};
    use ed25519_dalek::{Signer, SigningKey};
    use uuid::Uuid;

    use super::*;

    fn node(key: &SigningKey) -> NodeRecord {
        NodeRecord {
            id: NodeId::from_uuid(Uuid::from_u128(7)),
            role: NodeRole::Worker,
            public_key: key.verifying_key(),
            capabilities: Default::default(),
            grpc_address: String::new(),
            enrolled_at: 0,
            registered_at: None,
            deregistered: false,
            banned: None,
            facts: None,
            config_status: None,
        }
    }

    fn receipt(node: &NodeRecord) -> Receipt {
        Receipt {
            purpose: RECEIPT_PURPOSE.into(),
            command_id: Uuid::from_u128(9).to_string(),
            node_id: node.id.to_string(),
            name: "hello".into(),
            state: CommandState::Succeeded.into(),
            response_sha256: Sha256::digest(b"{}").to_vec(),
            output_sha256: Sha256::digest(b"").to_vec(),
            attempt: 1,
            ..Receipt::default()
        }
    }

    fn result(receipt: &Receipt, key: &SigningKey) -> CommandResult {
        let receipt = receipt.encode_to_vec();
        CommandResult {
            signature: key.sign(&receipt).to_bytes().to_vec(),
            receipt,
            response: b"{}".to_vec(),
            ..CommandResult::default()
        }
    }

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[3; 32])
    }

    #[test]
    fn a_good_result_is_taken() {
        let node = node(&key());
        let finish = check(result(&receipt(&node), &key()), &node).expect("an id");
        assert_eq!(finish.state, FinalState::Succeeded);
        assert_eq!(finish.response, b"{}");
        assert_eq!(finish.name.as_deref(), Some("hello"));
        assert!(!finish.receipt.is_empty());
    }

    #[test]
    fn a_result_that_is_not_what_was_signed_ends_as_unknown() {
        let node = node(&key());
        let good = receipt(&node);
        let stranger = SigningKey::from_bytes(&[4; 32]);
        let changed = |change: fn(&mut Receipt)| {
            let mut receipt = good.clone();
            change(&mut receipt);
            result(&receipt, &key())
        };
        let mut other_response = result(&good, &key());
        other_response.response = b"[]".to_vec();
        let mut other_output = result(&good, &key());
        other_output.output = b"x".to_vec();
        let mut no_signature = result(&good, &key());
        no_signature.signature.clear();
        for bad in [
            result(&good, &stranger),
            other_response,
            other_output,
            no_signature,
            changed(|receipt| receipt.purpose = aegis_proto::HELLO_PURPOSE.into()),
            changed(|receipt| receipt.node_id = Uuid::from_u128(8).to_string()),
            changed(|receipt| receipt.state = CommandState::Running.into()),
        ] {
            let refused = check(bad, &node).expect("an id");
            assert_eq!(refused.state, FinalState::Unknown);
            assert!(refused.receipt.is_empty());
        }
    }

    #[test]
    fn a_result_that_names_no_command_is_nothing() {
        let node = node(&key());
        assert!(check(CommandResult::default(), &node).is_none());
    }
}
