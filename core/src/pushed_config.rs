//! The config that a controller pushed: validated, stored beside the last good
//! one, applied live, acknowledged, or rejected and remembered.
//!
//! The document is a JSON object. `worker` is the worker's own and strict.
//! `plugins.NAME` goes to that plugin, which must be loaded; a key that the
//! node's own file sets under `[plugins.NAME.config]` keeps the file's value.
//! All other keys are kept and handed to [subscribers](PushedConfig::subscribe).
//!
//! At any moment either the last good config is wholly in force or the new one
//! is; what fails on the way is undone.

mod acknowledge;
mod document;
mod files;
mod memory;
mod plugins;
mod settings;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use self::{
    document::{Digest, Stored},
    files::Files,
    memory::{Memory, Rejection},
    plugins::Sections,
};
use crate::{
    command::HandlerError,
    config::model::PluginsConfig,
    control::{CandidateConfig, ConfigControl, CurrentConfig, RejectedConfig},
    unpoisoned::lock,
};

pub use acknowledge::SyncRequest;
pub use plugins::PluginConfigs;
pub use settings::{HandlerSettings, WorkerSettings};

/// How long a controller may take to answer an acknowledgement.
const SYNC_TIMEOUT: Duration = Duration::from_secs(15);

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
}

/// What the controller is told of the node's config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigState {
    /// The version in force; empty if none is, or not all of it.
    pub active_version: String,
    /// The version that was tried last.
    pub attempted_version: String,
    /// Whether it is in force.
    pub attempt_succeeded: bool,
    /// `decode`, `validate`, `store`, `apply` or `acknowledge`; empty if none failed.
    pub failed_step: String,
    /// Why it failed.
    pub reason: String,
    /// When it was tried.
    pub attempted_at: Option<DateTime<Utc>>,
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
    /// The last good one, as it is in force.
    active: Option<Stored>,
}

impl PushedConfig {
    /// Opens the pushed config of a node and puts the last good one into force,
    /// but for the plugins' parts, which wait for [`attach`](Self::attach). The
    /// receiver gets what is to be acknowledged; `local` is the node's own file.
    ///
    /// A stored config that is damaged or not understood is not in force, and
    /// the version that is reported is empty, so that the controller sends one.
    ///
    /// # Errors
    ///
    /// The directory can't be made or read.
    pub fn open(
        state_dir: &Path,
        local: PluginsConfig,
    ) -> Result<(Arc<Self>, mpsc::Receiver<SyncRequest>), PushedConfigError> {
        Self::open_with(state_dir, local, SYNC_TIMEOUT)
    }

    fn open_with(
        state_dir: &Path,
        local: PluginsConfig,
        sync_timeout: Duration,
    ) -> Result<(Arc<Self>, mpsc::Receiver<SyncRequest>), PushedConfigError> {
        let files = Files::open(state_dir)?;
        let mut memory = Memory::new(files.read_rejections());
        let (active, fault) = files.read_active();
        let settings = active
            .as_ref()
            .map(|stored| document::settings(&stored.document));
        let (settings, fault) = match settings {
            Some(Ok(settings)) => (settings, fault),
            Some(Err(error)) => (WorkerSettings::default(), Some(error.to_string())),
            None => (WorkerSettings::default(), fault),
        };
        let active = active.filter(|_| fault.is_none());
        if let Some(stored) = &active {
            memory.active_version.clone_from(&stored.version);
            tracing::info!(
                version = stored.version,
                "the last good pushed config is in force"
            );
        }
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
                local,
                plugins: None,
                candidate: None,
                active,
            }),
            memory: Mutex::new(memory),
            state: watch::Sender::new(state),
            settings: watch::Sender::new(settings),
            subscribers: Mutex::default(),
            sync,
            sync_timeout,
        };
        Ok((Arc::new(pushed), requests))
    }

    /// Makes the plugins known, once they are loaded, and gives them their
    /// parts of the last good config. Where one refuses, the rest stays in
    /// force, and the version that is reported is empty. May block.
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
        tracing::error!(
            version = active.version, error = %error,
            "a plugin does not take its part of the last good pushed config"
        );
        lock(&self.memory).active_version.clear();
        self.failed(&active.version, "apply", &error.to_string());
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

    fn failed(&self, version: &str, step: &str, reason: &str) {
        let active_version = lock(&self.memory).active_version.clone();
        self.state.send_replace(ConfigState {
            active_version,
            attempted_version: version.to_owned(),
            attempt_succeeded: false,
            failed_step: step.to_owned(),
            reason: reason.to_owned(),
            attempted_at: Some(Utc::now()),
        });
    }

    /// Hands the config in force to everyone who follows it.
    fn publish(&self, active: &Stored, settings: WorkerSettings) {
        self.settings.send_if_modified(|known| {
            let changed = *known != settings;
            *known = settings;
            changed
        });
        for (key, subscriber) in lock(&self.subscribers).iter() {
            subscriber.send_if_modified(|known| {
                let new = active.document.get(key);
                let changed = known.as_ref() != new;
                if changed {
                    *known = new.cloned();
                }
                changed
            });
        }
    }
}

impl ConfigControl for PushedConfig {
    fn current(&self) -> CurrentConfig {
        lock(&self.memory).current()
    }

    fn validate(&self, candidate: &CandidateConfig) -> Result<(), HandlerError> {
        let step = lock(&self.step);
        let stored = Stored::from(candidate);
        stored.check_bounds()?;
        lock(&self.memory).tried(&stored)?;
        document::settings(&stored.document)?;
        Sections::read(&stored.document)?.check(step.plugins()?.as_ref())
    }

    fn store(&self, candidate: &CandidateConfig) -> Result<(), HandlerError> {
        let mut step = lock(&self.step);
        let stored = Stored::from(candidate);
        stored.check_bounds()?;
        self.files.write_candidate(&stored)?;
        step.candidate = Some(stored);
        Ok(())
    }

    fn apply(&self, version: &str) -> Result<(), HandlerError> {
        let mut step = lock(&self.step);
        let Some(candidate) = step
            .candidate
            .clone()
            .filter(|stored| stored.version == version)
        else {
            return Err(HandlerError::new(
                "config-not-stored",
                format!("no config of version {version:?} is stored: store it before applying it"),
            ));
        };
        let settings = document::settings(&candidate.document)?;
        let new = Sections::read(&candidate.document)?;
        let old = step
            .active
            .as_ref()
            .map(|active| Sections::of(&active.document));
        let plugins = step.plugins()?;
        let changed = new.replace(&old.unwrap_or_default(), plugins.as_ref(), &step.local)?;
        if let Err(error) = self.files.promote_candidate() {
            changed.undo();
            return Err(error);
        }
        drop(changed);
        lock(&self.memory).applied(version);
        self.publish(&candidate, settings);
        self.state.send_replace(ConfigState {
            active_version: version.to_owned(),
            attempted_version: version.to_owned(),
            attempt_succeeded: true,
            failed_step: String::new(),
            reason: String::new(),
            attempted_at: Some(Utc::now()),
        });
        tracing::info!(version, "the pushed config is in force");
        step.active = Some(candidate);
        step.candidate = None;
        Ok(())
    }

    fn acknowledge(&self, version: &str) -> Result<(), HandlerError> {
        if lock(&self.memory).active_version != version {
            return Err(HandlerError::new(
                "config-not-applied",
                format!("version {version:?} is not in force: apply it before acknowledging it"),
            ));
        }
        acknowledge::wait(&self.sync, version, self.sync_timeout)
    }

    /// A failed acknowledgement is told and not remembered: the config is in
    /// force, and the worker asks for the newest one after every registration.
    fn reject(&self, rejected: RejectedConfig) -> Result<(), HandlerError> {
        let mut step = lock(&self.step);
        tracing::warn!(
            version = rejected.version,
            step = rejected.step,
            reason = rejected.reason,
            "a pushed config was rejected; the last good one stays in force"
        );
        if rejected.step == "acknowledge" {
            self.failed(&rejected.version, &rejected.step, &rejected.reason);
            return Ok(());
        }
        if step
            .candidate
            .take_if(|stored| stored.version == rejected.version)
            .is_some()
        {
            self.files.remove_candidate();
        }
        let (known, rejections) = {
            let mut memory = lock(&self.memory);
            (memory.reject(rejected), memory.rejections().to_vec())
        };
        self.failed(&known.version, &known.step, &known.reason);
        self.files.write_rejections(&rejections)
    }
}

impl Steps {
    fn plugins(&self) -> Result<Arc<dyn PluginConfigs>, HandlerError> {
        self.plugins
            .as_ref()
            .and_then(Weak::upgrade)
            .ok_or_else(|| {
                HandlerError::new("not-ready", "the plugins of this node are not loaded")
                    .retry_after(Duration::from_secs(1))
            })
    }
}

#[cfg(test)]
mod tests;
