//! What happens to a command, as it is told to the controller; its outcome
//! with the node's signature.

use aegis_proto::{
    RECEIPT_PURPOSE,
    worker::v1::{
        Accepted, CommandError, CommandResult, CommandState, CommandUpdate, OutputChunk, Progress,
        Receipt, Running, command_update::Update, worker_message::Message,
    },
};
use prost::Message as _;
use sha2::{Digest, Sha256};

use crate::{
    command::{CommandId, FinalState, HandlerError, Outcome},
    dispatch::FixedCommands,
    identity::Identity,
    journal::JournalUpdate,
};

use super::wire;

/// A handler's error text is cut here, so that a result always fits a message.
const ERROR_TEXT_BYTES: usize = 64 * 1024;

/// `None` for commands that the controller has no id of.
pub(super) fn message(update: JournalUpdate, identity: &Identity) -> Option<Message> {
    let (id, update) = match update {
        JournalUpdate::Finished(outcome) => {
            return (!FixedCommands::derived(outcome.id))
                .then(|| Message::CommandResult(result(&outcome, identity)));
        }
        JournalUpdate::Accepted { id } => (id, Update::Accepted(Accepted {})),
        JournalUpdate::Running {
            id,
            started_at,
            attempt,
        } => (
            id,
            Update::Running(Running {
                started_at: Some(started_at.into()),
                attempt,
            }),
        ),
        JournalUpdate::Progress { id, permille, note } => {
            (id, Update::Progress(Progress { permille, note }))
        }
        JournalUpdate::Output { id, offset, data } => (
            id,
            Update::Output(OutputChunk {
                offset,
                data: data.to_vec(),
            }),
        ),
    };
    (!FixedCommands::derived(id)).then(|| Message::CommandUpdate(command_update(id, update)))
}

fn command_update(id: CommandId, update: Update) -> CommandUpdate {
    CommandUpdate {
        command_id: id.to_string(),
        update: Some(update),
    }
}

fn result(outcome: &Outcome, identity: &Identity) -> CommandResult {
    let receipt = Receipt {
        purpose: RECEIPT_PURPOSE.to_owned(),
        command_id: outcome.id.to_string(),
        node_id: identity.node_id().to_string(),
        name: outcome.name.clone(),
        state: state(outcome.state).into(),
        response_sha256: Sha256::digest(&outcome.response).to_vec(),
        output_sha256: Sha256::digest(&outcome.output).to_vec(),
        started_at: outcome.started_at.map(Into::into),
        finished_at: Some(outcome.finished_at.into()),
        attempt: outcome.attempt,
        error_code: outcome
            .error
            .as_ref()
            .map(|error| error.code.to_string())
            .unwrap_or_default(),
    }
    .encode_to_vec();
    CommandResult {
        signature: identity.sign(&receipt).to_vec(),
        receipt,
        response: outcome.response.to_vec(),
        error: outcome.error.as_ref().map(error),
        output: outcome.output.to_vec(),
        output_cut: outcome.output_cut,
    }
}

fn error(error: &HandlerError) -> CommandError {
    CommandError {
        code: error.code.to_string(),
        message: cut(&error.message),
        help: error.help.as_deref().map(cut).unwrap_or_default(),
        retryable: error.retryable,
        retry_after: error.retry_after_ms.map(wire::millis),
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(ERROR_TEXT_BYTES)].to_owned()
}

const fn state(state: FinalState) -> CommandState {
    match state {
        FinalState::Succeeded => CommandState::Succeeded,
        FinalState::Failed => CommandState::Failed,
        FinalState::Rejected => CommandState::Rejected,
        FinalState::Expired => CommandState::Expired,
        FinalState::Cancelled => CommandState::Cancelled,
        FinalState::Unknown => CommandState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use ed25519_dalek::{Signature, VerifyingKey};

    use super::*;

    fn outcome(id: CommandId) -> Outcome {
        Outcome {
            id,
            name: "greet".to_owned(),
            state: FinalState::Failed,
            response: bytes::Bytes::new(),
            error: Some(HandlerError::new("disk-full", "ä".repeat(ERROR_TEXT_BYTES))),
            output: b"some output".as_slice().into(),
            output_cut: 3,
            started_at: Some(SystemTime::UNIX_EPOCH),
            finished_at: SystemTime::now(),
            attempt: 1,
        }
    }

    #[test]
    fn a_result_carries_a_signed_receipt() {
        let dir = tempfile::tempdir().expect("a directory");
        let identity = Identity::open(dir.path(), None).expect("an identity");
        let id = CommandId::from_uuid(uuid::Uuid::now_v7());
        let update = JournalUpdate::Finished(outcome(id).into());
        let Some(Message::CommandResult(result)) = message(update, &identity) else {
            panic!("no result");
        };
        let key = VerifyingKey::from_bytes(&identity.public_key()).expect("a key");
        let signature = Signature::from_slice(&result.signature).expect("64 bytes");
        key.verify_strict(&result.receipt, &signature)
            .expect("a good signature");
        let receipt = Receipt::decode(result.receipt.as_slice()).expect("a receipt");
        assert_eq!(receipt.purpose, RECEIPT_PURPOSE);
        assert_eq!(receipt.command_id, id.to_string());
        assert_eq!(receipt.state(), CommandState::Failed);
        assert_eq!(receipt.error_code, "disk-full");
        assert_eq!(
            receipt.output_sha256,
            Sha256::digest(&result.output).to_vec()
        );
        assert!(result.error.expect("an error").message.len() <= ERROR_TEXT_BYTES);
    }

    #[test]
    fn a_command_that_came_without_an_id_is_not_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let identity = Identity::open(dir.path(), None).expect("an identity");
        let id = CommandId::from_uuid(uuid::Uuid::new_v5(&uuid::Uuid::nil(), b"drain"));
        assert_eq!(message(JournalUpdate::Accepted { id }, &identity), None);
        assert_eq!(
            message(JournalUpdate::Finished(outcome(id).into()), &identity),
            None
        );
    }
}
