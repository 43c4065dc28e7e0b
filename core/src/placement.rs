//! Which placement a plugin gets, and by which rule.

use std::fmt;

use aegis_plugin_api::process::{Confinement, Resource, User};

use crate::{
    config::model::{LimitsConfig, PluginsConfig, ProcessConfig},
    loader::{Check, Refusal},
    plugin::Placement,
    trust::TrustedBy,
};

/// Where a file that nobody vouched for runs if the config does not say it.
const UNVOUCHED: Placement = Placement::Process;

/// A placement, and what decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Where it runs.
    pub placement: Placement,
    /// Why there.
    pub rule: PlacementRule,
}

/// What decides a placement; the first that says something does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlacementRule {
    /// It is part of the program.
    LinkedIn,
    /// `[plugins.NAME] placement`, of this plugin.
    Plugin(String),
    /// `[plugins] default_placement`
    Default,
    /// Nothing in the config, and somebody vouched for the very file.
    Vouched(TrustedBy),
    /// Nothing in the config, and anyone who may write the directory may have
    /// put the file there.
    Unvouched,
}

/// Where a plugin's file runs that was let in so.
pub fn decide(plugins: &PluginsConfig, id: &str, by: TrustedBy) -> Placed {
    let own = plugins.by_name.get(id).and_then(|config| config.placement);
    let (placement, rule) = match (by, own, plugins.default_placement) {
        // A file that is wanted built in is refused as a conflict, wherever it
        // would run.
        (_, Some(own), _) if own != Placement::BuiltIn => {
            (own, PlacementRule::Plugin(id.to_owned()))
        }
        (_, _, Some(default)) => (default, PlacementRule::Default),
        (TrustedBy::Pinned | TrustedBy::Signed, _, None) => {
            (Placement::InProcess, PlacementRule::Vouched(by))
        }
        (TrustedBy::Owner, _, None) => (UNVOUCHED, PlacementRule::Unvouched),
    };
    Placed { placement, rule }
}

/// Whether what the config says of a plugin's process can hold for it.
///
/// # Errors
///
/// [`Check::Placement`]: the plugin has no process of its own.
pub(crate) fn check(
    plugins: &PluginsConfig,
    id: &str,
    placement: Placement,
) -> Result<(), Refusal> {
    let config = plugins.by_name.get(id).map(|config| &config.process);
    if placement == Placement::Process || config.is_none_or(|config| config.is_empty()) {
        return Ok(());
    }
    Err(Refusal::new(
        Check::Placement,
        format!(
            "[plugins.{id}] has limits, paths or a user, which hold for a plugin in a process of \
             its own, and its placement is {:?}",
            placement.as_str()
        ),
        format!("set placement = \"process\" under [plugins.{id}], or leave them out"),
    ))
}

impl ProcessConfig {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How the process of the plugin `id` is started. Asks the system's user
    /// database, which may block.
    ///
    /// # Errors
    ///
    /// [`Check::Placement`]: its user is not there, or cannot be assumed.
    pub fn confinement(&self, id: &str) -> Result<Confinement, Refusal> {
        let mut confinement = Confinement::new()
            .umask(0o077)
            .no_new_privileges()
            .no_capabilities();
        for (resource, value) in self.limits.each() {
            confinement = confinement.limit(resource, value);
        }
        if let Some(name) = &self.user {
            let refused = |reason: String, remedy: &str| {
                Refusal::new(
                    Check::Placement,
                    format!("[plugins.{id}] user = {name:?}, {reason}"),
                    remedy,
                )
            };
            let user = User::named(name)
                .map_err(|error| {
                    refused(
                        format!("and the system's users cannot be read: {error}"),
                        "see that /etc/nsswitch.conf and what it names can be read",
                    )
                })?
                .ok_or_else(|| {
                    let remedy = "make that user, or correct the name";
                    refused("whom this node does not know".to_owned(), remedy)
                })?;
            if !User::can_be_assumed() {
                return Err(refused(
                    "and only a worker that runs as root can assume another user".to_owned(),
                    "run the worker as root, or leave the user out",
                ));
            }
            confinement = confinement.user(user);
        }
        Ok(confinement)
    }
}

impl LimitsConfig {
    /// Those that are set.
    pub fn each(&self) -> impl Iterator<Item = (Resource, u64)> + use<> {
        [
            (Resource::Memory, self.memory),
            (Resource::CpuTime, self.cpu_time.map(|time| time.as_secs())),
            (Resource::Processes, self.processes.map(u64::from)),
            (Resource::OpenFiles, self.open_files.map(u64::from)),
            (Resource::FileSize, self.file_size),
        ]
        .into_iter()
        .filter_map(|(resource, value)| Some((resource, value?)))
    }
}

impl fmt::Display for PlacementRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkedIn => f.write_str("it is linked into this program"),
            Self::Plugin(id) => write!(f, "[plugins.{id}] placement"),
            Self::Default => f.write_str("[plugins] default_placement"),
            Self::Vouched(by) => {
                write!(f, "no key says it, and the file is {}", by.as_str())
            }
            Self::Unvouched => {
                f.write_str("no key says it, and the file is neither pinned nor signed")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::model::PluginConfig;

    fn plugins(default: Option<Placement>, own: Option<Placement>) -> PluginsConfig {
        let mut plugins = PluginsConfig {
            default_placement: default,
            ..PluginsConfig::default()
        };
        let config = PluginConfig {
            placement: own,
            ..PluginConfig::default()
        };
        plugins.by_name.insert("hello".to_owned(), config);
        plugins
    }

    #[test]
    fn the_plugins_own_key_goes_before_the_default_and_that_before_who_vouched() {
        use Placement::{BuiltIn, InProcess, Process};

        let own = || PlacementRule::Plugin("hello".to_owned());
        let vouched = || PlacementRule::Vouched(TrustedBy::Pinned);
        for (default, key, admission, placement, rule) in [
            (
                None,
                None,
                TrustedBy::Owner,
                UNVOUCHED,
                PlacementRule::Unvouched,
            ),
            (None, None, TrustedBy::Pinned, InProcess, vouched()),
            (
                Some(Process),
                None,
                TrustedBy::Pinned,
                Process,
                PlacementRule::Default,
            ),
            (
                Some(InProcess),
                None,
                TrustedBy::Owner,
                InProcess,
                PlacementRule::Default,
            ),
            (
                Some(InProcess),
                Some(Process),
                TrustedBy::Pinned,
                Process,
                own(),
            ),
            (
                Some(Process),
                Some(InProcess),
                TrustedBy::Owner,
                InProcess,
                own(),
            ),
            (
                Some(Process),
                Some(BuiltIn),
                TrustedBy::Owner,
                Process,
                PlacementRule::Default,
            ),
        ] {
            let placed = decide(&plugins(default, key), "hello", admission);
            assert_eq!(
                placed,
                Placed { placement, rule },
                "{default:?} {key:?} {admission:?}"
            );
        }
    }

    #[test]
    fn limits_and_a_user_hold_in_a_process_alone() {
        let mut plugins = plugins(None, None);
        let set = |plugins: &mut PluginsConfig, process| {
            plugins.by_name.get_mut("hello").expect("there").process = process;
        };
        check(&plugins, "hello", Placement::InProcess).expect("nothing is said");
        check(&plugins, "other", Placement::BuiltIn).expect("nothing is said");
        let limits = LimitsConfig {
            cpu_time: Some(Duration::from_secs(5)),
            ..LimitsConfig::default()
        };
        set(
            &mut plugins,
            ProcessConfig {
                limits,
                ..ProcessConfig::default()
            },
        );
        check(&plugins, "hello", Placement::Process).expect("of its own");
        for placement in [Placement::InProcess, Placement::BuiltIn] {
            let refusal = check(&plugins, "hello", placement).expect_err("it is shared");
            assert_eq!(refusal.check, Check::Placement);
            assert!(refusal.reason.contains(placement.as_str()), "{refusal}");
        }
    }

    #[test]
    fn a_user_that_is_not_there_is_named() {
        let config = ProcessConfig {
            user: Some("no:such:user".to_owned()),
            ..ProcessConfig::default()
        };
        let refusal = config.confinement("hello").expect_err("nobody");
        assert!(refusal.reason.contains("no:such:user"), "{refusal}");
        ProcessConfig::default()
            .confinement("hello")
            .expect("the worker's own");
    }
}
