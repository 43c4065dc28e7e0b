//! Commands of the fixed contract, which carry no id: each is given one, so
//! that what a controller repeats acts once.

use aegis_proto::{
    NodeId,
    cluster::v1::{
        DrainCommand, NodeCommand, PushConfigCommand, ShutdownCommand,
        node_command::Command as Variant,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::command::{Command, CommandId, FinalState, Outcome};

/// Who gave a command of the fixed contract, for `issuers` in the policy.
pub const FIXED_ISSUER: &str = "controller";

/// Derives commands from those of the fixed contract. One per run of the
/// worker: what was asked of an earlier run is asked anew.
///
/// A drain acts again once the opposite came between; a config once another
/// version or another payload under the same version came between; a shutdown
/// never. What could not act for a reason that may pass is forgotten by
/// [`settled`](Self::settled), and so acts when it is repeated.
#[derive(Debug)]
pub struct FixedCommands {
    namespace: Uuid,
    sequence: u64,
    drain: Option<Last<bool>>,
    config: Option<Last<(String, [u8; 32])>>,
    shutdown: Option<Last<()>>,
    empty: u64,
}

/// What a command of the fixed contract comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FixedCommand {
    /// To a command of its own.
    New(Command),
    /// To one that was derived before.
    Repeated(CommandId),
    /// To nothing: it has no variant that this worker knows. It was counted.
    Empty,
}

#[derive(Debug, Clone)]
struct Last<T> {
    id: CommandId,
    content: T,
}

impl FixedCommands {
    /// Nothing was asked yet of this node's run. `boot` differs between runs.
    pub fn new(node: NodeId, boot: Uuid) -> Self {
        Self {
            namespace: Uuid::new_v5(node.as_uuid(), boot.as_bytes()),
            sequence: 0,
            drain: None,
            config: None,
            shutdown: None,
            empty: 0,
        }
    }

    /// Whether an id was derived. Controllers that give ids make others.
    pub fn derived(id: CommandId) -> bool {
        id.as_uuid().get_version() == Some(uuid::Version::Sha1)
    }

    /// What this command comes to.
    pub fn derive(&mut self, command: NodeCommand) -> FixedCommand {
        match command.command {
            Some(Variant::Drain(DrainCommand { drain })) => {
                let next = next(
                    &mut self.sequence,
                    self.namespace,
                    self.drain.as_ref(),
                    drain,
                );
                derived("drain", next, &mut self.drain, || json!({ "drain": drain }))
            }
            Some(Variant::PushConfig(PushConfigCommand {
                config_version,
                config_payload,
            })) => {
                let digest = Sha256::digest(&config_payload).into();
                let next = next(
                    &mut self.sequence,
                    self.namespace,
                    self.config.as_ref(),
                    (config_version.clone(), digest),
                );
                derived("push-config", next, &mut self.config, || {
                    json!({
                        "configVersion": config_version,
                        "configPayload": STANDARD.encode(&config_payload),
                    })
                })
            }
            Some(Variant::Shutdown(ShutdownCommand { reason })) => {
                let next = next(
                    &mut self.sequence,
                    self.namespace,
                    self.shutdown.as_ref(),
                    (),
                );
                derived(
                    "shutdown",
                    next,
                    &mut self.shutdown,
                    || json!({ "reason": reason }),
                )
            }
            None => {
                self.empty += 1;
                tracing::warn!(
                    count = self.empty,
                    "the controller sent a command that this worker is too old to know"
                );
                FixedCommand::Empty
            }
        }
    }

    /// To be told every outcome of a derived command.
    pub fn settled(&mut self, outcome: &Outcome) {
        let may_pass = outcome.state != FinalState::Succeeded
            && outcome.error.as_ref().is_some_and(|error| error.retryable);
        if !may_pass {
            return;
        }
        self.forget(outcome.id);
    }

    /// The command acts when it is repeated.
    pub fn forget(&mut self, id: CommandId) {
        self.drain.take_if(|last| last.id == id);
        self.config.take_if(|last| last.id == id);
        self.shutdown.take_if(|last| last.id == id);
    }

    /// Commands without a known variant.
    pub fn empty_commands(&self) -> u64 {
        self.empty
    }
}

/// A new id, unless the command before asked for the same.
fn next<T: PartialEq>(
    sequence: &mut u64,
    namespace: Uuid,
    last: Option<&Last<T>>,
    content: T,
) -> Result<Last<T>, CommandId> {
    if let Some(last) = last.filter(|last| last.content == content) {
        return Err(last.id);
    }
    *sequence += 1;
    let id = Uuid::new_v5(&namespace, &sequence.to_be_bytes());
    Ok(Last {
        id: CommandId::from_uuid(id),
        content,
    })
}

fn derived<T>(
    name: &str,
    next: Result<Last<T>, CommandId>,
    last: &mut Option<Last<T>>,
    payload: impl FnOnce() -> serde_json::Value,
) -> FixedCommand {
    match next {
        Err(id) => FixedCommand::Repeated(id),
        Ok(next) => {
            let id = next.id;
            *last = Some(next);
            FixedCommand::New(Command {
                id,
                name: name.to_owned(),
                payload: payload().to_string().into(),
                not_before: None,
                start_by: None,
                timeout: None,
                issuer: FIXED_ISSUER.to_owned(),
                traceparent: String::new(),
                delivery: 0,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;

    use super::*;
    use crate::command::HandlerError;

    fn commands() -> FixedCommands {
        FixedCommands::new(NodeId::from_uuid(Uuid::from_u128(1)), Uuid::from_u128(2))
    }

    fn drain(drain: bool) -> NodeCommand {
        NodeCommand {
            command: Some(Variant::Drain(DrainCommand { drain })),
        }
    }

    fn config(version: &str, payload: &[u8]) -> NodeCommand {
        NodeCommand {
            command: Some(Variant::PushConfig(PushConfigCommand {
                config_version: version.to_owned(),
                config_payload: payload.to_vec(),
            })),
        }
    }

    fn shutdown(reason: &str) -> NodeCommand {
        NodeCommand {
            command: Some(Variant::Shutdown(ShutdownCommand {
                reason: reason.to_owned(),
            })),
        }
    }

    fn new(commands: &mut FixedCommands, command: NodeCommand) -> Command {
        match commands.derive(command) {
            FixedCommand::New(command) => command,
            other => panic!("{other:?}"),
        }
    }

    fn payload(command: &Command) -> serde_json::Value {
        serde_json::from_slice(&command.payload).expect("JSON")
    }

    fn outcome(command: &Command, error: HandlerError) -> Outcome {
        Outcome {
            id: command.id,
            name: command.name.clone(),
            state: FinalState::Rejected,
            response: Bytes::new(),
            error: Some(error),
            output: Bytes::new(),
            output_cut: 0,
            started_at: None,
            finished_at: SystemTime::UNIX_EPOCH,
            attempt: 0,
        }
    }

    #[test]
    fn a_repeated_drain_acts_once_until_the_opposite_comes() {
        let mut commands = commands();
        let first = new(&mut commands, drain(true));
        assert_eq!(payload(&first), json!({ "drain": true }));
        assert_eq!(
            commands.derive(drain(true)),
            FixedCommand::Repeated(first.id)
        );
        let undo = new(&mut commands, drain(false));
        assert_eq!(
            commands.derive(drain(false)),
            FixedCommand::Repeated(undo.id)
        );
        let again = new(&mut commands, drain(true));
        assert!(again.id != first.id && again.id != undo.id);
    }

    #[test]
    fn a_config_acts_once_until_its_version_or_its_payload_changes() {
        let mut commands = commands();
        let first = new(&mut commands, config("v1", b"{}"));
        assert_eq!(
            payload(&first),
            json!({ "configVersion": "v1", "configPayload": "e30=" })
        );
        assert_eq!(
            commands.derive(config("v1", b"{}")),
            FixedCommand::Repeated(first.id)
        );
        new(&mut commands, config("v1", b"{ }"));
        new(&mut commands, config("v2", b"{}"));
        let back = new(&mut commands, config("v1", b"{}"));
        assert_ne!(
            back.id, first.id,
            "going back to an old version is a change"
        );
    }

    #[test]
    fn a_shutdown_acts_once_whatever_its_reason() {
        let mut commands = commands();
        let first = new(&mut commands, shutdown("upgrade"));
        assert_eq!(payload(&first), json!({ "reason": "upgrade" }));
        assert_eq!(
            commands.derive(shutdown("again")),
            FixedCommand::Repeated(first.id)
        );
    }

    #[test]
    fn an_unknown_command_is_counted() {
        let mut commands = commands();
        assert_eq!(
            commands.derive(NodeCommand { command: None }),
            FixedCommand::Empty
        );
        assert_eq!(commands.empty_commands(), 1);
    }

    #[test]
    fn what_failed_for_a_passing_reason_acts_when_repeated() {
        let mut commands = commands();
        let first = new(&mut commands, drain(true));
        commands.settled(&outcome(&first, HandlerError::new("disabled", "it is off")));
        assert_eq!(
            commands.derive(drain(true)),
            FixedCommand::Repeated(first.id)
        );
        commands.settled(&outcome(
            &first,
            HandlerError::new("overloaded", "later").retryable(),
        ));
        assert_ne!(new(&mut commands, drain(true)).id, first.id);
    }

    #[test]
    fn another_run_of_the_worker_derives_other_ids() {
        let node = NodeId::from_uuid(Uuid::from_u128(1));
        let ids = [2, 3].map(|boot| {
            new(
                &mut FixedCommands::new(node, Uuid::from_u128(boot)),
                drain(true),
            )
            .id
        });
        assert_ne!(ids[0], ids[1]);
    }
}
