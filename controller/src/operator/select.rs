//! From a selector, or the beginning of an id, to what is meant.

use std::sync::Arc;

use aegis_proto::{
    CommandId, GroupId, NodeId,
    operator::v1::{Selector, selector},
};
use tonic::Status;
use uuid::Uuid;

use crate::{controller::Controller, directory::Node, store::NodeRecord};

impl Controller {
    /// The nodes that a selector means, which are never none. An unset one is refused.
    pub(crate) fn select(&self, selector: Option<&Selector>) -> Result<Vec<Arc<Node>>, Status> {
        let chosen = selector
            .and_then(|selector| selector.selector.as_ref())
            .ok_or_else(|| {
                Status::invalid_argument("no nodes were selected; name a node, a tag or all")
            })?;
        let nodes = match chosen {
            selector::Selector::Node(prefix) => return Ok(vec![self.find_node(prefix)?]),
            selector::Selector::All(true) => self.directory.all(),
            selector::Selector::All(false) => {
                return Err(Status::invalid_argument(
                    "all is false: name a node, a tag or all",
                ));
            }
            selector::Selector::Tag(tag) => {
                let tagged: Vec<_> = self
                    .directory
                    .all()
                    .into_iter()
                    .filter(|n| has_tag(&n.record(), tag))
                    .collect();
                if tagged.is_empty() {
                    return Err(Status::not_found(format!(
                        "no node has the tag {tag:?}; see aegisctl nodes for the tags there are"
                    )));
                }
                tagged
            }
        };
        if nodes.is_empty() {
            return Err(Status::not_found(
                "there are no nodes yet; make a token with aegisctl enrol and start a worker with it",
            ));
        }
        Ok(nodes)
    }

    /// As [`Controller::select`], where unset and a choice of none are fine.
    pub(crate) fn select_to_list(
        &self,
        selector: Option<&Selector>,
    ) -> Result<Vec<Arc<Node>>, Status> {
        match selector.and_then(|selector| selector.selector.as_ref()) {
            None | Some(selector::Selector::All(_)) => Ok(self.directory.all()),
            Some(_) => self.select(selector),
        }
    }

    /// The node that an id or a unique prefix of one means.
    pub(crate) fn find_node(&self, text: &str) -> Result<Arc<Node>, Status> {
        let prefix = id_prefix(text, "node")?;
        let mut found = self
            .directory
            .all()
            .into_iter()
            .filter(|n| n.id.to_string().starts_with(&prefix));
        match (found.next(), found.next()) {
            (Some(node), None) => Ok(node),
            (Some(one), Some(other)) => Err(Status::failed_precondition(format!(
                "{text:?} is the beginning of several nodes, as {} and {}; give more of the id",
                one.id, other.id
            ))),
            (None, _) => Err(Status::not_found(format!(
                "there is no node {text:?}; see aegisctl nodes for those there are"
            ))),
        }
    }

    /// The command that an id or a unique prefix of one means.
    pub(crate) async fn find_command(&self, text: &str) -> Result<CommandId, Status> {
        let prefix = id_prefix(text, "command")?;
        match self.store.command_ids(&prefix, 2).await?[..] {
            [id] => Ok(id),
            [one, other, ..] => Err(Status::failed_precondition(format!(
                "{text:?} is the beginning of several commands, as {one} and {other}; give more of \
                 the id"
            ))),
            [] => Err(Status::not_found(format!(
                "there is no command {text:?}; see aegisctl commands for those there are"
            ))),
        }
    }

    /// The rollout that an id or a unique prefix of one means; the newest one
    /// where nothing is given.
    pub(crate) async fn find_rollout(&self, text: &str) -> Result<Uuid, Status> {
        if text.is_empty() {
            let newest = self.store.rollouts(1).await?;
            return newest.first().map(|it| it.id).ok_or_else(|| {
                Status::not_found(
                    "there was no rollout yet; aegisctl config set --batch begins one",
                )
            });
        }
        let prefix = id_prefix(text, "rollout")?;
        match self.store.rollout_ids(&prefix, 2).await?[..] {
            [id] => Ok(id),
            [one, other, ..] => Err(Status::failed_precondition(format!(
                "{text:?} is the beginning of several rollouts, as {one} and {other}; give more \
                 of the id"
            ))),
            [] => Err(Status::not_found(format!(
                "there is no rollout {text:?}; see aegisctl config rollout list for those there are"
            ))),
        }
    }

    /// The group that an id or a unique prefix of one means.
    pub(crate) async fn find_group(&self, text: &str) -> Result<GroupId, Status> {
        let prefix = id_prefix(text, "group")?;
        match self.store.group_ids(&prefix, 2).await?[..] {
            [id] => Ok(id),
            [one, other, ..] => Err(Status::failed_precondition(format!(
                "{text:?} is the beginning of several groups, as {one} and {other}; give more of \
                 the id"
            ))),
            [] => Err(Status::not_found(format!(
                "there is no group {text:?}; aegisctl commands -o json shows the group of each \
                 command"
            ))),
        }
    }
}

/// A node id as a caller has to give it in full.
pub(crate) fn node_id(text: &str) -> Result<NodeId, Status> {
    text.parse()
        .map_err(|error: aegis_proto::MalformedId| Status::invalid_argument(error.to_string()))
}

fn has_tag(record: &NodeRecord, tag: &str) -> bool {
    record.capabilities.tags.iter().any(|one| one == tag)
}

fn id_prefix(text: &str, what: &str) -> Result<String, Status> {
    let prefix = text.trim().to_ascii_lowercase();
    let plausible = (1..=36).contains(&prefix.len())
        && prefix
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    plausible.then_some(prefix).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        Status::invalid_argument(format!(
            "{shown:?} is no {what} id and no beginning of one: ids have hexadecimal digits and hyphens"
        ))
    })
}
