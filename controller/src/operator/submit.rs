//! SubmitCommand: from a selector to committed commands.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aegis_proto::{
    CommandId, GroupId, NodeId,
    limits::{MAX_NAME_BYTES, MAX_PAYLOAD_BYTES},
    operator::v1 as api,
};
use prost::Message;
use serde_json::json;
use sha2::{Digest, Sha256};
use tonic::Status;
use uuid::Uuid;

use super::{OperatorApi, audit::Call, enrolment::short};
use crate::{
    allow_list::NotAllowed,
    cluster::FIXED,
    command::FinalState,
    controller::Controller,
    directory::Node,
    queue::MAX_OPEN,
    store::{CommandRecord, Submission, Submitted},
    time::{self, Millis, duration_millis, from_proto_duration, from_timestamp},
};

const LONGEST_TIMEOUT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// W3C trace context, version 00.
const TRACEPARENT_BYTES: usize = 55;

/// What is the same for every command of a submission.
struct Order {
    name: String,
    payload: Vec<u8>,
    not_before: Option<Millis>,
    start_by: Option<Millis>,
    timeout_ms: Option<i64>,
    traceparent: String,
}

impl OperatorApi {
    pub(crate) async fn submit(
        &self,
        who: &str,
        request: api::SubmitCommandRequest,
    ) -> Result<api::SubmitCommandResponse, Status> {
        let group = GroupId::from_uuid(time::new_id());
        let call = Call {
            operator: who.into(),
            action: "SubmitCommand",
            detail: json!({
                "name": short(&request.name),
                "selector": describe(request.selector.as_ref()),
                "group_id": group.to_string(),
            }),
        };
        let controller = &self.controller;
        controller
            .audited(&call, async {
                let request_id = request_id(&request.request_id)?;
                let digest = digest(&request);
                // Before anything that may have changed since: the time, the nodes.
                if let Some(request_id) = &request_id
                    && let Some(earlier) = self.earlier(request_id, &digest).await?
                {
                    return self.answer(earlier).await;
                }
                let selector = request.selector.clone();
                let order = order(request)?;
                let nodes = controller.select(selector.as_ref())?;
                let nodes = able(nodes, &selector)?;
                check_handlers(&nodes, &order.name)?;
                let refused = controller.not_allowed(&nodes, &order.name)?;
                controller.check_room(&nodes).await?;
                let commands = nodes
                    .iter()
                    .map(|node| order.command(node, group, who))
                    .collect();
                let submission = Arc::new(Submission {
                    request_id,
                    digest,
                    group,
                    commands,
                    superseded: Vec::new(),
                });
                let submitted = controller
                    .store
                    .submit(Arc::clone(&submission), call.ok())
                    .await?;
                match submitted {
                    Submitted::Made => {
                        let all = &submission.commands;
                        controller.reject(all, &refused).await;
                        for node in &nodes {
                            node.wake();
                            controller.directory.tell(node.id);
                        }
                        if !refused.is_empty() {
                            return self.answer(group).await;
                        }
                        Ok(self.response(group, Arc::unwrap_or_clone(submission).commands))
                    }
                    Submitted::Repeated(group) => self.answer(group).await,
                    Submitted::Reused => Err(reused()),
                }
            })
            .await
    }

    /// The group of the same request made earlier.
    async fn earlier(
        &self,
        request_id: &str,
        digest: &[u8; 32],
    ) -> Result<Option<GroupId>, Status> {
        match self.controller.store.submitted(request_id, digest).await? {
            Some(Submitted::Repeated(group)) => Ok(Some(group)),
            Some(_) => Err(reused()),
            None => Ok(None),
        }
    }

    async fn answer(&self, group: GroupId) -> Result<api::SubmitCommandResponse, Status> {
        Ok(self.response(group, self.controller.store.group(group).await?))
    }

    /// Payloads are left out where there are several: they are all the same.
    fn response(&self, group: GroupId, commands: Vec<CommandRecord>) -> api::SubmitCommandResponse {
        let several = commands.len() > 1;
        let commands = commands
            .into_iter()
            .map(|mut command| {
                if several {
                    command.payload = Vec::new();
                    command.response = Vec::new();
                }
                self.controller.command_view(command)
            })
            .collect();
        api::SubmitCommandResponse {
            group_id: group.to_string(),
            commands,
        }
    }
}

impl Controller {
    /// No node may have more open commands than it could ever take.
    pub(super) async fn check_room(&self, nodes: &[Arc<Node>]) -> Result<(), Status> {
        let open = match nodes {
            [node] => HashMap::from([(node.id, self.store.open_count(node.id).await?)]),
            _ => self.store.open_counts().await?,
        };
        let full = nodes
            .iter()
            .find(|node| open.get(&node.id).is_some_and(|n| *n >= MAX_OPEN));
        match full {
            None => Ok(()),
            Some(node) => Err(Status::resource_exhausted(format!(
                "node {} has {MAX_OPEN} open commands; cancel some or wait until it has caught up",
                node.id
            ))),
        }
    }
}

impl Controller {
    /// The nodes that may not be sent this command because of their plugin.
    ///
    /// # Errors
    ///
    /// None of them may.
    fn not_allowed(
        &self,
        nodes: &[Arc<Node>],
        name: &str,
    ) -> Result<HashMap<NodeId, NotAllowed>, Status> {
        let mut refused = HashMap::new();
        for node in nodes {
            if let Err(why) = self.allowed(node, name) {
                if nodes.len() == refused.len() + 1 {
                    return Err(why.status());
                }
                refused.insert(node.id, why);
            }
        }
        Ok(refused)
    }

    /// Ends those commands of a submission whose nodes may not be sent them.
    /// What can't be ended here is refused when it would be sent.
    async fn reject(&self, commands: &[CommandRecord], refused: &HashMap<NodeId, NotAllowed>) {
        for command in commands {
            let Some(why) = refused.get(&command.node) else {
                continue;
            };
            let error = why.error("not sent");
            let ended = self.derive(command, FinalState::Rejected, Some(error));
            if let Err(error) = ended.await {
                tracing::error!(id = %command.id, %error, "a command that may not be sent was not ended");
            }
        }
    }
}

impl Order {
    fn command(&self, node: &Node, group: GroupId, who: &str) -> CommandRecord {
        CommandRecord {
            traceparent: self.traceparent.clone(),
            not_before: self.not_before,
            start_by: self.start_by,
            timeout_ms: self.timeout_ms,
            ..CommandRecord::queued(
                CommandId::from_uuid(time::new_id()),
                group,
                node.id,
                self.name.clone(),
                self.payload.clone(),
                who.into(),
            )
        }
    }
}

fn order(request: api::SubmitCommandRequest) -> Result<Order, Status> {
    let invalid = Status::invalid_argument;
    if request.name.is_empty() || request.name.len() > MAX_NAME_BYTES {
        return Err(invalid(format!(
            "a command's name has from 1 to {MAX_NAME_BYTES} bytes"
        )));
    }
    let payload = if request.payload.is_empty() {
        b"{}".to_vec()
    } else {
        request.payload
    };
    if payload.len() > MAX_PAYLOAD_BYTES {
        let have = payload.len();
        return Err(invalid(format!(
            "the payload has {have} bytes; the limit is {MAX_PAYLOAD_BYTES}"
        )));
    }
    let text = std::str::from_utf8(&payload)
        .map_err(|error| invalid(format!("the payload is not UTF-8: {error}")))?;
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        return Err(invalid(format!("the payload is no JSON: {error}")));
    }
    let at = |timestamp: Option<prost_types::Timestamp>, what: &str| {
        timestamp
            .map(|t| from_timestamp(&t).ok_or_else(|| invalid(format!("{what} is no valid time"))))
            .transpose()
    };
    let not_before = at(request.not_before, "not_before")?;
    let start_by = at(request.start_by, "start_by")?;
    if start_by.is_some_and(|at| at <= time::now()) {
        return Err(invalid("start_by has already passed".into()));
    }
    if let (Some(from), Some(to)) = (not_before, start_by)
        && from >= to
    {
        return Err(invalid("not_before is not before start_by".into()));
    }
    let timeout_ms = request
        .timeout
        .map(|timeout| {
            from_proto_duration(&timeout)
                .filter(|t| (Duration::from_millis(1)..=LONGEST_TIMEOUT).contains(t))
                .map(duration_millis)
                .ok_or_else(|| invalid("the timeout has to be from 1 ms to 30 days".into()))
        })
        .transpose()?;
    if !request.traceparent.is_empty() && request.traceparent.len() != TRACEPARENT_BYTES {
        return Err(invalid("the traceparent is no W3C trace context".into()));
    }
    Ok(Order {
        name: request.name,
        payload,
        not_before,
        start_by,
        timeout_ms,
        traceparent: request.traceparent,
    })
}

fn request_id(text: &str) -> Result<Option<String>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    Uuid::try_parse(text)
        .map(|id| Some(id.to_string()))
        .map_err(|_| Status::invalid_argument("the request_id is no UUID"))
}

/// Over everything that makes one request differ from another.
fn digest(request: &api::SubmitCommandRequest) -> [u8; 32] {
    let content = api::SubmitCommandRequest {
        request_id: String::new(),
        traceparent: String::new(),
        ..request.clone()
    };
    Sha256::digest(content.encode_to_vec()).into()
}

fn reused() -> Status {
    Status::already_exists(
        "this request_id was used before with another content; make a new one for a new command",
    )
}

/// Nodes that can be given commands. One that was named and can't is an error;
/// of a selection, it is left out.
fn able(nodes: Vec<Arc<Node>>, selector: &Option<api::Selector>) -> Result<Vec<Arc<Node>>, Status> {
    use api::selector::Selector::Node as Named;
    let named = matches!(
        selector.as_ref().and_then(|s| s.selector.as_ref()),
        Some(Named(_))
    );
    let mut able = Vec::with_capacity(nodes.len());
    for node in nodes {
        let record = node.record();
        if record.banned.is_none() && (named || !record.deregistered) {
            able.push(node);
        } else if named {
            return Err(Status::failed_precondition(format!(
                "node {} is banned; lift it with aegisctl unban first",
                node.id
            )));
        }
    }
    if able.is_empty() {
        return Err(Status::not_found(
            "every selected node is banned or deregistered; see aegisctl nodes",
        ));
    }
    Ok(able)
}

/// Refuses a name that a node is known not to have.
fn check_handlers(nodes: &[Arc<Node>], name: &str) -> Result<(), Status> {
    for node in nodes {
        let record = node.record();
        match &record.facts {
            Some(facts) if !facts.handlers.is_empty() => {
                if facts.handlers.iter().any(|spec| spec.name == name) {
                    continue;
                }
                let names = facts.handlers.iter().map(|spec| spec.name.as_str());
                let hint = nearest(name, names)
                    .map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
                return Err(Status::failed_precondition(format!(
                    "node {} has no command {name:?}{hint} (see aegisctl node show {})",
                    node.id, node.id
                )));
            }
            Some(_) => {}
            // It sends unary heartbeats, and never opened a session.
            None if node.live().pulse.unary && !FIXED.contains(&name) => {
                return Err(Status::failed_precondition(format!(
                    "node {} has not opened a session: it takes drain, push-config and shutdown alone",
                    node.id
                )));
            }
            None => {}
        }
    }
    Ok(())
}

fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let close = (name.chars().count() / 3).max(1);
    names
        .map(|one| (distance(name, one), one))
        .filter(|(distance, _)| *distance <= close)
        .min()
        .map(|(_, one)| one)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

pub(super) fn describe(selector: Option<&api::Selector>) -> String {
    use api::selector::Selector as S;
    match selector.and_then(|selector| selector.selector.as_ref()) {
        None => "none".into(),
        Some(S::Node(node)) => format!("node {}", short(node)),
        Some(S::All(_)) => "all".into(),
        Some(S::Tag(tag)) => format!("tag {}", short(tag)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_finds_its_neighbour() {
        let names = ["drain", "push-config", "shutdown", "hello"];
        assert_eq!(nearest("helo", names.into_iter()), Some("hello"));
        assert_eq!(
            nearest("pushconfig", names.into_iter()),
            Some("push-config")
        );
        assert_eq!(nearest("reboot-everything", names.into_iter()), None);
    }

    #[test]
    fn the_digest_is_of_the_content_alone() {
        let one = api::SubmitCommandRequest {
            name: "a".into(),
            ..Default::default()
        };
        let mut same = one.clone();
        same.request_id = Uuid::new_v4().to_string();
        assert_eq!(digest(&one), digest(&same));
        let other = api::SubmitCommandRequest {
            name: "b".into(),
            ..Default::default()
        };
        assert_ne!(digest(&one), digest(&other));
    }
}
