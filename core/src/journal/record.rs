//! What the journal's file holds, as bytes. Fields are added and never change
//! their meaning, so that a newer worker reads what an older one left.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aegis_plugin_api::Effect;
use bytes::Bytes;
use prost_types::Timestamp;

use super::Attempt;
use crate::command::{Command, CommandId, FinalState, HandlerError, Outcome};

/// A command as it was taken.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AcceptedRecord {
    /// Its place in the order in which commands were taken.
    #[prost(uint64, tag = "1")]
    pub(super) sequence: u64,
    #[prost(message, optional, tag = "2")]
    accepted_at: Option<Timestamp>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(bytes = "bytes", tag = "4")]
    payload: Bytes,
    #[prost(message, optional, tag = "5")]
    not_before: Option<Timestamp>,
    #[prost(message, optional, tag = "6")]
    start_by: Option<Timestamp>,
    #[prost(message, optional, tag = "7")]
    timeout: Option<prost_types::Duration>,
    #[prost(string, tag = "8")]
    issuer: String,
    #[prost(string, tag = "9")]
    traceparent: String,
}

/// The newest attempt at a command: its handler has begun, or was about to.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AttemptRecord {
    #[prost(uint32, tag = "1")]
    number: u32,
    #[prost(message, optional, tag = "2")]
    started_at: Option<Timestamp>,
    /// As `aegis.worker.v1.Effect`.
    #[prost(uint32, tag = "3")]
    effect: u32,
    #[prost(string, tag = "4")]
    plugin: String,
    /// As [`CrashesRecord::lives`] was then.
    #[prost(uint64, tag = "5")]
    pub(super) life: u64,
    #[prost(bool, tag = "6")]
    own_process: bool,
}

/// An outcome that was not acknowledged yet.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OutcomeRecord {
    #[prost(string, tag = "1")]
    name: String,
    /// As `aegis.worker.v1.CommandState`.
    #[prost(uint32, tag = "2")]
    state: u32,
    #[prost(bytes = "bytes", tag = "3")]
    response: Bytes,
    #[prost(message, optional, tag = "4")]
    error: Option<ErrorRecord>,
    #[prost(bytes = "bytes", tag = "5")]
    output: Bytes,
    #[prost(uint64, tag = "6")]
    output_cut: u64,
    #[prost(message, optional, tag = "7")]
    started_at: Option<Timestamp>,
    #[prost(message, optional, tag = "8")]
    finished_at: Option<Timestamp>,
    #[prost(uint32, tag = "9")]
    attempt: u32,
}

/// A command that is over and acknowledged.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AcknowledgedRecord {
    /// Its place in the order in which commands were acknowledged.
    #[prost(uint64, tag = "1")]
    pub(super) place: u64,
    /// Seconds since the epoch.
    #[prost(uint64, tag = "2")]
    pub(super) at: u64,
    /// Of what makes two deliveries the same command.
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) content: Bytes,
    #[prost(message, optional, tag = "4")]
    pub(super) outcome: Option<OutcomeRecord>,
    /// Response, output and texts were too long to be remembered.
    #[prost(bool, tag = "5")]
    pub(super) shortened: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ErrorRecord {
    #[prost(string, tag = "1")]
    code: String,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(string, optional, tag = "3")]
    help: Option<String>,
    #[prost(bool, tag = "4")]
    retryable: bool,
    #[prost(uint64, optional, tag = "5")]
    retry_after_ms: Option<u64>,
}

/// How many plugins ran at how many crashes in a row.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CrashesRecord {
    #[prost(btree_map = "string, uint32", tag = "1")]
    pub(super) plugins: std::collections::BTreeMap<String, u32>,
    /// Of the worker, with this file.
    #[prost(uint64, tag = "2")]
    pub(super) lives: u64,
}

impl AcceptedRecord {
    pub(super) fn new(sequence: u64, accepted_at: SystemTime, command: &Command) -> Self {
        Self {
            sequence,
            accepted_at: Some(accepted_at.into()),
            name: command.name.clone(),
            payload: command.payload.clone(),
            not_before: command.not_before.map(Into::into),
            start_by: command.start_by.map(Into::into),
            timeout: command.timeout.and_then(|timeout| timeout.try_into().ok()),
            issuer: command.issuer.clone(),
            traceparent: command.traceparent.clone(),
        }
    }

    pub(super) fn accepted_at(&self) -> SystemTime {
        self.accepted_at
            .and_then(time)
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }

    pub(super) fn command(self, id: CommandId) -> Command {
        Command {
            id,
            name: self.name,
            payload: self.payload,
            not_before: self.not_before.and_then(time),
            start_by: self.start_by.and_then(time),
            timeout: self.timeout.and_then(|timeout| timeout.try_into().ok()),
            issuer: self.issuer,
            traceparent: self.traceparent,
            delivery: 0,
        }
    }
}

impl AttemptRecord {
    pub(super) fn new(attempt: &Attempt, life: u64) -> Self {
        Self {
            life,
            number: attempt.number,
            started_at: Some(attempt.at.into()),
            effect: effect_number(attempt.effect),
            plugin: attempt.plugin.to_string(),
            own_process: attempt.own_process,
        }
    }
}

impl From<AttemptRecord> for Attempt {
    fn from(record: AttemptRecord) -> Self {
        Self {
            number: record.number,
            at: record
                .started_at
                .and_then(time)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            // What cannot be read is treated with the most care.
            effect: effect(record.effect),
            plugin: record.plugin.into(),
            own_process: record.own_process,
        }
    }
}

impl From<&Outcome> for OutcomeRecord {
    fn from(outcome: &Outcome) -> Self {
        Self {
            name: outcome.name.clone(),
            state: number(outcome.state),
            response: outcome.response.clone(),
            error: outcome.error.as_ref().map(ErrorRecord::from),
            output: outcome.output.clone(),
            output_cut: outcome.output_cut,
            started_at: outcome.started_at.map(Into::into),
            finished_at: Some(outcome.finished_at.into()),
            attempt: outcome.attempt,
        }
    }
}

impl OutcomeRecord {
    pub(super) fn outcome(self, id: CommandId) -> Arc<Outcome> {
        Arc::new(Outcome {
            id,
            name: self.name,
            state: state(self.state),
            response: self.response,
            error: self.error.map(HandlerError::from),
            output: self.output,
            output_cut: self.output_cut,
            started_at: self.started_at.and_then(time),
            finished_at: self
                .finished_at
                .and_then(time)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            attempt: self.attempt,
        })
    }

    /// Bytes of what is only there to be read.
    pub(super) fn weight(&self) -> usize {
        let error = self.error.as_ref().map_or(0, |error| {
            error.message.len() + error.help.as_ref().map_or(0, String::len)
        });
        self.response.len() + self.output.len() + error
    }

    /// State and times alone.
    pub(super) fn shorten(&mut self) {
        self.response = Bytes::new();
        self.output = Bytes::new();
        self.error = None;
    }
}

impl From<&HandlerError> for ErrorRecord {
    fn from(error: &HandlerError) -> Self {
        Self {
            code: error.code.to_string(),
            message: error.message.clone(),
            help: error.help.clone(),
            retryable: error.retryable,
            retry_after_ms: error.retry_after_ms,
        }
    }
}

impl From<ErrorRecord> for HandlerError {
    fn from(record: ErrorRecord) -> Self {
        let mut error = Self::new(record.code, record.message);
        error.help = record.help;
        error.retryable = record.retryable;
        error.retry_after_ms = record.retry_after_ms;
        error
    }
}

const fn effect_number(effect: Effect) -> u32 {
    match effect {
        Effect::Read => 1,
        Effect::Idempotent => 2,
        Effect::AtMostOnce => 3,
        Effect::Resumable => 4,
    }
}

const fn effect(number: u32) -> Effect {
    match number {
        1 => Effect::Read,
        2 => Effect::Idempotent,
        4 => Effect::Resumable,
        _ => Effect::AtMostOnce,
    }
}

const fn number(state: FinalState) -> u32 {
    match state {
        FinalState::Succeeded => 5,
        FinalState::Failed => 6,
        FinalState::Rejected => 7,
        FinalState::Expired => 8,
        FinalState::Cancelled => 9,
        FinalState::Unknown => 10,
    }
}

const fn state(number: u32) -> FinalState {
    match number {
        5 => FinalState::Succeeded,
        6 => FinalState::Failed,
        7 => FinalState::Rejected,
        8 => FinalState::Expired,
        9 => FinalState::Cancelled,
        _ => FinalState::Unknown,
    }
}

fn time(timestamp: Timestamp) -> Option<SystemTime> {
    SystemTime::try_from(timestamp).ok()
}

/// Seconds since the epoch.
pub(super) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since: Duration| since.as_secs())
}
