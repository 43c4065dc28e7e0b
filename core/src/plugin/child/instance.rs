//! The facade of a plugin in a process of its own.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use aegis_plugin_api::HandlerError;
use serde_json::Value;

use super::{
    ChildPlugin,
    ending::Killed,
    life::{Life, QUIESCE, Reply, Unanswered},
};
use crate::{
    command::CancelReason,
    plugin::{
        Call, CallId, CallSink, Completion, FaultCounts, PluginInstance, PluginState, Running,
        Started, answer, ffi,
        frame::{self, Order},
    },
    unpoisoned::lock,
};

/// To take a new config. One that takes longer is killed.
const RECONFIGURE_LIMIT: Duration = Duration::from_secs(30);
/// For the way to the process and back.
const MARGIN: Duration = Duration::from_secs(1);
/// For the end of a process that was killed, or that has nothing left to do.
const END_LIMIT: Duration = Duration::from_secs(4);

impl Running for ChildPlugin {
    fn state(&self) -> PluginState {
        let state = lock(&self.shared.state);
        if let Some(reason) = &state.quarantine {
            return PluginState::Quarantined(reason.clone());
        }
        if let Some(reason) = &state.failure {
            return PluginState::Failed(reason.clone());
        }
        drop(state);
        let told = self.shared.told();
        if told.now.failure.is_empty() {
            PluginState::Active
        } else {
            PluginState::Failed(told.now.failure.clone())
        }
    }

    fn panics(&self) -> u64 {
        let ends = lock(&self.shared.state).standing.ends();
        let told = self.shared.told();
        ends + told.now.panics + told.before.panics
    }

    fn faults(&self) -> FaultCounts {
        let own = self.shared.faults.counts();
        let told = self.shared.told();
        FaultCounts {
            double: own.double + told.now.double + told.before.double,
            late: own.late + told.now.late + told.before.late,
            forged: own.forged + told.now.forged + told.before.forged,
            after_quiesce: own.after_quiesce + told.now.after_quiesce + told.before.after_quiesce,
        }
    }

    fn release(&self) -> bool {
        let mut state = lock(&self.shared.state);
        let released = state.quarantine.take().is_some();
        if released {
            state.standing.release();
            state.due = None;
            self.shared.woken.notify_all();
            tracing::info!(plugin = self.shared.setup.id, "released from quarantine");
        }
        released
    }
}

impl PluginInstance for ChildPlugin {
    fn start_may_block(&self) -> bool {
        false
    }

    fn has_own_process(&self) -> bool {
        true
    }

    fn start(&self, call: Call<'_>, sink: Arc<dyn CallSink>) -> Started {
        let schema = usize::try_from(call.handler)
            .ok()
            .and_then(|index| self.shared.schemas.get(index));
        if let Some(Some(schema)) = schema
            && let Err(error) = schema.check(call.payload)
        {
            return Started::Refused(error);
        }
        let mut gone: Option<Arc<Life>> = None;
        loop {
            let state = lock(&self.shared.state);
            let ready = state.life.clone().filter(|life| {
                life.is_ready() && gone.as_ref().is_none_or(|gone| gone.number != life.number)
            });
            let Some(life) = ready.filter(|_| !state.closing) else {
                return self.park(state, call, sink);
            };
            drop(state);
            match self.shared.begin(&life, &call, &sink) {
                Ok(started) => return started,
                // It ended before it was seen to; the next one takes the call.
                Err(()) => gone = Some(life),
            }
        }
    }

    fn cancel(&self, call: CallId, reason: CancelReason) {
        match self.shared.calls.owner(call) {
            // It had its time to end by itself.
            Some(Some(life)) if reason == CancelReason::Abandon => life.kill(Killed::Hung),
            Some(Some(life)) => {
                let order = Order::Cancel(frame::Cancel {
                    call: call.0,
                    reason: ffi::cancel_number(reason),
                });
                // Two numbers fit every frame.
                let _ = life.send(order);
            }
            Some(None) => {
                if let Some(ended) = self.shared.calls.withdraw(call) {
                    ended.sink.complete(Completion::Cancelled(None));
                }
            }
            None => {}
        }
    }

    fn abandon(&self, call: CallId) {
        if let Some(Some(life)) = self.shared.calls.owner(call) {
            life.kill(Killed::Hung);
        }
        self.shared.calls.abandon(call);
    }

    fn reconfigure(&self, config: &Value) -> Result<(), HandlerError> {
        if !config.is_object() {
            return Err(HandlerError::new(
                "invalid-config",
                "a plugin's config is a JSON object",
            ));
        }
        let config = config.to_string();
        let mut kept = self.shared.config();
        let life = lock(&self.shared.state).life.clone();
        if let Some(life) = life.filter(|life| life.is_ready()) {
            let question = |number| {
                Order::Reconfigure(frame::Reconfigure {
                    number,
                    config: config.clone(),
                })
            };
            match life.ask(None, question, RECONFIGURE_LIMIT) {
                Ok(Reply::Reconfigured(result)) => result?,
                Ok(Reply::Quiesced(_)) | Err(Unanswered::Over) => {
                    return Err(HandlerError::new(
                        aegis_proto::error_code::PLUGIN_CRASHED,
                        "the plugin's process ended while it took its new config",
                    )
                    .help("the worker's log tells how it ended"));
                }
                Err(Unanswered::TooLong) => {
                    return Err(HandlerError::new(
                        "invalid-config",
                        format!("it has more than {} bytes", frame::MAX_FRAME),
                    ));
                }
                Err(Unanswered::Late) => {
                    life.kill(Killed::Hung);
                    return Err(answer::fault(format!(
                        "reconfigure did not answer in {RECONFIGURE_LIMIT:?}"
                    )));
                }
            }
        }
        *kept = config;
        Ok(())
    }

    fn quiesce(&self, timeout: Duration) -> bool {
        let (parked, life) = {
            let mut state = lock(&self.shared.state);
            state.closing = true;
            self.shared.woken.notify_all();
            (std::mem::take(&mut state.parked), state.life.clone())
        };
        for parked in parked {
            if let Some(ended) = self.shared.calls.withdraw(parked.id) {
                ended.sink.complete(Completion::Cancelled(None));
            }
        }
        if let Some(life) = life {
            let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            let question = |_| Order::Quiesce(milliseconds);
            let quiet = life.is_ready()
                && matches!(
                    life.ask(Some(QUIESCE), question, timeout.saturating_add(MARGIN)),
                    Ok(Reply::Quiesced(true)) | Err(Unanswered::Over)
                );
            if !quiet {
                tracing::warn!(
                    plugin = self.shared.setup.id,
                    "the plugin still has calls running; its process is killed"
                );
                life.kill(Killed::Finished);
            }
        }
        // Nothing is ever sent: it is closed when the thread is over.
        let ended = lock(&self.over).recv_timeout(END_LIMIT);
        ended != Err(mpsc::RecvTimeoutError::Timeout)
    }
}
