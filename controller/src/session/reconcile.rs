//! What becomes of the commands that a node was sent before, once it has said
//! which it holds.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use aegis_proto::{
    CommandId, error_code,
    worker::v1::{CommandError, CommandState, Effect, Hello},
};
use tonic::Status;

use super::Session;
use crate::{
    command::{FinalState, Step},
    outcome,
    store::CommandRecord,
    time,
};

/// Commands that are sent again in one go.
const AT_ONCE: usize = 16;

/// What is to be done about one of them.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// The node holds it and will tell its outcome.
    Held,
    /// The node knows nothing of it, and may run it.
    SendAgain,
    /// It is over.
    Over(FinalState, Box<CommandError>),
}

impl Session {
    pub(super) async fn reconcile(
        &mut self,
        held: &HashSet<CommandId>,
        hello: &Hello,
    ) -> Result<(), Status> {
        let (controller, node) = (self.controller.clone(), self.node.id);
        let mut again = Vec::new();
        for command in controller.store.in_hand(node).await? {
            match judge(&command, held.contains(&command.id), hello) {
                Verdict::Held => {
                    controller.watchers.begin(command.id);
                    self.mine.insert(command.id);
                }
                Verdict::SendAgain => again.push(command.id),
                Verdict::Over(state, error) => {
                    controller.derive(&command, state, Some(*error)).await?;
                }
            }
        }
        // It was sent, and the database is an older one that was restored.
        let queued = controller.store.queued(node).await?;
        let sent: Vec<_> = held.intersection(&queued).copied().collect();
        let steps: Vec<_> = sent.iter().map(|id| (*id, Step::Deliver)).collect();
        if !steps.is_empty() {
            for command in controller.advance_all(node, &steps).await? {
                controller.watchers.begin(command.id);
                self.mine.insert(command.id);
            }
        }
        for some in again.chunks(AT_ONCE) {
            self.deliver(some).await?;
        }
        Ok(())
    }
}

/// A node that does not hold a command it once accepted has lost its memory:
/// the command may have run, or may run still.
fn judge(command: &CommandRecord, held: bool, hello: &Hello) -> Verdict {
    if held {
        return Verdict::Held;
    }
    let accepted = command.state >= CommandState::Accepted;
    if command.cancel_requested {
        return if accepted || may_be_lost(command, hello) {
            let message = "its node has lost it, and it was to be cancelled: it is not sent again";
            let error = outcome::unknown(error_code::WORKER_LOST, message);
            Verdict::Over(FinalState::Unknown, Box::new(error))
        } else {
            let error = outcome::cancelled(&command.cancel_reason);
            Verdict::Over(FinalState::Cancelled, Box::new(error))
        };
    }
    if accepted && !may_run_again(command, hello) {
        let message = "its worker lost it after it was accepted, and its handler may not run twice";
        let error = outcome::unknown(error_code::WORKER_LOST, message);
        return Verdict::Over(FinalState::Unknown, Box::new(error));
    }
    Verdict::SendAgain
}

/// How far the clocks of node and controller may be apart.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5 * 60);

/// Whether the node may have taken and run it, of all it has told us, before it
/// lost its journal.
pub(super) fn may_be_lost(command: &CommandRecord, hello: &Hello) -> bool {
    let lost = hello.journal_lost_at;
    let Some(lost) = lost.and_then(|at| SystemTime::try_from(at).ok()) else {
        return false;
    };
    let latest = time::millis(lost).saturating_add(time::duration_millis(CLOCKS_DIFFER));
    command.delivered_at.is_some_and(|at| at <= latest)
}

fn may_run_again(command: &CommandRecord, hello: &Hello) -> bool {
    let spec = hello.handlers.iter().find(|spec| spec.name == command.name);
    spec.is_some_and(|spec| {
        matches!(
            spec.effect(),
            Effect::Read | Effect::Idempotent | Effect::Resumable
        )
    })
}

#[cfg(test)]
mod tests {
    use aegis_proto::{GroupId, NodeId, worker::v1::HandlerSpec};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn command(state: CommandState, cancel_requested: bool) -> CommandRecord {
        CommandRecord {
            state,
            cancel_requested,
            ..CommandRecord::queued(
                CommandId::from_uuid(Uuid::now_v7()),
                GroupId::from_uuid(Uuid::now_v7()),
                NodeId::from_uuid(Uuid::now_v7()),
                "work".into(),
                Vec::new(),
                "operator".into(),
            )
        }
    }

    fn hello(effect: Option<Effect>) -> Hello {
        let spec = effect.map(|effect| HandlerSpec {
            name: "work".into(),
            effect: effect.into(),
            ..HandlerSpec::default()
        });
        Hello {
            handlers: spec.into_iter().collect(),
            ..Hello::default()
        }
    }

    fn in_hand() -> impl Strategy<Value = CommandState> {
        prop_oneof![
            Just(CommandState::Delivered),
            Just(CommandState::Accepted),
            Just(CommandState::Running),
        ]
    }

    fn effects() -> impl Strategy<Value = Option<Effect>> {
        prop_oneof![
            Just(None),
            Just(Some(Effect::Unspecified)),
            Just(Some(Effect::Read)),
            Just(Some(Effect::Idempotent)),
            Just(Some(Effect::AtMostOnce)),
            Just(Some(Effect::Resumable)),
        ]
    }

    #[test]
    fn what_went_with_a_journal_is_not_said_to_be_cancelled() {
        let lost_at = |at| Hello {
            journal_lost_at: Some(time::timestamp(at)),
            ..hello(None)
        };
        let delivered = CommandRecord {
            delivered_at: Some(1_000_000),
            ..command(CommandState::Delivered, true)
        };
        for (hello, end) in [
            (lost_at(2_000_000), FinalState::Unknown),
            (lost_at(900_000), FinalState::Unknown),
            (lost_at(600_000), FinalState::Cancelled),
            (hello(None), FinalState::Cancelled),
        ] {
            let verdict = judge(&delivered, false, &hello);
            assert!(
                matches!(verdict, Verdict::Over(as_, _) if as_ == end),
                "{hello:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_held_is_left_to_its_node(state in in_hand(), cancel: bool, effect in effects()) {
            prop_assert_eq!(judge(&command(state, cancel), true, &hello(effect)), Verdict::Held);
        }

        #[test]
        fn what_may_have_run_is_sent_again_only_where_it_may_run_twice(
            state in in_hand(),
            cancel: bool,
            effect in effects(),
        ) {
            let verdict = judge(&command(state, cancel), false, &hello(effect));
            let harmless = matches!(
                effect,
                Some(Effect::Read | Effect::Idempotent | Effect::Resumable)
            );
            match verdict {
                Verdict::Held => prop_assert!(false),
                Verdict::SendAgain => {
                    prop_assert!(!cancel && (harmless || state == CommandState::Delivered));
                }
                Verdict::Over(FinalState::Cancelled, _) => {
                    prop_assert!(cancel && state == CommandState::Delivered);
                }
                Verdict::Over(end, _) => {
                    prop_assert_eq!(end, FinalState::Unknown);
                    prop_assert!(state != CommandState::Delivered && (cancel || !harmless));
                }
            }
        }
    }
}
