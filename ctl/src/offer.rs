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
            match node.handlers.into_iter().find(|it| it.name == command) {
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

    /// Refuses a command that none of the nodes would run, as far as they say.
    pub fn require(&self, command: &str) -> Result<(), Failure> {
        if !self.enabled.is_empty() || !self.silent.is_empty() {
            return Ok(());
        }
        let Some(offer) = self.disabled.first() else {
            return Err(self.unknown(command));
        };
        let reason = match offer.spec.disabled_reason.as_str() {
            "" => "its node's config disables it".to_owned(),
            reason => clean(reason),
        };
        Err(Failure::usage(format!(
            "`{command}` is disabled on {}: {reason}; nothing was sent",
            short(&offer.node_id)
        ))
        .next("Enable it in the node's own config under [handlers], or with `aegis-worker --enable`; --unchecked sends it all the same."))
    }

    /// The refusal of a command that no node has.
    pub fn unknown(&self, command: &str) -> Failure {
        let failure = Failure::usage(format!(
            "no selected node has a command {command:?}; nothing was sent"
        ));
        let near = nearest(command, self.known.iter().map(String::as_str));
        if near.is_empty() {
            let all: Vec<String> = self.known.iter().map(|name| clean(name)).collect();
            return failure.next(format!(
                "They have: {}.\n--unchecked sends it all the same.",
                all.join(", ")
            ));
        }
        let near: Vec<String> = near
            .into_iter()
            .map(|name| format!("`{}`", clean(name)))
            .collect();
        failure.next(format!(
            "Did you mean {}? `aegisctl describe` lists all commands; --unchecked sends it all the same.",
            near.join(" or ")
        ))
    }

    /// What is to be said before a command goes to nodes of which some will
    /// refuse it.
    pub fn warning(&self, command: &str) -> Option<String> {
        let refusing = self.absent.len() + self.disabled.len();
        (refusing > 0).then(|| {
            let total = refusing + self.enabled.len() + self.silent.len();
            format!("note: {refusing} of {total} nodes do not run `{command}` and will reject it")
        })
    }
}
