//! The steps of a pushed config, as a granted plugin takes it through them.

use std::{sync::Arc, time::Duration};

use chrono::Utc;

use super::{
    Aftermath, ConfigState, PushedConfig, Steps, acknowledge,
    document::{self, Stored},
    plugins::{PluginConfigs, Sections},
    trial::Trial,
};
use crate::{
    command::HandlerError,
    control::{CandidateConfig, ConfigControl, CurrentConfig, RejectedConfig},
    kill_point::kill_point,
    unpoisoned::lock,
};

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
        let sections = Sections::read(&stored.document)?;
        sections.check(step.plugins()?.as_ref())?;
        sections.permitted_by(&step.local)
    }

    fn store(&self, candidate: &CandidateConfig) -> Result<(), HandlerError> {
        let mut step = lock(&self.step);
        let stored = Stored::from(candidate);
        stored.check_bounds()?;
        if !lock(&self.memory).is_active(&stored) {
            self.files.write_candidate(&stored)?;
            kill_point!("config.stored");
        }
        step.candidate = Some(stored);
        step.restored = None;
        Ok(())
    }

    fn apply(&self, version: &str) -> Result<(), HandlerError> {
        let mut step = lock(&self.step);
        let Some(candidate) = step.candidate.take_if(|stored| stored.version == version) else {
            return Err(HandlerError::new(
                "config-not-stored",
                format!("no config of version {version:?} is stored: store it before applying it"),
            ));
        };
        if lock(&self.memory).is_active(&candidate) {
            self.applied(&candidate);
            return Ok(());
        }
        let settings = document::settings(&candidate.document)?;
        let trial = self.put_into_force(&mut step, &candidate)?;
        kill_point!("config.applied");
        self.publish(Some(&candidate), settings);
        tracing::info!(
            version,
            probation = ?self.probation,
            "the pushed config is in force"
        );
        self.set_trial(&mut step, trial);
        self.applied(&candidate);
        step.active = Some(candidate);
        Ok(())
    }

    fn acknowledge(&self, version: &str) -> Result<(), HandlerError> {
        if lock(&self.memory).active_version() != version {
            return Err(HandlerError::new(
                "config-not-applied",
                format!("version {version:?} is not in force: apply it before acknowledging it"),
            ));
        }
        kill_point!("config.acknowledging");
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
        let aftermath = Aftermath {
            rolled_back_to: step.restored.take().unwrap_or_default(),
            log_tail: self.log_tail.lines(),
        };
        if rejected.step == "acknowledge" {
            // If it is not in force any more, what is told says why.
            let active = step.active.as_ref();
            if let Some(active) = active.filter(|it| it.version == rejected.version) {
                self.failed(active, &rejected.step, &rejected.reason, aftermath);
            }
            return Ok(());
        }
        step.candidate
            .take_if(|stored| stored.version == rejected.version);
        self.files.remove_candidate();
        let (state, rejections) = {
            let mut memory = lock(&self.memory);
            memory.reject(rejected, aftermath);
            (memory.state(), memory.rejections().to_vec())
        };
        self.state.send_replace(state);
        self.files.write_rejections(&rejections)
    }
}

impl PushedConfig {
    /// Marks the stored candidate as on trial and gives the plugins their
    /// parts. Answers with its trial, unless it is known to be good.
    fn put_into_force(
        &self,
        step: &mut Steps,
        candidate: &Stored,
    ) -> Result<Option<Trial>, HandlerError> {
        let new = Sections::read(&candidate.document)?;
        let old = Sections::of_stored(step.active.as_ref());
        let plugins = step.plugins()?;
        let last_good = match &step.trial {
            Some(trial) => trial.last_good().cloned(),
            None => step.active.clone(),
        };
        let mut trial = Trial::new(last_good, &new, plugins.as_ref(), self.probation);
        if let Some(before) = &step.trial {
            trial.take_up(before);
        }
        // Before any plugin hears of it: one that takes the worker with it must
        // not do so at every start.
        self.files.begin_trial()?;
        kill_point!("config.on-trial");
        if let Err(refused) = new.replace(&old, plugins.as_ref(), &step.local).map(drop) {
            if refused.restored {
                step.restored = Some(lock(&self.memory).active_version().to_owned());
            }
            self.back_to(step);
            return Err(refused.error);
        }
        let known = trial.last_good().is_some_and(|good| good.is(candidate));
        if known {
            self.files.remove_trial();
        }
        Ok((!known).then_some(trial))
    }

    /// Marks what was on trial before, if anything was, as on trial again.
    fn back_to(&self, step: &Steps) {
        let on_trial = step.active.as_ref().filter(|_| step.trial.is_some());
        match on_trial.map(|stored| self.files.write_trial(stored)) {
            Some(Ok(())) => {}
            None => self.files.remove_trial(),
            Some(Err(error)) => {
                self.files.remove_trial();
                tracing::error!(%error, "the config in force is lost at the next start");
            }
        }
    }

    /// Tells that a config is in force.
    fn applied(&self, stored: &Stored) {
        let rejections = {
            let mut memory = lock(&self.memory);
            memory.applied(stored).then(|| memory.rejections().to_vec())
        };
        if let Some(rejections) = rejections
            && let Err(error) = self.files.write_rejections(&rejections)
        {
            tracing::warn!(%error, "an older rejection may be told again after a restart");
        }
        self.state.send_replace(ConfigState {
            active_version: stored.version.clone(),
            active_sha256: stored.sha256.clone(),
            attempted_version: stored.version.clone(),
            attempted_sha256: stored.sha256.clone(),
            attempt_succeeded: true,
            attempted_at: Some(Utc::now()),
            ..ConfigState::default()
        });
    }
}

impl Steps {
    pub(super) fn plugins(&self) -> Result<Arc<dyn PluginConfigs>, HandlerError> {
        self.plugins
            .as_ref()
            .and_then(std::sync::Weak::upgrade)
            .ok_or_else(|| {
                HandlerError::new("not-ready", "the plugins of this node are not loaded")
                    .retry_after(Duration::from_secs(1))
            })
    }
}
