//! Which plugin files commands are sent to.
//!
//! As soon as operators have allowed one digest of a plugin, nodes that have
//! that plugin with another one are sent no command of it; where the config
//! says `plugins.require_allowed`, that holds for plugins without any allowed
//! digest too. Built-in plugins have no digest of their own and are exempt.
//!
//! What is judged is what nodes say of themselves. A node that lies about its
//! plugins is not found out here: whoever controls a node controls what it runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aegis_proto::{
    NodeId, error_code,
    limits::MAX_NAME_BYTES,
    worker::v1::{CommandError, Hello, Plugin},
};
use arc_swap::ArcSwap;

use crate::{controller::Controller, directory::Node, store::AllowedPluginList};

/// The list as it is in the store, for whoever sends commands.
#[derive(Debug)]
pub(crate) struct AllowList {
    required: bool,
    listed: ArcSwap<Allowed>,
}

/// The list at one revision.
#[derive(Debug, Default)]
pub(crate) struct Allowed {
    revision: i64,
    required: bool,
    digests: BTreeMap<String, BTreeSet<[u8; 32]>>,
}

/// What the list says of a plugin of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// Its digest is listed.
    Allowed,
    /// It is not, and has to be.
    Refused,
    /// No digest of it is, and none has to be.
    Open,
    /// It is built in.
    Exempt,
}

/// Why a node is not sent a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotAllowed {
    message: String,
    help: String,
}

impl AllowList {
    /// As it was stored.
    pub(crate) fn new(required: bool, list: &AllowedPluginList) -> Self {
        Self {
            required,
            listed: ArcSwap::from_pointee(Allowed::of(required, list)),
        }
    }

    /// As it is now.
    pub(crate) fn load(&self) -> Arc<Allowed> {
        self.listed.load_full()
    }

    /// Replaces it, unless what is there is newer.
    pub(crate) fn replace(&self, list: &AllowedPluginList) {
        let newer = Arc::new(Allowed::of(self.required, list));
        self.listed.rcu(|current| {
            if current.revision < newer.revision {
                Arc::clone(&newer)
            } else {
                Arc::clone(current)
            }
        });
    }
}

impl Allowed {
    fn of(required: bool, list: &AllowedPluginList) -> Self {
        let mut digests: BTreeMap<String, BTreeSet<[u8; 32]>> = BTreeMap::new();
        for allowed in &list.plugins {
            let of_plugin = digests.entry(allowed.plugin.clone()).or_default();
            of_plugin.insert(allowed.sha256);
        }
        Self {
            revision: list.revision,
            required,
            digests,
        }
    }

    /// What it says of this plugin, as a node reports it.
    pub(crate) fn allowance(&self, plugin: &Plugin) -> Allowance {
        if plugin.placement == "built-in" {
            return Allowance::Exempt;
        }
        match self.digests.get(&plugin.name) {
            Some(digests) if digests.iter().any(|it| it[..] == plugin.sha256[..]) => {
                Allowance::Allowed
            }
            Some(_) => Allowance::Refused,
            None if self.required => Allowance::Refused,
            None => Allowance::Open,
        }
    }

    /// How many digests of this plugin are listed.
    pub(crate) fn digests(&self, plugin: &str) -> usize {
        self.digests.get(plugin).map_or(0, BTreeSet::len)
    }

    /// How many there are of all plugins.
    pub(crate) fn len(&self) -> usize {
        self.digests.values().map(BTreeSet::len).sum()
    }

    /// Whether a node that says this of itself may be sent `command`. One that
    /// does not know the command says so itself.
    ///
    /// # Errors
    ///
    /// The plugin that would run it is refused.
    pub(crate) fn check(
        &self,
        node: NodeId,
        facts: &Hello,
        command: &str,
    ) -> Result<(), NotAllowed> {
        if !self.required && self.digests.is_empty() {
            return Ok(());
        }
        let of = |enabled| {
            let mut specs = facts.handlers.iter();
            specs.find(|spec| spec.name == command && spec.enabled == enabled)
        };
        let Some(spec) = of(true).or_else(|| of(false)) else {
            return Ok(());
        };
        let named = || facts.plugins.iter().filter(|it| it.name == spec.plugin);
        let active = named().any(|plugin| plugin.state == "active");
        // A version that drains may be active beside the one that takes its place.
        let mut candidates = named().filter(|plugin| !active || plugin.state == "active");
        match candidates.find(|plugin| self.allowance(plugin) == Allowance::Refused) {
            Some(refused) => Err(NotAllowed::of(node, refused)),
            None if named().next().is_some() => Ok(()),
            None if self.required || self.digests.contains_key(&spec.plugin) => {
                Err(NotAllowed::unreported(node, &spec.plugin))
            }
            None => Ok(()),
        }
    }
}

impl Controller {
    /// Whether a node may be sent `command` now.
    ///
    /// # Errors
    ///
    /// Its plugin is not allowed.
    pub(crate) fn allowed(&self, node: &Node, command: &str) -> Result<(), NotAllowed> {
        match &node.record().facts {
            Some(facts) => self.allow_list.load().check(node.id, facts, command),
            // It never opened a session: it has drain, push-config and shutdown
            // of its own, and no plugins that this controller knows of.
            None => Ok(()),
        }
    }
}

impl Allowance {
    /// As operators read it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Open => "open",
            Self::Exempt => "exempt",
        }
    }
}

impl NotAllowed {
    fn of(node: NodeId, plugin: &Plugin) -> Self {
        let name = shown(&plugin.name);
        let version = shown(&plugin.version);
        let digest: String = plugin.sha256.iter().take(32).map(hex).collect();
        let with = if digest.is_empty() {
            "without telling its SHA-256".to_owned()
        } else {
            format!("with the SHA-256 {digest}, which is not allowed")
        };
        let help = if is_plugin_name(&plugin.name) && plugin.sha256.len() == 32 {
            format!(
                "Put a file of it that is allowed on the node, or review this one and allow it: \
                 aegisctl plugin allow {name} {digest}"
            )
        } else {
            SHOW.to_owned()
        };
        Self {
            message: format!("node {node} has the plugin {name} {version} {with}"),
            help,
        }
    }

    fn unreported(node: NodeId, plugin: &str) -> Self {
        Self {
            message: format!(
                "node {node} does not report the plugin {} that has this command, so its SHA-256 \
                 is not known",
                shown(plugin)
            ),
            help: SHOW.to_owned(),
        }
    }

    /// For a caller.
    pub(crate) fn status(&self) -> tonic::Status {
        tonic::Status::failed_precondition(format!("{}. {}", self.message, self.help))
    }

    /// For the command, of which `what` is said.
    pub(crate) fn error(&self, what: &str) -> CommandError {
        CommandError {
            code: error_code::PLUGIN_NOT_ALLOWED.into(),
            message: format!("{what}: {}", self.message),
            help: self.help.clone(),
            retryable: true,
            retry_after: None,
        }
    }
}

const SHOW: &str = "See aegisctl node show for its plugins.";

fn hex(byte: &u8) -> String {
    format!("{byte:02x}")
}

/// A node's own words, for a message.
fn shown(text: &str) -> String {
    text.chars().take(MAX_NAME_BYTES).collect()
}

/// Whether a plugin can be called so: as plugins declare it.
pub(crate) fn is_plugin_name(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_')
        })
}

#[cfg(test)]
mod tests {
    use aegis_proto::worker::v1::HandlerSpec;
    use uuid::Uuid;

    use super::*;
    use crate::store::AllowedPlugin;

    const GOOD: [u8; 32] = [1; 32];
    const OTHER: [u8; 32] = [2; 32];

    fn list(digests: &[(&str, [u8; 32])]) -> AllowedPluginList {
        AllowedPluginList {
            revision: 1,
            plugins: digests
                .iter()
                .map(|(plugin, sha256)| AllowedPlugin {
                    plugin: (*plugin).to_owned(),
                    sha256: *sha256,
                    note: String::new(),
                    operator: "operator".into(),
                    allowed_at: 0,
                })
                .collect(),
        }
    }

    fn plugin(name: &str, placement: &str, state: &str, sha256: &[u8]) -> Plugin {
        Plugin {
            name: name.into(),
            version: "0.1.0".into(),
            placement: placement.into(),
            state: state.into(),
            sha256: sha256.to_vec(),
            ..Plugin::default()
        }
    }

    /// A node where `greet` is of the plugin `hello`.
    fn facts(plugins: Vec<Plugin>) -> Hello {
        let spec = HandlerSpec {
            name: "greet".into(),
            plugin: "hello".into(),
            enabled: true,
            ..HandlerSpec::default()
        };
        Hello {
            plugins,
            handlers: vec![spec],
            ..Hello::default()
        }
    }

    fn check(required: bool, listed: &[(&str, [u8; 32])], facts: &Hello) -> Result<(), NotAllowed> {
        let node = NodeId::from_uuid(Uuid::now_v7());
        Allowed::of(required, &list(listed)).check(node, facts, "greet")
    }

    #[test]
    fn an_empty_list_lets_everything_pass_unless_it_is_required() {
        let facts = facts(vec![plugin("hello", "in-process", "active", &GOOD)]);
        check(false, &[], &facts).expect("open");
        check(true, &[], &facts).expect_err("not listed");
        check(true, &[("hello", GOOD)], &facts).expect("listed");
    }

    #[test]
    fn one_listed_digest_closes_its_plugin_and_no_other() {
        let facts = facts(vec![plugin("hello", "process", "active", &OTHER)]);
        check(false, &[("backup", GOOD)], &facts).expect("another plugin");
        check(false, &[("hello", GOOD), ("hello", OTHER)], &facts).expect("listed");
        let refused = check(false, &[("hello", GOOD)], &facts).expect_err("another digest");
        let digest = "02".repeat(32);
        assert!(refused.message.contains(&digest), "{refused:?}");
        let command = format!("aegisctl plugin allow hello {digest}");
        assert!(refused.help.ends_with(&command), "{refused:?}");
    }

    #[test]
    fn what_runs_the_command_is_judged_and_not_a_file_that_is_out() {
        let out = plugin("hello", "in-process", "refused", &OTHER);
        let runs = plugin("hello", "in-process", "active", &GOOD);
        let both = facts(vec![out.clone(), runs.clone()]);
        check(false, &[("hello", GOOD)], &both).expect("the active one is listed");
        check(false, &[("hello", OTHER)], &both).expect_err("the active one is not");
        check(false, &[("hello", GOOD)], &facts(vec![out])).expect_err("nothing else is there");
        let unreported = facts(Vec::new());
        check(false, &[("hello", GOOD)], &unreported).expect_err("nothing is known of it");
        check(false, &[("backup", GOOD)], &unreported).expect("none of its digests is listed");
    }

    #[test]
    fn a_built_in_plugin_is_exempt_and_a_missing_digest_is_none() {
        let built_in = facts(vec![plugin("hello", "built-in", "active", &[])]);
        check(true, &[("hello", GOOD)], &built_in).expect("exempt");
        let silent = facts(vec![plugin("hello", "in-process", "active", &[])]);
        check(false, &[("hello", GOOD)], &silent).expect_err("no digest");
    }

    #[test]
    fn a_plugin_name_that_is_none_is_in_no_command_to_copy() {
        let name = "x; reboot";
        let mut facts = facts(vec![plugin(name, "in-process", "active", &GOOD)]);
        facts.handlers[0].plugin = name.into();
        let refused = check(true, &[], &facts).expect_err("not listed");
        assert_eq!(refused.help, SHOW);
    }

    #[test]
    fn an_older_list_never_replaces_a_newer_one() {
        let mut newer = list(&[("hello", GOOD)]);
        newer.revision = 2;
        let kept = AllowList::new(false, &list(&[]));
        kept.replace(&newer);
        kept.replace(&list(&[]));
        assert_eq!(kept.load().digests("hello"), 1);
        assert_eq!(kept.load().len(), 1);
    }
}
