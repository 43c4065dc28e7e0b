//! What the fake host remembers.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde_json::Value;

use super::PATIENCE;
use crate::{
    HandlerError,
    abi::{AEGIS_LOG_TRACE, AEGIS_PROGRESS_UNKNOWN},
    completion::Completion,
    panic::guard,
    port::HostPort,
};

/// One sign of progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// 0 to 1000; `None`: the handler could not tell.
    pub permille: Option<u32>,
    /// What it did.
    pub note: String,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    /// The command it belongs to, if any.
    pub command_id: Option<String>,
    /// 1 (error) to 5 (trace).
    pub level: u32,
    /// The part of the plugin.
    pub target: String,
    /// The text.
    pub message: String,
    /// A JSON object, or null.
    pub fields: Value,
}

/// A granted interface.
pub(super) struct Grant {
    pub(super) interface: &'static str,
    pub(super) functions: &'static [&'static str],
    pub(super) answer: Answer,
}

pub(super) type Answer = Box<dyn Fn(&str, Value) -> Result<Value, HandlerError> + Send + Sync>;

/// The fake host.
pub(super) struct Book {
    grants: Vec<Grant>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    calls: HashMap<u64, Record>,
    log: Vec<LogLine>,
    /// Completions of calls that were over or never made.
    stray: u32,
}

/// All that was heard of one call.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) command_id: String,
    pub(super) cancelled: u32,
    pub(super) progress: Vec<Progress>,
    pub(super) output: Vec<u8>,
    pub(super) resumable: bool,
    pub(super) checkpoint: Option<Vec<u8>>,
    pub(super) completion: Option<Completion>,
}

impl Book {
    pub(super) fn new(grants: Vec<Grant>) -> Self {
        Self {
            grants,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self, call: u64, record: Record) {
        self.state().calls.insert(call, record);
    }

    pub(super) fn change(&self, call: u64, change: impl FnOnce(&mut Record)) {
        if let Some(record) = self.state().calls.get_mut(&call) {
            change(record);
        }
        self.changed.notify_all();
    }

    pub(super) fn record(&self, call: u64) -> Record {
        self.state().calls.get(&call).cloned().unwrap_or_default()
    }

    pub(super) fn log_lines(&self) -> Vec<LogLine> {
        self.state().log.clone()
    }

    pub(super) fn stray_completions(&self) -> u32 {
        self.state().stray
    }

    /// Waits until `look` finds something in a call's record.
    pub(super) fn wait<R>(&self, call: u64, what: &str, look: impl Fn(&Record) -> Option<R>) -> R {
        let end = Instant::now() + PATIENCE;
        let mut state = self.state();
        loop {
            let record = state
                .calls
                .get(&call)
                .expect("a call is in the book before it starts");
            if let Some(found) = look(record) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "waited {PATIENCE:?} for {what}; heard so far: {record:?}"
            );
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl HostPort for Arc<Book> {
    fn log_level(&self) -> u32 {
        AEGIS_LOG_TRACE
    }

    fn complete(&self, call: u64, completion: Completion) {
        let mut state = self.state();
        match state.calls.get_mut(&call) {
            Some(record) if record.completion.is_none() => record.completion = Some(completion),
            _ => state.stray += 1,
        }
        drop(state);
        self.changed.notify_all();
    }

    fn progress(&self, call: u64, permille: u32, note: &str) {
        let permille = (permille != AEGIS_PROGRESS_UNKNOWN).then_some(permille);
        let progress = Progress {
            permille,
            note: note.to_owned(),
        };
        self.change(call, |record| record.progress.push(progress));
    }

    fn output(&self, call: u64, data: &[u8]) {
        self.change(call, |record| record.output.extend_from_slice(data));
    }

    fn save_checkpoint(&self, call: u64, data: &[u8]) -> Result<(), HandlerError> {
        if !self.record(call).resumable {
            return Err(HandlerError::new(
                "not-resumable",
                "only a resumable handler is given its checkpoint back",
            ));
        }
        self.change(call, |record| record.checkpoint = Some(data.to_vec()));
        Ok(())
    }

    fn load_checkpoint(&self, call: u64) -> Option<Vec<u8>> {
        self.record(call).checkpoint
    }

    fn cancelled(&self, call: u64) -> u32 {
        self.record(call).cancelled
    }

    fn log(&self, call: u64, level: u32, target: &str, message: &str, fields: &str) {
        let mut state = self.state();
        let command_id = state
            .calls
            .get(&call)
            .map(|record| record.command_id.clone());
        state.log.push(LogLine {
            command_id,
            level,
            target: target.to_owned(),
            message: message.to_owned(),
            fields: serde_json::from_str(fields).unwrap_or_default(),
        });
    }

    fn grants(&self, interface: &str) -> bool {
        self.grants.iter().any(|grant| grant.interface == interface)
    }

    fn call(
        &self,
        interface: &'static str,
        function: usize,
        request: &[u8],
    ) -> Result<Vec<u8>, HandlerError> {
        let grant = self
            .grants
            .iter()
            .find(|grant| grant.interface == interface)
            .expect("only granted interfaces can be called");
        let request = serde_json::from_slice(request).expect("a request is JSON");
        // An assertion in the test's own closure becomes the call's error.
        let answer = guard(|| (grant.answer)(grant.functions[function], request))
            .unwrap_or_else(|panic| Err(panic.into_error()))?;
        Ok(answer.to_string().into_bytes())
    }
}
