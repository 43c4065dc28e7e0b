//! Receipts: what a node signed of a command's outcome, and whether it holds.

use aegis_proto::{
    RECEIPT_PURPOSE,
    operator::v1::ShowCommandResponse,
    worker::v1::{self, CommandState},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};
use ed25519_dalek::{
    Signature, VerifyingKey, pkcs8::EncodePublicKey, pkcs8::spki::der::pem::LineEnding,
};
use prost::Message as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{hex, some, time, word};

/// `command show --receipt`: what was signed, by whom, and what it is worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Receipt {
    pub command_id: String,
    pub node_id: String,
    pub name: String,
    pub state: String,
    pub error_code: Option<String>,
    pub attempt: u32,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    /// In hexadecimal.
    pub response_sha256: String,
    pub output_sha256: String,
    /// The bytes that were signed and the signature over them, in base64.
    pub receipt: String,
    pub signature: String,
    /// The node's key, as PEM.
    pub public_key: String,
    /// SHA-256 of the raw key, as `node show` has it.
    pub key_fingerprint: String,
    /// Whether all of it holds.
    pub verified: bool,
    /// What does not; empty where all of it does.
    pub faults: Vec<String>,
}

/// The bytes from which a receipt can be verified without us.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    pub receipt: Vec<u8>,
    pub signature: Vec<u8>,
    pub public_key: String,
    pub response: Vec<u8>,
    pub output: Vec<u8>,
}

/// Why there is no receipt to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoReceipt {
    #[error("it has no outcome yet")]
    Open,
    #[error("its outcome was derived by the controller, and no node signed it")]
    Derived,
    #[error("the controller does not tell with which key it was verified")]
    Key,
    #[error("what the controller keeps as its receipt is none")]
    Malformed,
}

impl Receipt {
    /// Of a command as the controller shows it.
    pub fn of(shown: ShowCommandResponse) -> Result<(Self, Evidence), NoReceipt> {
        let command = shown.command.unwrap_or_default();
        if command.receipt.is_empty() {
            return Err(if command.state() >= CommandState::Succeeded {
                NoReceipt::Derived
            } else {
                NoReceipt::Open
            });
        }
        let key = VerifyingKey::try_from(&command.receipt_key[..]).map_err(|_| NoReceipt::Key)?;
        let pem = key
            .to_public_key_pem(LineEnding::LF)
            .map_err(|_| NoReceipt::Key)?;
        let signed = v1::Receipt::decode(&command.receipt[..]).map_err(|_| NoReceipt::Malformed)?;

        let mut faults = Vec::new();
        let mut require = |holds: bool, fault: &str| {
            if !holds {
                faults.push(fault.to_owned());
            }
        };
        let signature = Signature::from_slice(&command.receipt_signature);
        require(
            signature.is_ok_and(|it| key.verify_strict(&command.receipt, &it).is_ok()),
            "the signature is not that of this key over this receipt",
        );
        require(
            signed.purpose == RECEIPT_PURPOSE,
            "what was signed is no receipt",
        );
        require(
            signed.command_id == command.command_id && signed.name == command.name,
            "it is of another command",
        );
        require(signed.node_id == command.node_id, "it is of another node");
        require(
            signed.state() == command.state(),
            "it names another state than the controller does",
        );
        require(
            is_digest(&signed.response_sha256, &command.response),
            "the response is not the one that it names",
        );
        require(
            is_digest(&signed.output_sha256, &shown.output),
            "the output is not the one that it names",
        );
        let receipt = Self {
            state: word(signed.state().as_str_name(), "COMMAND_STATE_"),
            started_at: time(signed.started_at.as_ref()),
            finished_at: time(signed.finished_at.as_ref()),
            command_id: signed.command_id,
            node_id: signed.node_id,
            name: signed.name,
            error_code: some(signed.error_code),
            attempt: signed.attempt,
            response_sha256: hex(&signed.response_sha256),
            output_sha256: hex(&signed.output_sha256),
            receipt: BASE64_STANDARD.encode(&command.receipt),
            signature: BASE64_STANDARD.encode(&command.receipt_signature),
            public_key: pem.clone(),
            key_fingerprint: hex(&Sha256::digest(key.as_bytes())),
            verified: faults.is_empty(),
            faults,
        };
        let evidence = Evidence {
            receipt: command.receipt,
            signature: command.receipt_signature,
            public_key: pem,
            response: command.response,
            output: shown.output,
        };
        Ok((receipt, evidence))
    }
}

/// The digest of nothing may be left out.
fn is_digest(digest: &[u8], data: &[u8]) -> bool {
    digest == &Sha256::digest(data)[..] || (digest.is_empty() && data.is_empty())
}

#[cfg(test)]
mod tests {
    use aegis_proto::operator::v1::CommandView;
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    fn shown() -> ShowCommandResponse {
        let key = SigningKey::from_bytes(&[7; 32]);
        let receipt = v1::Receipt {
            purpose: RECEIPT_PURPOSE.into(),
            command_id: "0199".into(),
            node_id: "0192".into(),
            name: "hello".into(),
            state: CommandState::Succeeded.into(),
            response_sha256: Sha256::digest(b"{}").to_vec(),
            output_sha256: Sha256::digest(b"out").to_vec(),
            ..Default::default()
        }
        .encode_to_vec();
        ShowCommandResponse {
            command: Some(CommandView {
                command_id: "0199".into(),
                node_id: "0192".into(),
                name: "hello".into(),
                state: CommandState::Succeeded.into(),
                response: b"{}".to_vec(),
                receipt_signature: key.sign(&receipt).to_vec(),
                receipt,
                receipt_key: key.verifying_key().as_bytes().to_vec(),
                ..Default::default()
            }),
            output: b"out".to_vec(),
        }
    }

    #[test]
    fn a_receipt_that_holds_is_said_to() {
        let (receipt, evidence) = Receipt::of(shown()).unwrap();
        assert!(receipt.verified, "{receipt:?}");
        assert!(
            evidence
                .public_key
                .starts_with("-----BEGIN PUBLIC KEY-----\n")
        );
    }

    #[test]
    fn whatever_was_changed_is_noticed() {
        type Change = fn(&mut ShowCommandResponse, &mut CommandView);
        let changes: [(Change, &str); 6] = [
            (|_, it| it.receipt_signature[0] ^= 1, "signature"),
            (|_, it| it.command_id = "0198".into(), "another command"),
            (|_, it| it.node_id = "0191".into(), "another node"),
            (
                |_, it| it.state = CommandState::Failed.into(),
                "another state",
            ),
            (|_, it| it.response = b"[]".to_vec(), "response"),
            (|shown, _| shown.output.clear(), "output"),
        ];
        for (change, fault) in changes {
            let mut shown = shown();
            let mut command = shown.command.take().unwrap();
            change(&mut shown, &mut command);
            shown.command = Some(command);
            let (receipt, _) = Receipt::of(shown).unwrap();
            assert!(!receipt.verified);
            assert_eq!(receipt.faults.len(), 1, "{receipt:?}");
            assert!(receipt.faults[0].contains(fault), "{receipt:?}");
        }
    }

    #[test]
    fn a_command_without_a_receipt_says_why() {
        let mut shown = shown();
        shown.command.as_mut().unwrap().receipt.clear();
        assert_eq!(Receipt::of(shown.clone()), Err(NoReceipt::Derived));
        shown.command.as_mut().unwrap().state = CommandState::Running.into();
        assert_eq!(Receipt::of(shown), Err(NoReceipt::Open));
    }
}
