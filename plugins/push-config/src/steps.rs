//! The steps of a pushed config and what a failure in one of them means.

use std::time::Duration;

use aegis_plugin_api::{
    host::{ConfigControl, RejectedConfig},
    prelude::*,
};

/// The pauses between attempts to tell the controller: from this, doubled each
/// time, to the other.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// One config on its way.
pub struct Steps<'a> {
    pub config: ConfigControl,
    pub version: &'a str,
    pub cx: &'a Context,
}

impl Steps<'_> {
    /// Runs a step. If it fails the version is rejected for good.
    pub fn run<R>(
        &self,
        step: &'static str,
        body: impl FnOnce() -> Result<R, HandlerError>,
    ) -> Result<R, HandlerError> {
        self.cx.progress_note(step);
        body().map_err(|error| self.reject(step, error))
    }

    /// Tells the controller which version is in force, again and again while it
    /// cannot be told.
    pub fn acknowledge(&self) -> Result<(), HandlerError> {
        self.cx.progress_note("acknowledge");
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.config.acknowledge(self.version) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !error.retryable || self.cx.sleep_blocking(pause).is_err() {
                return Err(self.not_acknowledged(error));
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn reject(&self, step: &'static str, error: HandlerError) -> HandlerError {
        let mut message = format!(
            "config {} was rejected at step {step}: {}",
            self.version, error.message
        );
        self.report(step, error.message, &mut message);
        let help = error.help.unwrap_or_else(|| PUSH_AGAIN.to_owned());
        HandlerError::new("config-rejected", message).help(help)
    }

    fn not_acknowledged(&self, error: HandlerError) -> HandlerError {
        let mut message = format!(
            "config {} is in force, but the controller could not be told: {}",
            self.version, error.message
        );
        self.report("acknowledge", error.message, &mut message);
        HandlerError::new("config-not-acknowledged", message)
            .help("push the same version again: it is then only acknowledged")
            .retryable()
    }

    /// Tells the node which step failed. Where even that fails, `message` says so.
    fn report(&self, step: &str, reason: String, message: &mut String) {
        let rejected = RejectedConfig {
            version: self.version.to_owned(),
            step: step.to_owned(),
            reason,
        };
        if let Err(second) = self.config.reject(&rejected) {
            message.push_str("; nor could the node take note of that: ");
            message.push_str(&second.message);
        }
    }
}

const PUSH_AGAIN: &str = "correct the config and push it again";
