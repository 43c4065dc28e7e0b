//! The config that a controller pushed: validated, stored beside the last good
//! one, applied live, acknowledged, or rejected and remembered.
//!
//! The document is a JSON object. `worker` is the worker's own and strict.
//! `plugins.NAME` goes to that plugin, which must be loaded; a key that the
//! node's own file sets under `[plugins.NAME.config]` keeps the file's value.
//! All other keys are kept and handed to [subscribers](PushedConfig::subscribe).
//!
//! At any moment either the one config is wholly in force or the other is; what
//! fails on the way is undone. A config that has come into force is on trial
//! until the node was well under it for a while, and only then is it the last
//! good one. If the node is not, or if the worker's process dies, the last good
//! one comes back, and the version is remembered as rejected.

mod acknowledge;
mod document;
mod files;
mod memory;
mod plugins;
mod probation;
mod settings;
mod steps;
mod trial;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak, atomic::AtomicBool},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use self::{
    document::{Digest, Stored},
    files::Files,
    memory::{Aftermath, Memory, Reason, Rejection},
    plugins::Sections,
    trial::{HEALTH, Trial},
};
use crate::{
    command::HandlerError, config::model::PluginsConfig, log_tail::LogTail, unpoisoned::lock,
};

pub use acknowledge::SyncRequest;
pub use plugins::{Condition, PluginConfigs};
pub(crate) use probation::Signs;
pub use settings::{HandlerSettings, WorkerSettings};

/// How long a controller may take to answer an acknowledgement.
const SYNC_TIMEOUT: Duration = Duration::from_secs(15);

/// What a [`PushedConfig`] is made from.
#[derive(Debug)]
pub struct PushedConfigOptions {
    /// The worker's.
    pub state_dir: PathBuf,
    /// `[plugins]` of the node's own file.
    pub local: PluginsConfig,
    /// How long the node has to be well under a config before that is good.
    pub probation: Duration,
    /// For whoever hears of a failure.
    pub log_tail: LogTail,
}

/// The pushed config of a node.
#[derive(Debug)]
pub struct PushedConfig {
    files: Files,
    /// Held through a whole step, so that steps never mix.
    step: Mutex<Steps>,
    /// What is in force and what was refused. Held for moments only.
    memory: Mutex<Memory>,
    state: watch::Sender<ConfigState>,
    settings: watch::Sender<WorkerSettings>,
    subscribers: Mutex<HashMap<String, watch::Sender<Option<Value>>>>,
    sync: mpsc::Sender<SyncRequest>,
    sync_timeout: Duration,
    probation: Duration,
    log_tail: LogTail,
    on_trial: AtomicBool,
}

/// What the controller is told of the node's config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigState {
    /// The version in force; empty if none is, or not all of it.
    pub active_version: String,
    /// Of its document, in hexadecimal digits; empty where the version is.
    pub active_sha256: String,
    /// The version that was tried last.
    pub attempted_version: String,
    /// Of its document; empty where that could not be read.
    pub attempted_sha256: String,
    /// Whether it is in force.
    pub attempt_succeeded: bool,
    /// `decode`, `validate`, `store`, `apply`, `acknowledge` or `health`; empty if
    /// none failed.
    pub failed_step: String,
    /// Why it failed.
    pub reason: String,
    /// When it was tried.
    pub attempted_at: Option<DateTime<Utc>>,
    /// The version that was restored where a failed one had come into force, in
    /// whole or in part; empty where nothing had to be restored.
    pub rolled_back_to: String,
    /// The last lines of the log before the failure, oldest first.
    pub log_tail: Vec<String>,
}

/// The version and the worker's own settings of the pushed config in force, of
/// a worker that runs or has ended in an orderly way. `None`: there is none.
///
/// # Errors
///
/// Why it cannot be read.
pub fn peek(state_dir: &Path) -> Result<Option<(String, WorkerSettings)>, String> {
    let Some(stored) = Files::peek(state_dir)? else {
        return Ok(None);
    };
    let settings = document::settings(&stored.document).map_err(|error| error.to_string())?;
    Ok(Some((stored.version, settings)))
}

impl ConfigState {
    /// Whether the node needs no such offer: this config is in force, or it was
    /// rejected and has not changed since.
    pub(crate) fn has_seen(&self, version: &str, payload: &[u8]) -> bool {
        let Some(sha256) = document::digest_of(payload) else {
            return false;
        };
        let is = |(known, digest): (&str, &str)| known == version && digest == sha256;
        is((&self.active_version, &self.active_sha256))
            || (!self.attempt_succeeded && is((&self.attempted_version, &self.attempted_sha256)))
    }
}

/// The directory of the pushed config can't be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot use {} for the pushed config: check that it is a directory that this user can write",
    path.display()
)]
pub struct PushedConfigError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

#[derive(Debug)]
struct Steps {
    local: PluginsConfig,
    plugins: Option<Weak<dyn PluginConfigs>>,
    /// Stored and not yet applied.
    candidate: Option<Stored>,
    /// The one in force.
    active: Option<Stored>,
    /// Set while that one is not known to be good.
    trial: Option<Trial>,
    /// The version that plugins were given back when one refused its part.
    restored: Option<String>,
    /// The worker is on its way out.
    ending: bool,
}

impl PushedConfig {
    /// Opens the pushed config of a node and puts the last good one into force,
    /// but for the plugins' parts, which wait for [`attach`](Self::attach). The
    /// receiver gets what is to be acknowledged.
    ///
    /// A config on whose probation the last process died is rejected here; one
    /// whose probation an orderly end cut short is in force and on trial again.
    /// A stored config that is damaged or not understood is not in force, and
    /// the version that is reported is empty, so that the controller sends one.
    ///
    /// # Errors
    ///
    /// The directory can't be made or read.
    pub fn open(
        options: PushedConfigOptions,
    ) -> Result<(Arc<Self>, mpsc::Receiver<SyncRequest>), PushedConfigError> {
        Self::open_with(options, SYNC_TIMEOUT)
    }

    fn open_with(
        options: PushedConfigOptions,
        sync_timeout: Duration,
    ) -> Result<(Arc<Self>, mpsc::Receiver<SyncRequest>), PushedConfigError> {
        let files = Files::open(&options.state_dir)?;
        let mut memory = Memory::new(files.read_rejections());
        let (good, mut fault) = usable(files.read_active());
        reject_fatal(&files, &mut memory, good.as_ref());
        let resumed = match files.resume_trial() {
            // One that can't be read any more is no loss: it was on trial.
            Ok(resumed) => resumed.filter(|it| document::settings(&it.document).is_ok()),
            Err(error) => {
                tracing::error!(
                    error,
                    "a config whose probation was cut short can't be used"
                );
                None
            }
        };
        if resumed.is_some() {
            fault = None;
        }
        let active = resumed.as_ref().or(good.as_ref());
        memory.set_active(active);
        if let Some(stored) = active {
            tracing::info!(
                version = stored.version,
                on_trial = resumed.is_some(),
                "a pushed config is in force"
            );
        }
        let settings = active.and_then(|stored| document::settings(&stored.document).ok());
        let mut state = memory.state();
        if let Some(reason) = fault {
            tracing::error!(
                reason,
                "the stored pushed config can't be used; the node runs without"
            );
            state.attempt_succeeded = false;
            state.failed_step = "apply".to_owned();
            state.reason = reason;
        }
        let (sync, requests) = mpsc::channel(4);
        let pushed = Self {
            files,
            step: Mutex::new(Steps {
                local: options.local,
                plugins: None,
                candidate: None,
                active: active.cloned(),
                trial: None,
                restored: None,
                ending: false,
            }),
            memory: Mutex::new(memory),
            state: watch::Sender::new(state),
            settings: watch::Sender::new(settings.unwrap_or_default()),
            subscribers: Mutex::default(),
            sync,
            sync_timeout,
            probation: options.probation,
            log_tail: options.log_tail,
            on_trial: AtomicBool::new(false),
        };
        if let Some(resumed) = resumed {
            let sections = Sections::of(&resumed.document);
            let trial = Trial::new(good, &sections, &NoPlugins, pushed.probation);
            pushed.set_trial(&mut lock(&pushed.step), Some(trial));
        }
        Ok((Arc::new(pushed), requests))
    }

    /// Makes the plugins known, once they are loaded, and gives them their
    /// parts of the config in force. Where one refuses, a config on trial is
    /// undone; of the last good one the rest stays in force, and the version
    /// that is reported is empty. May block.
    ///
    /// Only a weak reference is kept: the plugins own this, not the reverse.
    pub fn attach(&self, plugins: &Arc<dyn PluginConfigs>) {
        let mut step = lock(&self.step);
        step.plugins = Some(Arc::downgrade(plugins));
        let Some(active) = step.active.clone() else {
            return;
        };
        let sections = Sections::of(&active.document);
        let Err(error) = sections.reconfigure_all(plugins.as_ref(), &step.local) else {
            return;
        };
        if step.trial.is_some() {
            let text = error.to_string();
            self.undo(
                &mut step,
                Reason {
                    step: "apply",
                    text,
                },
            );
            drop(step);
            self.attach(plugins);
            return;
        }
        tracing::error!(
            version = active.version, error = %error,
            "a plugin does not take its part of the last good pushed config"
        );
        lock(&self.memory).set_active(None);
        let aftermath = Aftermath {
            log_tail: self.log_tail.lines(),
            ..Aftermath::default()
        };
        self.failed(&active, "apply", &error.to_string(), aftermath);
    }

    /// What the controller is told.
    pub fn status(&self) -> watch::Receiver<ConfigState> {
        self.state.subscribe()
    }

    /// The key `worker` of the config in force.
    pub fn settings(&self) -> watch::Receiver<WorkerSettings> {
        self.settings.subscribe()
    }

    /// Any other key of the config in force, now and whenever it changes.
    pub fn subscribe(&self, key: &str) -> watch::Receiver<Option<Value>> {
        let step = lock(&self.step);
        let now = step
            .active
            .as_ref()
            .and_then(|active| active.document.get(key).cloned());
        let mut subscribers = lock(&self.subscribers);
        subscribers
            .entry(key.to_owned())
            .or_insert_with(|| watch::Sender::new(now))
            .subscribe()
    }

    fn failed(&self, config: &Stored, step: &str, reason: &str, aftermath: Aftermath) {
        let active = lock(&self.memory).current();
        self.state.send_replace(ConfigState {
            active_version: active.version,
            active_sha256: active.sha256,
            attempted_version: config.version.clone(),
            attempted_sha256: config.sha256.clone(),
            attempt_succeeded: false,
            failed_step: step.to_owned(),
            reason: reason.to_owned(),
            attempted_at: Some(Utc::now()),
            rolled_back_to: aftermath.rolled_back_to,
            log_tail: aftermath.log_tail,
        });
    }

    /// Hands the config in force to everyone who follows it.
    fn publish(&self, active: Option<&Stored>, settings: WorkerSettings) {
        self.settings.send_if_modified(|known| {
            let changed = *known != settings;
            *known = settings;
            changed
        });
        for (key, subscriber) in lock(&self.subscribers).iter() {
            subscriber.send_if_modified(|known| {
                let new = active.and_then(|active| active.document.get(key));
                let changed = known.as_ref() != new;
                if changed {
                    *known = new.cloned();
                }
                changed
            });
        }
    }
}

/// What can be put into force, and why not if it can't.
fn usable(read: Result<Option<Stored>, String>) -> (Option<Stored>, Option<String>) {
    match read {
        Ok(Some(stored)) => match document::settings(&stored.document) {
            Ok(_) => (Some(stored), None),
            Err(error) => (None, Some(error.to_string())),
        },
        Ok(None) => (None, None),
        Err(fault) => (None, Some(fault)),
    }
}

/// Remembers the config that the last process did not survive.
fn reject_fatal(files: &Files, memory: &mut Memory, good: Option<&Stored>) {
    let fatal = match files.read_trial() {
        Ok(Some(stored)) => stored,
        Ok(None) => return,
        Err(error) => {
            tracing::error!(
                error,
                "a config on trial can't be read; the last good one holds"
            );
            return;
        }
    };
    if !good.is_some_and(|good| good.is(&fatal)) {
        let rolled_back_to = good.map_or(String::new(), |good| good.version.clone());
        tracing::error!(
            version = fatal.version,
            rolled_back_to,
            "the worker's process died while this config was on probation: going back to the \
             last good one"
        );
        let text = "the worker's process died while this config was on probation".to_owned();
        let aftermath = Aftermath {
            rolled_back_to,
            ..Aftermath::default()
        };
        memory.reject_stored(&fatal, Reason { step: HEALTH, text }, aftermath);
        if let Err(error) = files.write_rejections(memory.rejections()) {
            tracing::error!(%error, "the rejected config may be tried again");
        }
    }
    files.remove_trial();
    // It is older than what was on trial.
    files.remove_pending();
}

/// Before there are any.
struct NoPlugins;

impl PluginConfigs for NoPlugins {
    fn is_loaded(&self, _: &str) -> bool {
        false
    }

    fn reconfigure(&self, _: &str, _: &Value) -> Result<(), HandlerError> {
        Ok(())
    }

    fn condition(&self, _: &str) -> Condition {
        Condition::default()
    }
}

#[cfg(test)]
mod tests;
