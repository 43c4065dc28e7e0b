//! The key `plugins` of a pushed config, and who takes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde_json::{Map, Value};

use super::document::Stored;
use crate::{command::HandlerError, config::model::PluginsConfig};

/// The loaded plugins, as far as their config goes.
pub trait PluginConfigs: Send + Sync + 'static {
    /// Whether a plugin of this name runs.
    fn is_loaded(&self, plugin: &str) -> bool;
    /// Gives a plugin a new config. On an error the old one stays in force.
    /// May block.
    fn reconfigure(&self, plugin: &str, config: &Value) -> Result<(), HandlerError>;
    /// How a plugin fares. One that is not there fares well.
    fn condition(&self, plugin: &str) -> Condition;
}

/// How a plugin fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// How often it panicked since the worker began.
    pub panics: u64,
    /// Why it does not run, if it does not.
    pub failure: Option<String>,
}

impl fmt::Debug for dyn PluginConfigs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PluginConfigs")
    }
}

/// The parts of a document that go to plugins, by plugin.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sections(BTreeMap<String, Map<String, Value>>);

/// Why not all plugins took their parts.
pub(super) struct Refused {
    pub(super) error: HandlerError,
    /// Some had taken theirs, and got back what they had.
    pub(super) restored: bool,
}

/// Plugins that took a new config, and the one that they had before.
pub(super) struct Changed<'a> {
    plugins: &'a dyn PluginConfigs,
    before: Vec<(String, Value)>,
}

impl Sections {
    /// Refuses a key `plugins` that is not an object of objects.
    pub(super) fn read(document: &Map<String, Value>) -> Result<Self, HandlerError> {
        let invalid = |what: &str| {
            HandlerError::new(
                "invalid-config",
                format!("the key `{what}` must be a JSON object"),
            )
        };
        let Some(plugins) = document.get("plugins") else {
            return Ok(Self::default());
        };
        let plugins = plugins.as_object().ok_or_else(|| invalid("plugins"))?;
        let sections = plugins.iter().map(|(name, section)| {
            let section = section
                .as_object()
                .ok_or_else(|| invalid(&format!("plugins.{name}")))?;
            Ok((name.clone(), section.clone()))
        });
        sections.collect::<Result<_, _>>().map(Self)
    }

    /// The same of a document that was good before.
    pub(super) fn of(document: &Map<String, Value>) -> Self {
        Self::read(document).unwrap_or_default()
    }

    /// The same; without a document there are none.
    pub(super) fn of_stored(stored: Option<&Stored>) -> Self {
        stored
            .map(|stored| Self::of(&stored.document))
            .unwrap_or_default()
    }

    /// Refuses parts of plugins that are not loaded.
    pub(super) fn check(&self, plugins: &dyn PluginConfigs) -> Result<(), HandlerError> {
        match self.0.keys().find(|name| !plugins.is_loaded(name)) {
            Some(name) => Err(HandlerError::new(
                "invalid-config",
                format!("the key `plugins.{name}` is for a plugin that is not loaded here"),
            )
            .help("`aegisctl node show` lists the plugins of a node")),
            None => Ok(()),
        }
    }

    /// Refuses keys that the node's own config sets to something else: they
    /// would be without effect.
    pub(super) fn permitted_by(&self, local: &PluginsConfig) -> Result<(), HandlerError> {
        for (name, section) in &self.0 {
            let Some(own) = local.by_name.get(name) else {
                continue;
            };
            let overruled = |(key, value): &(&String, &Value)| {
                own.config.get(*key).is_some_and(|own| own != *value)
            };
            if let Some((key, _)) = section.iter().find(overruled) {
                return Err(HandlerError::new(
                    "local-config-only",
                    format!(
                        "the key `plugins.{name}.{key}` is set in the node's own config, and \
                         what a node sets itself no pushed config can change"
                    ),
                )
                .help(format!(
                    "leave it out of what is pushed, or out of [plugins.{name}.config] on the node"
                )));
            }
        }
        Ok(())
    }

    /// Gives every plugin its part.
    pub(super) fn reconfigure_all(
        &self,
        plugins: &dyn PluginConfigs,
        local: &PluginsConfig,
    ) -> Result<(), HandlerError> {
        self.check(plugins)?;
        match self.replace(&Self::default(), plugins, local) {
            Ok(_) => Ok(()),
            Err(refused) => Err(refused.error),
        }
    }

    /// Plugins that have another part here than there.
    pub(super) fn other_than(&self, there: &Self) -> BTreeSet<String> {
        let names = self.0.keys().chain(there.0.keys());
        names
            .filter(|name| self.0.get(*name) != there.0.get(*name))
            .cloned()
            .collect()
    }

    /// Gives every plugin whose part is not what it was its new one. If one
    /// refuses, those before it get back what they had.
    pub(super) fn replace<'a>(
        &self,
        old: &Self,
        plugins: &'a dyn PluginConfigs,
        local: &PluginsConfig,
    ) -> Result<Changed<'a>, Refused> {
        let mut changed = Changed {
            plugins,
            before: Vec::new(),
        };
        for name in self.other_than(old) {
            // A plugin that is gone has nothing to go back to.
            if !self.0.contains_key(&name) && !plugins.is_loaded(&name) {
                continue;
            }
            let new = effective(&name, self.0.get(&name), local);
            if let Err(error) = plugins.reconfigure(&name, &new) {
                let restored = !changed.before.is_empty();
                changed.undo();
                let message = format!("the plugin {name:?} refused its config: {}", error.message);
                let error = HandlerError { message, ..error };
                return Err(Refused { error, restored });
            }
            let before = effective(&name, old.0.get(&name), local);
            changed.before.push((name, before));
        }
        Ok(changed)
    }

    /// Gives every plugin whose part is not what it is in `new` the one here,
    /// as far as they take it.
    pub(super) fn restore(&self, new: &Self, plugins: &dyn PluginConfigs, local: &PluginsConfig) {
        let before = self
            .other_than(new)
            .into_iter()
            .map(|name| {
                let before = effective(&name, self.0.get(&name), local);
                (name, before)
            })
            .collect();
        Changed { plugins, before }.undo();
    }
}

impl Changed<'_> {
    /// Gives back what was there before, last change first.
    pub(super) fn undo(self) {
        for (name, before) in self.before.iter().rev() {
            if let Err(error) = self.plugins.reconfigure(name, before) {
                tracing::error!(
                    plugin = name, %error,
                    "a plugin does not take its last good config back; restart the worker"
                );
            }
        }
    }
}

/// What a plugin is given: the pushed part under the node's own. A key that the
/// local file sets is the local file's: what it lists, as the programs that may
/// be run, no controller can add to.
fn effective(plugin: &str, pushed: Option<&Map<String, Value>>, local: &PluginsConfig) -> Value {
    let mut config = pushed.cloned().unwrap_or_default();
    if let Some(own) = local.by_name.get(plugin) {
        for (key, value) in &own.config {
            if config
                .insert(key.clone(), value.clone())
                .is_some_and(|pushed| pushed != *value)
            {
                tracing::warn!(
                    plugin,
                    key,
                    "the pushed config sets a key that the node's own config sets: the own one holds"
                );
            }
        }
    }
    Value::Object(config)
}

impl<T: PluginConfigs + ?Sized> PluginConfigs for Arc<T> {
    fn is_loaded(&self, plugin: &str) -> bool {
        (**self).is_loaded(plugin)
    }

    fn reconfigure(&self, plugin: &str, config: &Value) -> Result<(), HandlerError> {
        (**self).reconfigure(plugin, config)
    }

    fn condition(&self, plugin: &str) -> Condition {
        (**self).condition(plugin)
    }
}
