//! Which nodes: a node id (or a prefix of one), `--all` or `--tag T`.

use std::fmt;

use aegis_proto::operator::v1::{Selector, selector};
use clap::Args;

use crate::failure::Failure;

/// The two selectors that are flags. The third, a node, is the first
/// positional argument where neither flag is given.
#[derive(Debug, Clone, Default, Args)]
pub struct SelectorFlags {
    /// Every node
    #[arg(long)]
    pub all: bool,
    /// Every node with this tag
    #[arg(long, value_name = "TAG", conflicts_with = "all")]
    pub tag: Option<String>,
}

impl SelectorFlags {
    /// The selection, with the arguments that are left: the first one is the
    /// node where no flag says otherwise.
    pub fn split(self, mut arguments: Vec<String>) -> Result<(Target, Vec<String>), Failure> {
        let target = match (self.all, self.tag) {
            (true, _) => Target::All,
            (false, Some(tag)) => Target::Tag(tag),
            (false, None) if arguments.is_empty() => return Err(nothing()),
            (false, None) => Target::Node(arguments.remove(0)),
        };
        Ok((target, arguments))
    }

    /// The selection, where there is no argument but the node.
    pub fn one(self, node: Option<String>) -> Result<Target, Failure> {
        self.optional(node)?.ok_or_else(nothing)
    }

    /// A selection that may be left out: nothing means no choice at all.
    pub fn optional(self, node: Option<String>) -> Result<Option<Target>, Failure> {
        match (self.all, self.tag, node) {
            (false, None, None) => Ok(None),
            (false, None, Some(node)) => Ok(Some(Target::Node(node))),
            (true, _, None) => Ok(Some(Target::All)),
            (false, Some(tag), None) => Ok(Some(Target::Tag(tag))),
            (_, _, Some(node)) => Err(Failure::usage(format!(
                "both a node ({node}) and --all or --tag are given"
            ))
            .next("Use one of them.")),
        }
    }
}

fn nothing() -> Failure {
    Failure::usage("no node is selected").next(
        "Name a node id (or a prefix of one), or use --all or --tag TAG; `aegisctl nodes` lists them.",
    )
}

/// One way of choosing nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Node(String),
    All,
    Tag(String),
}

impl Target {
    /// As the operator API takes it.
    pub fn to_proto(&self) -> Selector {
        Selector {
            selector: Some(match self {
                Self::Node(node) => selector::Selector::Node(node.clone()),
                Self::All => selector::Selector::All(true),
                Self::Tag(tag) => selector::Selector::Tag(tag.clone()),
            }),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => f.write_str(node),
            Self::All => f.write_str("--all"),
            Self::Tag(tag) => write!(f, "--tag {tag}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_first_argument_is_the_node_unless_a_flag_selects() {
        let (target, rest) = SelectorFlags::default()
            .split(strings(&["0192", "hello", "{}"]))
            .unwrap();
        assert_eq!(
            (target, rest),
            (Target::Node("0192".into()), strings(&["hello", "{}"]))
        );

        let flags = SelectorFlags {
            all: true,
            tag: None,
        };
        let (target, rest) = flags.split(strings(&["hello", "{}"])).unwrap();
        assert_eq!((target, rest), (Target::All, strings(&["hello", "{}"])));

        let flags = SelectorFlags {
            all: false,
            tag: Some("gpu".into()),
        };
        let (target, rest) = flags.split(strings(&["hello"])).unwrap();
        assert_eq!(
            (target, rest),
            (Target::Tag("gpu".into()), strings(&["hello"]))
        );
    }

    #[test]
    fn nothing_selected_is_refused_rather_than_everything() {
        assert!(SelectorFlags::default().split(Vec::new()).is_err());
        assert_eq!(SelectorFlags::default().optional(None).unwrap(), None);
        let flags = SelectorFlags {
            all: true,
            tag: None,
        };
        assert!(flags.clone().optional(Some("0192".into())).is_err());
        assert!(flags.one(Some("0192".into())).is_err());
        assert!(SelectorFlags::default().one(None).is_err());
    }
}
