//! What the selected nodes say about one command: who offers it, and with
//! which schema.

use aegis_proto::{
    operator::v1::{NodeView, ShowNodeResponse},
    worker::v1::HandlerSpec,
};

use crate::{
    connection::{CallError, Connection},
    failure::Failure,
    fleet,
    nearest::nearest,
    render::{clean, short},
    schema::Schema,
};

/// What one node says of a command.
#[derive(Debug, Clone)]
pub struct Offer {
    pub node_id: String,
    pub spec: HandlerSpec,
}

impl Offer {
    /// The schema of its request, where it has one.
    pub fn request_schema(&self) -> Option<Schema> {
        Schema::parse(&self.spec.request_schema)
    }
}

/// The selected nodes, sorted by what they say of a command.
#[derive(Debug, Default)]
pub struct Offers {
    /// Nodes that run it.
    pub enabled: Vec<Offer>,
    /// Nodes that have it and whose own config disables it.
    pub disabled: Vec<Offer>,
    /// Nodes that list their handlers, this one not among them.
    pub absent: Vec<String>,
    /// Nodes that never said what they have: workers of the fixed contract, and
    /// nodes that have yet to open a session.
    pub silent: Vec<String>,
    /// Every command that any of the nodes has.
    known: Vec<String>,
}

impl Offers {
    /// Asks about `command` on each of `nodes`.
    pub async fn of(
        connection: &Connection,
        nodes: &[NodeView],
        command: &str,
    ) -> Result<Self, CallError> {
        Ok(Self::sort(
            fleet::show_all(connection, nodes).await?,
            command,
        ))
    }

    fn sort(nodes: Vec<ShowNodeResponse>, command: &str) -> Self {
        let mut offers = Self::default();
        for node in nodes {
            let node_id = node
                .node
                .as_ref()
                .map(fleet::id)
                .unwrap_or_default()
                .to_owned();
            let silent = node.handlers.is_empty();
            offers
                .known
                .extend(node.handlers.iter().map(|it| it.name.clone()));
            // A node may have several by one name and serves one at the most.
            let named = node.handlers.into_iter().filter(|it| it.name == command);
            match named.min_by_key(|it| !it.enabled) {
                Some(spec) if spec.enabled => offers.enabled.push(Offer { node_id, spec }),
                Some(spec) => offers.disabled.push(Offer { node_id, spec }),
                None if silent => offers.silent.push(node_id),
                None => offers.absent.push(node_id),
            }
        }
        offers.known.sort_unstable();
        offers.known.dedup();
        offers
    }

    /// Refuses a command that a node is known not to have, or that none of them
    /// would run.
    pub fn require(&self, command: &str) -> Result<(), Failure> {
        if !self.absent.is_empty() {
            return Err(self.missing(command));
        }
        let Some(offer) = self.disabled.first() else {
            return Ok(());
        };
        if !self.enabled.is_empty() || !self.silent.is_empty() {
            return Ok(());
        }
        let reason = match offer.spec.disabled_reason.as_str() {
            "" => "its node's config disables it".to_owned(),
            reason => clean(reason),
        };
        Err(Failure::usage(format!(
            "`{}` is disabled on {}: {reason}; nothing was sent",
            clean(command),
            short(&offer.node_id)
        ))
        .next(
            "Change that on the node: in its own config under [handlers] or [plugins], or with \
             `aegis-worker --enable`.",
        ))
    }

    fn missing(&self, command: &str) -> Failure {
        let total =
            self.absent.len() + self.enabled.len() + self.disabled.len() + self.silent.len();
        if self.absent.len() < total {
            let some: Vec<String> = self.absent.iter().take(3).map(|id| short(id)).collect();
            let more = if self.absent.len() > 3 { ", ..." } else { "" };
            return Failure::usage(format!(
                "{} of {total} nodes have no command {command:?} ({}{more}); nothing was sent",
                self.absent.len(),
                some.join(", ")
            ))
            .next(format!(
                "Select those that have it: `aegisctl describe {}` lists them.",
                clean(command)
            ));
        }
        let failure = Failure::usage(format!(
            "no selected node has a command {command:?}; nothing was sent"
        ));
        let near = nearest(command, self.known.iter().map(String::as_str));
        if near.is_empty() {
            let all: Vec<String> = self.known.iter().map(|name| clean(name)).collect();
            return failure.next(format!("They have: {}.", all.join(", ")));
        }
        let near: Vec<String> = near
            .into_iter()
            .map(|name| format!("`{}`", clean(name)))
            .collect();
        failure.next(format!(
            "Did you mean {}? `aegisctl describe` lists all commands.",
            near.join(" or ")
        ))
    }

    /// What is to be said before a command goes to nodes of which some will
    /// refuse it.
    pub fn warning(&self, command: &str) -> Option<String> {
        let disabled = self.disabled.len();
        (disabled > 0).then(|| {
            let total = disabled + self.enabled.len() + self.silent.len();
            format!(
                "note: `{}` is disabled on {disabled} of {total} nodes, which will reject it",
                clean(command)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, handlers: &[(&str, bool)]) -> ShowNodeResponse {
        let handler = |(name, enabled): &(&str, bool)| HandlerSpec {
            name: (*name).into(),
            enabled: *enabled,
            ..Default::default()
        };
        let view = NodeView {
            info: Some(aegis_proto::cluster::v1::NodeInfo {
                node_id: id.into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        ShowNodeResponse {
            node: Some(view),
            plugins: Vec::new(),
            handlers: handlers.iter().map(handler).collect(),
        }
    }

    fn required(nodes: Vec<ShowNodeResponse>) -> Result<(), String> {
        let offers = Offers::sort(nodes, "hello");
        offers
            .require("hello")
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_command_goes_to_nodes_that_may_have_it() {
        assert_eq!(required(vec![node("a", &[("hello", true)])]), Ok(()));
        assert_eq!(
            required(vec![node("a", &[])]),
            Ok(()),
            "it never said what it has"
        );
        assert_eq!(
            required(vec![node("a", &[("hello", false), ("hello", true)])]),
            Ok(()),
            "one of several plugins serves it"
        );
        let some_disabled = vec![
            node("a", &[("hello", true)]),
            node("b", &[("hello", false)]),
        ];
        assert!(
            Offers::sort(some_disabled.clone(), "hello")
                .warning("hello")
                .is_some()
        );
        assert_eq!(required(some_disabled), Ok(()));
    }

    #[test]
    fn a_command_that_a_node_has_not_is_refused() {
        let refusals = [
            required(vec![
                node("aaaaaaaa-1", &[("hello", true)]),
                node("bbbbbbbb-1", &[("drain", true)]),
            ]),
            required(vec![node("aaaaaaaa-1", &[("helo", true)])]),
            required(vec![node(
                "aaaaaaaa-1",
                &[("drain", true), ("shutdown", true)],
            )]),
            required(vec![node("aaaaaaaa-1", &[("hello", false)])]),
        ];
        let refusals: Vec<String> = refusals.into_iter().map(Result::unwrap_err).collect();
        insta::assert_snapshot!("refusals", refusals.join("\n\n"));
    }
}
