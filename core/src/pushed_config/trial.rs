//! A config on trial: it is in force, and the last good one is kept until it has
//! proved itself.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use tokio::sync::oneshot;

use super::{
    Aftermath, PushedConfig, Steps, SyncRequest,
    document::{self, Stored},
    memory::Reason,
    plugins::{PluginConfigs, Sections},
    probation::{Probation, Signs, Verdict},
};
use crate::{clock::BootInstant, kill_point::kill_point, unpoisoned::lock};

/// The step at which a config fails that is in force and does the node no good.
pub(super) const HEALTH: &str = "health";

/// What is known of the config on trial.
#[derive(Debug)]
pub(super) struct Trial {
    /// What to go back to; `None`: to nothing.
    last_good: Option<Stored>,
    /// The plugins that have other settings than under the last good one, and
    /// how often each had panicked before it had them.
    plugins: BTreeMap<String, u64>,
    probation: Probation,
}

impl Trial {
    /// Of a config with these parts, before the plugins are given them.
    pub(super) fn new(
        last_good: Option<Stored>,
        sections: &Sections,
        plugins: &dyn PluginConfigs,
        period: Duration,
    ) -> Self {
        let changed = sections.other_than(&Sections::of_stored(last_good.as_ref()));
        let panics = |name: String| {
            let panics = plugins.condition(&name).panics;
            (name, panics)
        };
        Self {
            plugins: changed.into_iter().map(panics).collect(),
            last_good,
            probation: Probation::new(period),
        }
    }

    pub(super) const fn last_good(&self) -> Option<&Stored> {
        self.last_good.as_ref()
    }

    /// A panic since the last good config counts, whichever of the configs since
    /// then brought it about.
    pub(super) fn take_up(&mut self, before: &Self) {
        for (plugin, panics) in &before.plugins {
            self.plugins
                .entry(plugin.clone())
                .and_modify(|known| *known = *panics);
        }
    }

    /// Why a plugin does not do well under its new settings.
    fn broken(&self, plugins: &dyn PluginConfigs) -> Option<String> {
        self.plugins.iter().find_map(|(name, before)| {
            let condition = plugins.condition(name);
            match condition.failure {
                Some(failure) => Some(format!(
                    "the plugin {name:?} failed after it took its new settings: {failure}"
                )),
                None if condition.panics > *before => Some(format!(
                    "the plugin {name:?} panicked after it took its new settings"
                )),
                None => None,
            }
        })
    }
}

impl PushedConfig {
    /// Whether a config is on trial.
    pub(crate) fn is_on_trial(&self) -> bool {
        self.on_trial.load(Ordering::Acquire)
    }

    /// Takes a look at how the node does under the config on trial, and ends the
    /// trial if that is decided. May block.
    pub(crate) fn look(&self, signs: &Signs, now: BootInstant) {
        let mut step = lock(&self.step);
        let plugins = step.plugins().ok();
        let Some(trial) = &mut step.trial else { return };
        let verdict = match plugins.and_then(|plugins| trial.broken(plugins.as_ref())) {
            Some(why) => Verdict::Failed(why),
            None => trial.probation.judge(signs, now),
        };
        match verdict {
            Verdict::Open => {}
            Verdict::Survived => self.survived(&mut step),
            Verdict::Failed(text) => self.undo(&mut step, Reason { step: HEALTH, text }),
        }
    }

    /// The worker ends in an orderly way: whatever is on trial, now or before the
    /// end, is on trial again in its next life. May block.
    pub(crate) fn put_off(&self) {
        let mut step = lock(&self.step);
        step.ending = true;
        if let Some(trial) = step.trial.take() {
            self.set_trial(&mut step, Some(trial));
        }
    }

    /// Notes what is on trial from now on; its file is there already.
    pub(super) fn set_trial(&self, step: &mut Steps, trial: Option<Trial>) {
        step.trial = trial;
        // A put-off trial that a newer config overtook.
        self.files.remove_pending();
        if step.ending
            && step.trial.is_some()
            && let Err(error) = self.files.put_off_trial()
        {
            tracing::error!(%error, "the next start goes back to the last good config");
        }
        if step.ending {
            step.trial = None;
        }
        self.on_trial.store(step.trial.is_some(), Ordering::Release);
    }

    fn survived(&self, step: &mut Steps) {
        // If it can't be written now, the next look tries again.
        if let Err(error) = self.files.promote_trial() {
            tracing::warn!(%error, "the config on trial is good, but that can't be written down");
            return;
        }
        kill_point!("config.survived");
        self.set_trial(step, None);
        tracing::info!(
            version = step.active.as_ref().map(|stored| &stored.version),
            "the pushed config has proved itself: it is the last good one now"
        );
    }

    /// Goes back to the last good config, which there may be none of.
    pub(super) fn undo(&self, step: &mut Steps, reason: Reason) {
        let Some(trial) = step.trial.take() else {
            return;
        };
        let bad = step.active.take();
        let good = trial.last_good;
        let version = good.as_ref().map_or("", |stored| &stored.version);
        tracing::error!(
            version = bad.as_ref().map(|stored| &stored.version),
            step = reason.step,
            reason = reason.text,
            rolled_back_to = version,
            "the pushed config does this node no good: going back to the last good one"
        );
        let aftermath = Aftermath {
            rolled_back_to: version.to_owned(),
            log_tail: self.log_tail.lines(),
        };
        // First, so that no death on the way brings it back.
        let rejections = {
            let mut memory = lock(&self.memory);
            if let Some(bad) = &bad {
                memory.reject_stored(bad, reason, aftermath);
            }
            memory.rejections().to_vec()
        };
        if let Err(error) = self.files.write_rejections(&rejections) {
            tracing::error!(%error, "the rejected config may be tried again");
        }
        kill_point!("config.rejected");
        self.files.remove_trial();
        self.set_trial(step, None);
        let (from, to) = (
            Sections::of_stored(bad.as_ref()),
            Sections::of_stored(good.as_ref()),
        );
        if let Ok(plugins) = step.plugins() {
            to.restore(&from, plugins.as_ref(), &step.local);
        }
        let settings = good
            .as_ref()
            .and_then(|stored| document::settings(&stored.document).ok());
        self.publish(good.as_ref(), settings.unwrap_or_default());
        let (version, state) = {
            let mut memory = lock(&self.memory);
            memory.set_active(good.as_ref());
            (memory.active_version().to_owned(), memory.state())
        };
        step.active = good;
        self.state.send_replace(state);
        // For a controller that hears of configs in no other way. If the worker
        // is not connected now, it asks when it is.
        let (reply, _) = oneshot::channel();
        let _ = self.sync.try_send(SyncRequest { version, reply });
    }
}
