//! What a resumable handler is given back after a crash.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Context, HandlerError, Host, Plugin, abi::AEGIS_MAX_CHECKPOINT_BYTES, host::stopped};

/// The host's interface.
pub(crate) const INTERFACE: &str = "aegis.checkpoint/1";

/// A handler that declares [`Effect::Resumable`](crate::Effect::Resumable) keeps
/// how far it has come, and goes on from there in its next attempt. A checkpoint
/// is of one command, and lasts as long as that has no outcome.
impl<P: Plugin> Context<P> {
    /// Keeps `state` in the place of the checkpoint before it, and returns once
    /// it is on disk: after a crash [`resumed`](Self::resumed) gives it back. It
    /// costs about as much as a disk takes to write, so not every step is worth
    /// one. Its JSON form has at most 64 KiB.
    ///
    /// # Errors
    ///
    /// `checkpoint-too-large`; `not-resumable` where the handler declares
    /// another effect; `host-too-old`; or the worker cannot write, and the
    /// checkpoint before may be the newest.
    pub async fn checkpoint<T: Serialize>(&self, state: &T) -> Result<(), HandlerError> {
        let document = document(state)?;
        let (host, call) = (self.host().clone(), self.cancellation.facts().id);
        self.host()
            .off_thread(move || save(&host, call, &document))
            .await
    }

    /// The same for blocking handlers: blocks its thread.
    ///
    /// # Errors
    ///
    /// As [`checkpoint`](Self::checkpoint).
    pub fn checkpoint_blocking<T: Serialize>(&self, state: &T) -> Result<(), HandlerError> {
        save(self.host(), self.cancellation.facts().id, &document(state)?)
    }

    /// The newest checkpoint of this command, of this attempt or of one before;
    /// `None`: there is none, and the work begins at its beginning. Never blocks.
    ///
    /// # Errors
    ///
    /// `malformed-checkpoint`: it is not of this type. An older version of the
    /// plugin wrote it, then.
    pub fn resumed<T: DeserializeOwned>(&self) -> Result<Option<T>, HandlerError> {
        let call = self.cancellation.facts().id;
        let link = &self.host().0.link;
        let Some(document) = link.with(|port| port.load_checkpoint(call)).flatten() else {
            return Ok(None);
        };
        serde_json::from_slice(&document)
            .map(Some)
            .map_err(|error| {
                HandlerError::new(
                    "malformed-checkpoint",
                    format!("the checkpoint of an earlier attempt cannot be read: {error}"),
                )
                .help("submit the command again, once it is known how far it had come")
            })
    }
}

fn document<T: Serialize>(state: &T) -> Result<Vec<u8>, HandlerError> {
    let document = serde_json::to_vec(state).map_err(|error| {
        HandlerError::new(
            "malformed-checkpoint",
            format!("the checkpoint has no JSON form: {error}"),
        )
    })?;
    if document.len() > AEGIS_MAX_CHECKPOINT_BYTES {
        return Err(HandlerError::new(
            "checkpoint-too-large",
            format!(
                "the checkpoint has {} bytes; at most {AEGIS_MAX_CHECKPOINT_BYTES} are kept",
                document.len()
            ),
        )
        .help("keep what is larger in a file of the plugin's state directory, and its name here"));
    }
    Ok(document)
}

fn save(host: &Host, call: u64, document: &[u8]) -> Result<(), HandlerError> {
    let link = &host.0.link;
    link.with(|port| port.save_checkpoint(call, document))
        .unwrap_or_else(|| Err(stopped()))
}
