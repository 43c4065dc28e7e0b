//! The selected nodes: found by id, prefix, tag or all, with an error that
//! helps where there are none.

use aegis_proto::operator::v1::{ListNodesRequest, NodeView, ShowNodeRequest, ShowNodeResponse};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tonic::Code;

use crate::{
    connection::{CallError, Connection},
    failure::{Exit, Failure},
    nearest::distance,
    render::clean,
    selector::Target,
};

/// Details are asked of this many nodes at once.
const CONCURRENT: usize = 8;

/// The nodes that a target selects, one at least. A node given by a prefix
/// comes back with its whole id in the target.
pub async fn resolve(
    connection: &Connection,
    target: Target,
) -> Result<(Target, Vec<NodeView>), Failure> {
    let wanted = match &target {
        Target::Node(wanted) => wanted.clone(),
        Target::All | Target::Tag(_) => {
            let mut nodes = list(connection, Some(&target)).await?;
            if nodes.is_empty() {
                return Err(nobody(&target));
            }
            // The controller leaves them out of what it does with several nodes.
            nodes.retain(|node| !node.banned && !node.deregistered);
            if nodes.is_empty() {
                return Err(Failure::usage(format!(
                    "every node that {target} selects is banned or deregistered"
                ))
                .next("`aegisctl nodes` lists them."));
            }
            return Ok((target, nodes));
        }
    };
    let found = match list(connection, Some(&target)).await {
        Ok(nodes) if nodes.len() == 1 => nodes.into_iter().next(),
        Ok(_) => None,
        // How it says "none" or "several" is its own affair: we look ourselves.
        Err(error)
            if matches!(
                error.code(),
                Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition
            ) =>
        {
            None
        }
        Err(error) => return Err(error.into()),
    };
    let node = match found {
        Some(node) => node,
        None => pick(&wanted, list(connection, None).await?)?,
    };
    Ok((Target::Node(id(&node).to_owned()), vec![node]))
}

/// The nodes of a target, or all of them.
pub async fn list(
    connection: &Connection,
    target: Option<&Target>,
) -> Result<Vec<NodeView>, CallError> {
    let request = ListNodesRequest {
        selector: target.map(Target::to_proto),
    };
    let response = connection
        .call(
            "list the nodes",
            request,
            |mut client, request| async move { client.list_nodes(request).await },
        )
        .await?;
    Ok(response.nodes)
}

/// Everything about one node.
pub async fn show(connection: &Connection, node: String) -> Result<ShowNodeResponse, CallError> {
    connection
        .call(
            "show the node",
            ShowNodeRequest { node },
            |mut client, request| async move { client.show_node(request).await },
        )
        .await
}

/// Everything about each of the nodes, in their order.
pub async fn show_all(
    connection: &Connection,
    nodes: &[NodeView],
) -> Result<Vec<ShowNodeResponse>, CallError> {
    let ids: Vec<String> = nodes.iter().map(|node| id(node).to_owned()).collect();
    stream::iter(ids.into_iter().map(|id| show(connection, id)))
        .buffered(CONCURRENT)
        .try_collect()
        .await
}

/// The node's id.
pub fn id(node: &NodeView) -> &str {
    node.info.as_ref().map_or("", |info| info.node_id.as_str())
}

/// The one node whose id begins with `wanted`.
fn pick(wanted: &str, nodes: Vec<NodeView>) -> Result<NodeView, Failure> {
    let prefix = wanted.to_ascii_lowercase();
    let (mut matching, others): (Vec<_>, Vec<_>) = nodes
        .into_iter()
        .partition(|node| !prefix.is_empty() && id(node).starts_with(&prefix));
    match matching.len() {
        1 => Ok(matching.remove(0)),
        0 => Err(no_such_node(wanted, &others)),
        count => Err(
            Failure::usage(format!("{wanted:?} is the beginning of {count} node ids")).next(
                format!(
                    "Write more of the one you mean:\n{}",
                    candidates(matching.iter())
                ),
            ),
        ),
    }
}

fn no_such_node(wanted: &str, nodes: &[NodeView]) -> Failure {
    let failure = Failure::usage(format!("no node has an id that begins with {wanted:?}"));
    if nodes.is_empty() {
        return failure
            .next("No node is enrolled at all: `aegisctl enrol` makes the token for one.");
    }
    if let Some(node) = nodes
        .iter()
        .find(|node| node.hostname.eq_ignore_ascii_case(wanted))
    {
        return failure.next(format!("That is a host name; its node id is {}.", id(node)));
    }
    let tagged = |node: &NodeView| {
        let capabilities = node
            .info
            .as_ref()
            .and_then(|info| info.capabilities.as_ref());
        capabilities.is_some_and(|it| it.tags.iter().any(|tag| tag == wanted))
    };
    if nodes.iter().any(tagged) {
        return failure.next(format!(
            "That is a tag: select its nodes with --tag {wanted}."
        ));
    }
    let mut close: Vec<_> = nodes
        .iter()
        .map(|node| (apart(wanted, id(node)), node))
        .collect();
    close.sort_by_key(|(apart, _)| *apart);
    let allowed = (wanted.chars().count() / 2).max(1);
    close.retain(|(apart, _)| *apart <= allowed && !wanted.is_empty());
    if close.is_empty() {
        return failure.next("The selector comes first: a node id (or its beginning), --all or --tag TAG. `aegisctl nodes` lists the nodes.");
    }
    failure.next(format!(
        "Did you mean:\n{}",
        candidates(close.iter().take(3).map(|(_, node)| *node))
    ))
}

/// How far `wanted` is from the beginning of an id.
fn apart(wanted: &str, id: &str) -> usize {
    let length = wanted.chars().count();
    let beginning: String = id.chars().take(length).collect();
    distance(&wanted.to_ascii_lowercase(), &beginning)
}

fn candidates<'a>(nodes: impl Iterator<Item = &'a NodeView>) -> String {
    let lines: Vec<String> = nodes
        .map(|node| {
            format!("  {}  {}", id(node), clean(&node.hostname))
                .trim_end()
                .to_owned()
        })
        .collect();
    lines.join("\n")
}

fn nobody(target: &Target) -> Failure {
    let next = match target {
        Target::Tag(_) => "`aegisctl nodes` lists the nodes with their tags.",
        _ => "No node is enrolled: `aegisctl enrol` makes the token for one.",
    };
    Failure::new(Exit::Usage, format!("{target} selects no node")).next(next)
}

#[cfg(test)]
mod tests {
    use aegis_proto::cluster::v1::{NodeCapabilities, NodeInfo};

    use super::*;

    fn node(id: &str, hostname: &str, tag: &str) -> NodeView {
        NodeView {
            info: Some(NodeInfo {
                node_id: id.into(),
                capabilities: Some(NodeCapabilities {
                    tags: vec![tag.into()],
                    ..Default::default()
                }),
                ..Default::default()
            }),
            hostname: hostname.into(),
            ..Default::default()
        }
    }

    fn nodes() -> Vec<NodeView> {
        vec![
            node("0192f0c1-7a3e-4b7e-8a51-3f1f6f0e2d11", "alpha", "gpu"),
            node("0192f0c1-9999-4b7e-8a51-3f1f6f0e2d11", "beta", "gpu"),
            node("7d3c0000-0000-4000-8000-000000000001", "gamma", "edge"),
        ]
    }

    fn refusal(wanted: &str) -> String {
        pick(wanted, nodes()).unwrap_err().to_string()
    }

    #[test]
    fn a_unique_prefix_is_enough() {
        assert_eq!(pick("7D3C", nodes()).unwrap().hostname, "gamma");
        assert_eq!(pick("0192f0c1-9", nodes()).unwrap().hostname, "beta");
    }

    #[test]
    fn what_is_wrong_with_a_selector_is_said_with_the_way_out() {
        insta::assert_snapshot!(
            "selectors",
            ["0192", "7d3d", "gamma", "gpu", "hello", ""]
                .map(refusal)
                .join("\n\n")
        );
        insta::assert_snapshot!(
            "no_nodes",
            pick("0192", Vec::new()).unwrap_err().to_string()
        );
    }
}
