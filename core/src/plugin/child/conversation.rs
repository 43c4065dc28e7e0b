//! What a plugin's process says, taken with the distrust that code in the
//! worker's own process is taken with: what is out of order is a breach, and
//! what is about a call that is not its own is counted and ignored.

use std::{sync::Arc, time::Instant};

use aegis_plugin_api::abi::{
    AEGIS_LOG_DEBUG, AEGIS_LOG_ERROR, AEGIS_LOG_INFO, AEGIS_LOG_TRACE, AEGIS_LOG_WARN,
    AEGIS_PROGRESS_UNKNOWN, AEGIS_STATUS_PANICKED,
};
use aegis_proto::CommandId;
use serde_json::Value;
use tracing::Level;

use super::{
    Shared,
    life::{Life, QUIESCE, Reply},
    requests,
    supervision::First,
    voice::{Bucket, Lines},
};
use crate::plugin::{
    CallId, CallSink, Completion, answer,
    frame::{Failed, Log, Report, Schema},
    log,
};

/// No plugin has more handlers.
const MAX_SCHEMAS: usize = 256;

/// Request and response schema of a handler, as far as it gave them.
pub(crate) type Schemas = (u32, Option<Value>, Option<Value>);

/// What was said so far.
pub(super) struct Conversation<'a> {
    shared: &'a Arc<Shared>,
    life: &'a Arc<Life>,
    /// Whoever waits for the plugin's first process.
    first: &'a mut Option<First>,
    /// What the process was given.
    config: String,
    schemas: Vec<Schemas>,
    failed: Option<Failed>,
    finished: bool,
    bucket: Bucket,
    lines: Lines,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        life: &'a Arc<Life>,
        first: &'a mut Option<First>,
        config: String,
    ) -> Self {
        Self {
            shared,
            life,
            first,
            config,
            schemas: Vec::new(),
            failed: None,
            finished: false,
            bucket: Bucket::new(Instant::now()),
            lines: Lines::default(),
        }
    }

    /// Whether the plugin is quiet, and the process is to end.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Why it does not serve, if it said so, and its last words.
    pub(super) fn end(mut self) -> (Option<Failed>, String) {
        let (id, bucket) = (&self.shared.setup.id, &mut self.bucket);
        self.lines.finish(|line| say(id, bucket, line));
        (self.failed, self.lines.tail())
    }

    /// One message.
    ///
    /// # Errors
    ///
    /// How it breaks the protocol.
    pub(super) fn hear(&mut self, report: Option<Report>) -> Result<(), String> {
        let report = report.ok_or("a message that says nothing")?;
        let ready = self.life.is_ready();
        match report {
            Report::Log(log) => self.log(&log),
            Report::Request(request) => requests::serve(self.shared, self.life, request),
            Report::Condition(condition) => self.shared.told().now = condition,
            Report::Schema(schema) if !ready && self.schemas.len() < MAX_SCHEMAS => {
                self.schemas.push(parsed(&schema));
            }
            Report::Ready(told) if !ready => {
                tracing::debug!(
                    plugin = self.shared.setup.id,
                    pid = self.life.pid(),
                    paths = told.paths,
                    "the plugin's process is ready"
                );
                let schemas = std::mem::take(&mut self.schemas);
                let first = self.first.take().map(|first| (first, schemas));
                self.shared.is_up(self.life, &self.config, first);
            }
            Report::Failed(failed) if !ready => self.failed = Some(failed),
            Report::Done(done) if ready => {
                let completion = answer::completion(done.status, Some(&done.document));
                self.ended(done.call, done.status == AEGIS_STATUS_PANICKED, completion);
            }
            Report::Refused(refused) if ready => {
                let error = answer::error_document(Some(&refused.document), "refused");
                self.ended(refused.call, false, Completion::Failed(error));
            }
            Report::Progress(progress) if ready => {
                if progress.permille <= AEGIS_PROGRESS_UNKNOWN
                    && let Some(sink) = self.sink(progress.call)
                {
                    sink.progress(progress.permille, &progress.note);
                }
            }
            Report::Output(output) if ready => {
                if let Some(sink) = self.sink(output.call) {
                    sink.output(&output.data);
                }
            }
            Report::Reconfigured(told) if ready => {
                let result = match told.refused {
                    None => Ok(()),
                    Some(document) => Err(answer::error_document(
                        Some(&document),
                        "reconfigure-failed",
                    )),
                };
                self.shared.reconfigured(self.life, told.number, result);
            }
            Report::Quiesced(quiet) if ready => {
                self.finished |= quiet;
                self.life.answered(QUIESCE, Reply::Quiesced(quiet));
            }
            _ => return Err("a message out of its order".to_owned()),
        }
        Ok(())
    }

    /// More of its standard output and error.
    pub(super) fn overhear(&mut self, bytes: &[u8]) {
        let (id, bucket) = (&self.shared.setup.id, &mut self.bucket);
        self.lines.extend(bytes, |line| say(id, bucket, line));
    }

    /// Whether lines were dropped that nobody was told of.
    pub(super) fn owes_telling(&self) -> bool {
        self.bucket.owes()
    }

    /// Tells how many lines were dropped, if it is time to.
    pub(super) fn tell_dropped(&mut self, now: Instant) {
        if let Some(lines) = self.bucket.dropped(now) {
            tracing::warn!(
                plugin = self.shared.setup.id,
                lines,
                "the plugin logs more than the worker takes; the rest was dropped"
            );
        }
    }

    fn ended(&self, call: u64, panicked: bool, completion: Completion) {
        let shared = self.shared;
        match shared
            .calls
            .complete(self.life.number, CallId(call), completion)
        {
            Ok(Some((sink, completion))) => {
                if !panicked {
                    shared.ended_well();
                }
                sink.complete(completion);
            }
            Ok(None) => {}
            Err(stray) => shared.faults.stray(stray),
        }
    }

    fn sink(&self, call: u64) -> Option<Arc<dyn CallSink>> {
        self.shared.calls.sink(self.life.number, CallId(call))
    }

    fn log(&mut self, told: &Log) {
        let level = match told.level {
            AEGIS_LOG_ERROR => Level::ERROR,
            AEGIS_LOG_WARN => Level::WARN,
            AEGIS_LOG_INFO => Level::INFO,
            AEGIS_LOG_DEBUG => Level::DEBUG,
            AEGIS_LOG_TRACE => Level::TRACE,
            _ => return,
        };
        if !self.bucket.admits(Instant::now()) {
            return;
        }
        let command: Option<CommandId> = self
            .shared
            .calls
            .command(self.life.number, CallId(told.call));
        let [part, message, fields] =
            [&told.part, &told.message, &told.fields].map(|text| text.as_bytes());
        log::emit(level, &self.shared.setup.id, command, part, message, fields);
    }
}

fn say(plugin: &str, bucket: &mut Bucket, line: &str) {
    if bucket.admits(Instant::now()) {
        log::emit(Level::INFO, plugin, None, b"output", line.as_bytes(), b"");
    }
}

fn parsed(schema: &Schema) -> Schemas {
    let read = |text: &[u8]| serde_json::from_slice(text).ok();
    (
        schema.handler,
        read(&schema.request),
        read(&schema.response),
    )
}
