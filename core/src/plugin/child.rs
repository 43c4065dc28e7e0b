//! A plugin in a process of its own: the worker's side.
//!
//! One thread per plugin stands behind its process (`watch`); the system kills
//! the process when that thread ends, and so with the worker. Nobody else waits
//! for the process: calls and cancels are queued, and a process that does not
//! read is killed. When it ends, whatever ran in it is over, the group that it
//! led is killed, and a new one takes its place after a while that grows.

mod conversation;
mod ending;
mod instance;
mod life;
mod outbox;
mod requests;
mod spawn;
mod standing;
mod supervision;
mod voice;
mod watch;

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use aegis_plugin_api::{HandlerError, process::Confinement};
use serde_json::Value;

pub(crate) use conversation::Schemas;
pub use spawn::PluginHostProgram;

use self::{
    ending::Killed,
    life::{Life, NotBegun, Reply},
    standing::Standing,
};
use super::{
    Call, CallSink, Started, answer,
    calls::Calls,
    faults::Faults,
    frame,
    hosted::overloaded,
    interfaces::HostInterfaces,
    restart::{LONGEST_WAIT, MAX_PARKED, Parked},
    schema::RequestSchema,
};
use crate::{landlock::PathRules, loader::Sealed, unpoisoned::lock};

/// What a plugin's process is made from, each time.
pub(crate) struct ChildSetup {
    /// Its id.
    pub(crate) id: String,
    /// What hosts it.
    pub(crate) program: PluginHostProgram,
    /// The very bytes that were checked.
    pub(crate) library: Sealed,
    /// The exported descriptor.
    pub(crate) symbol: String,
    /// As it was read from the file.
    pub(crate) manifest: Vec<u8>,
    /// `[plugins.NAME.config]`
    pub(crate) config: serde_json::Map<String, Value>,
    /// The node, a JSON object.
    pub(crate) node: String,
    /// The plugin's own; it exists.
    pub(crate) state_dir: PathBuf,
    /// What it was granted.
    pub(crate) interfaces: Arc<dyn HostInterfaces>,
    /// The schemas of its requests, by handler.
    pub(crate) request_schemas: Vec<Option<Value>>,
    /// The handlers whose schemas its manifest leaves out.
    pub(crate) missing_schemas: Vec<u32>,
    /// Its user and limits.
    pub(crate) confinement: Confinement,
    /// What it may reach.
    pub(crate) paths: PathRules,
    /// After so many crashes in a row it is left alone; 0: never.
    pub(crate) quarantine_after: u32,
}

/// A plugin in a process of its own. Dropping it kills that.
pub(crate) struct ChildPlugin {
    shared: Arc<Shared>,
    /// Closed when the thread behind the process is over.
    over: Mutex<Receiver<()>>,
}

/// What the thread behind the process and its users share.
struct Shared {
    setup: ChildSetup,
    calls: Calls<Arc<Life>>,
    faults: Faults,
    schemas: Vec<Option<RequestSchema>>,
    /// Held through a `reconfigure`, which the ABI does not want twice at once.
    config: Mutex<String>,
    state: Mutex<State>,
    woken: Condvar,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct State {
    /// From the start of a process to its end.
    life: Option<Arc<Life>>,
    closing: bool,
    /// When the next process is started, if that is to be waited for.
    due: Option<Instant>,
    parked: Vec<Parked>,
    standing: Standing,
    /// Why there is no process, while there is none for longer than it takes to
    /// start one.
    failure: Option<String>,
    /// Why there will be none.
    quarantine: Option<String>,
}

/// What its processes told of themselves.
#[derive(Debug, Default)]
struct Told {
    /// The one that runs.
    now: frame::Condition,
    /// Those before, added up.
    before: frame::Condition,
}

impl ChildPlugin {
    /// Starts the first process and waits until it is ready, for up to 30
    /// seconds. Answers also with the schemas that it was asked for.
    ///
    /// # Errors
    ///
    /// Whether it was mapped, and what went wrong.
    pub(crate) fn start(setup: ChildSetup) -> Result<(Self, Vec<Schemas>), NotStarted> {
        let name = format!("plugin-{}", setup.id);
        let schemas = setup.request_schemas.iter().cloned();
        let shared = Arc::new(Shared {
            calls: Calls::new(),
            faults: Faults::default(),
            schemas: schemas
                .map(|schema| schema.map(RequestSchema::new))
                .collect(),
            config: Mutex::new(Value::Object(setup.config.clone()).to_string()),
            state: Mutex::default(),
            woken: Condvar::new(),
            told: Mutex::default(),
            setup,
        });
        let (tell, told) = mpsc::sync_channel(1);
        let (ends, over) = mpsc::sync_channel::<()>(0);
        let own = Arc::clone(&shared);
        let spawned = thread::Builder::new().name(name).spawn(move || {
            supervision::supervise(&own, tell);
            drop(ends);
        });
        if let Err(error) = spawned {
            return Err(NotStarted::system(format!("no thread for it: {error}")));
        }
        let schemas = told
            .recv()
            .unwrap_or_else(|_| Err(NotStarted::system("its thread ended".to_owned())))?;
        let over = Mutex::new(over);
        Ok((Self { shared, over }, schemas))
    }

    /// Has a call wait for a process.
    fn park(
        &self,
        mut state: MutexGuard<'_, State>,
        call: Call<'_>,
        sink: Arc<dyn CallSink>,
    ) -> Started {
        if let Some(reason) = &state.quarantine {
            return Started::Refused(unavailable(format!("it is in quarantine: {reason}")));
        }
        if state.closing {
            return Started::Refused(unavailable("it has been shut down".to_owned()).retryable());
        }
        let wait = state.due.map_or(Duration::ZERO, |due| {
            due.saturating_duration_since(Instant::now())
        });
        if wait > LONGEST_WAIT || state.parked.len() >= MAX_PARKED {
            let why = state.failure.as_deref().unwrap_or("it is being restarted");
            return Started::Refused(unavailable(why.to_owned()).retry_after(wait));
        }
        let Some(id) = self.shared.calls.insert(None, call.command_id, sink) else {
            return Started::Refused(overloaded());
        };
        state.parked.push(Parked::new(id, call));
        Started::Pending(id)
    }
}

/// A process that did not get ready.
#[derive(Debug)]
pub(crate) struct NotStarted {
    /// Nothing of the plugin ran.
    pub(crate) unmapped: bool,
    /// Why, and what to do next.
    pub(crate) reason: String,
    pub(crate) remedy: String,
}

impl NotStarted {
    fn system(reason: String) -> Self {
        Self {
            unmapped: true,
            reason,
            remedy: "see the limits of the worker's user and of its service".to_owned(),
        }
    }
}

impl Shared {
    /// Sends a call on its way in a process that is ready.
    fn begin(
        &self,
        life: &Arc<Life>,
        call: &Call<'_>,
        sink: &Arc<dyn CallSink>,
    ) -> Result<Started, ()> {
        let owner = (life.number, Arc::clone(life));
        let Some(id) = self
            .calls
            .insert(Some(owner), call.command_id, Arc::clone(sink))
        else {
            return Ok(Started::Refused(overloaded()));
        };
        // From here on whatever the process says of it is for the sink.
        if self.calls.pending(id).is_some() {
            // It ended just now, and never heard of the call.
            return Err(());
        }
        let Err(why) = life.start(id, call) else {
            return Ok(Started::Pending(id));
        };
        if self.calls.withdraw(id).is_none() {
            // The process ended, and the sink was told.
            return Ok(Started::Pending(id));
        }
        match why {
            NotBegun::Over => Err(()),
            NotBegun::Full => Ok(Started::Refused(
                HandlerError::new(
                    aegis_proto::error_code::OVERLOADED,
                    "the plugin's process does not take its commands as fast as they come",
                )
                .retryable(),
            )),
            NotBegun::Unsayable(error) => Ok(Started::Refused(answer::fault(format!(
                "the call is {error}"
            )))),
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        lock(&self.told)
    }

    fn config(&self) -> MutexGuard<'_, String> {
        lock(&self.config)
    }

    /// The process answered to a config.
    fn reconfigured(&self, life: &Life, number: u64, result: Result<(), HandlerError>) {
        let error = result.as_ref().err().cloned();
        if !life.answered(number, Reply::Reconfigured(result))
            && let Some(error) = error
        {
            tracing::error!(
                plugin = self.setup.id, %error,
                "a new process of the plugin refused the config that the one before it had taken"
            );
        }
    }

    fn ended_well(&self) {
        lock(&self.state).standing.ended_well();
    }
}

fn unavailable(why: String) -> HandlerError {
    HandlerError::new(
        "plugin-unavailable",
        format!("the plugin's process cannot take it: {why}"),
    )
    .help("`aegis-worker plugins list` and the worker's log tell more")
}

impl Drop for ChildPlugin {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.closing = true;
        self.shared.woken.notify_all();
        if let Some(life) = &state.life {
            life.kill(Killed::Finished);
        }
    }
}

impl fmt::Debug for ChildPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildPlugin")
            .field("id", &self.shared.setup.id)
            .finish_non_exhaustive()
    }
}
