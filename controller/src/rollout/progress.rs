//! How the nodes of a rollout stand, from what they and their commands tell.

use aegis_proto::worker::v1::CommandState;

use super::{Config, NodeState, Progress, Push};
use crate::{
    command::is_final,
    controller::Controller,
    layers::LayerStack,
    store::{RolloutNodeRecord, RolloutRecord},
    time::Millis,
};

/// A node of a rollout with what there is to say of it.
#[derive(Debug)]
pub(crate) struct Standing {
    /// As it is kept.
    pub record: RolloutNodeRecord,
    /// What decides.
    pub progress: Progress,
    /// Where it stands.
    pub state: NodeState,
    /// The version in force on it.
    pub active: String,
    /// Of its failure, if it told one.
    pub step: String,
    /// Why it failed.
    pub reason: String,
}

impl Controller {
    /// How the nodes of an open rollout stand now.
    pub(crate) fn standings(
        &self,
        stack: &LayerStack,
        rollout: &RolloutRecord,
        nodes: Vec<RolloutNodeRecord>,
        now: Millis,
    ) -> Vec<Standing> {
        let nodes = nodes.into_iter();
        nodes
            .map(|record| self.standing(stack, rollout, record, now))
            .collect()
    }

    fn standing(
        &self,
        stack: &LayerStack,
        rollout: &RolloutRecord,
        record: RolloutNodeRecord,
        now: Millis,
    ) -> Standing {
        let node = self.directory.find(record.node);
        let known = node.as_ref().map(|node| node.record());
        let status = known.as_ref().and_then(|it| it.config_status.clone());
        let status = status.unwrap_or_default();
        let tags = known.as_ref().map(|it| it.capabilities.tags.as_slice());
        let wanted = stack.wanted(
            record.node,
            tags.unwrap_or_default(),
            &status.active_version,
        );
        let config = match wanted {
            None => Config::InForce,
            Some(wanted) if status.attempted_version == wanted.version => {
                if status.attempt_succeeded {
                    Config::Missing
                } else {
                    Config::Refused
                }
            }
            Some(_) => Config::Missing,
        };
        let progress = Progress {
            released_at: record.released_at,
            present: record.present,
            gone: known.is_none_or(|it| it.banned.is_some() || !it.is_registered()),
            config,
            push: push(&record),
            forgiven: record.forgiven,
        };
        let state = progress.state(rollout.terms.node_timeout, now);
        let (step, reason) = match (state, config, &record.command_error) {
            (NodeState::Failed, Config::Refused, _) => (status.failed_step, status.reason),
            (NodeState::Failed, _, Some(error)) => {
                (String::new(), format!("{}: {}", error.code, error.message))
            }
            (NodeState::Failed, _, None) => {
                (String::new(), "it did not take it in time".to_owned())
            }
            _ => Default::default(),
        };
        Standing {
            record,
            progress,
            state,
            active: status.active_version,
            step,
            reason,
        }
    }
}

/// A push that another one replaced says nothing of the config.
fn push(record: &RolloutNodeRecord) -> Push {
    let superseded = record
        .command_error
        .as_ref()
        .is_some_and(|error| error.code == "superseded");
    match record.command_state {
        Some(state) if !is_final(state) => Push::Open,
        Some(CommandState::Succeeded) | None => Push::Over,
        Some(_) if superseded => Push::Over,
        Some(_) => Push::Failed,
    }
}
