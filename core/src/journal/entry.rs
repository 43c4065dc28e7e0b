//! One command in the journal.

use std::{sync::Arc, time::SystemTime};

use bytes::{Bytes, BytesMut};

use super::{Ending, acknowledged::Remembered, content::Content, disk::Stored, id_reused};
use crate::{
    clock,
    command::{Command, CommandId, FinalState, Outcome},
};

/// Payloads up to this size stay until the acknowledgement; a longer one is
/// replaced by its digest as soon as it is no longer needed.
const KEPT_PAYLOAD_BYTES: usize = 1024;

/// Notes of progress are cut here.
const NOTE_BYTES: usize = 1024;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) content: Content,
    name: String,
    /// The revision under which it came in.
    pub(super) accepted: u64,
    /// Its place among all commands that were ever taken.
    pub(super) sequence: u64,
    pub(super) accepted_at: SystemTime,
    /// It is not on disk and never will be: there was no room for it.
    pub(super) volatile: bool,
    /// The writes that must be on disk before a reader may tell that it was
    /// accepted, and its outcome.
    pub(super) accept_write: u64,
    pub(super) outcome_write: u64,
    /// Its place in the order of changes.
    pub(super) revision: u64,
    /// How often it was delivered.
    pub(super) deliveries: u32,
    /// When the handler began, and at which attempt.
    pub(super) running: Option<(SystemTime, u32)>,
    pub(super) progress: Option<(u32, Arc<str>)>,
    /// How often progress was reported.
    pub(super) progressed: u64,
    /// What the handler would be given back after a crash.
    pub(super) checkpoint: Option<Bytes>,
    output: BytesMut,
    output_cut: u64,
    pub(super) outcome: Option<Arc<Outcome>>,
    /// The revision at which the outcome came; 0 where it was there at the last
    /// delivery, so that only the outcome is told.
    pub(super) ended: u64,
    /// Whether a reader told the outcome.
    pub(super) told: bool,
    /// The entry is itself the refusal of a reused id.
    pub(super) is_refusal: bool,
    /// The name of a command that reused the id, to be refused after this.
    pub(super) refuse_next: Option<String>,
}

impl Entry {
    pub(super) fn new(accepted: u64, command: &Arc<Command>, whole: bool) -> Self {
        let content = Content::Whole(Arc::clone(command));
        let content = if whole { content } else { content.digested() };
        Self::with(accepted, content, command.name.clone())
    }

    /// The entry of a command that an earlier life of the worker took.
    pub(super) fn stored(accepted: u64, stored: Stored) -> Self {
        let name = stored.command.name.clone();
        let content = Content::Whole(stored.command);
        let ended = stored.outcome.is_some();
        Self {
            sequence: stored.sequence,
            accepted_at: stored.accepted_at,
            running: stored.attempt.map(|attempt| (attempt.at, attempt.number)),
            checkpoint: stored.checkpoint.filter(|_| !ended),
            outcome: stored.outcome,
            ..Self::with(
                accepted,
                if ended { content.digested() } else { content },
                name,
            )
        }
    }

    /// The entry of a command whose outcome was acknowledged before.
    pub(super) fn again(accepted: u64, command: &Command, remembered: &Remembered) -> Self {
        let outcome = remembered.outcome(command.id, &command.name);
        Self::ended_as(accepted, remembered.content.clone(), outcome)
    }

    /// The entry of a command that came under the id of another one.
    pub(super) fn refusal(accepted: u64, id: CommandId, name: String) -> Self {
        let outcome = Outcome {
            id,
            name,
            state: FinalState::Rejected,
            response: Bytes::new(),
            error: Some(id_reused()),
            output: Bytes::new(),
            output_cut: 0,
            started_at: None,
            finished_at: clock::wall(),
            attempt: 0,
        };
        Self {
            is_refusal: true,
            ..Self::ended_as(accepted, Content::Digest([0; 16]), Arc::new(outcome))
        }
    }

    fn ended_as(accepted: u64, content: Content, outcome: Arc<Outcome>) -> Self {
        Self {
            deliveries: 2,
            outcome: Some(Arc::clone(&outcome)),
            ..Self::with(accepted, content, outcome.name.clone())
        }
    }

    fn with(accepted: u64, content: Content, name: String) -> Self {
        Self {
            content,
            name,
            accepted,
            sequence: 0,
            accepted_at: clock::wall(),
            volatile: false,
            accept_write: 0,
            outcome_write: 0,
            revision: accepted,
            deliveries: 1,
            running: None,
            progress: None,
            progressed: 0,
            checkpoint: None,
            output: BytesMut::new(),
            output_cut: 0,
            outcome: None,
            ended: 0,
            told: false,
            is_refusal: false,
            refuse_next: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Bytes that it keeps of payload, output and response.
    pub(super) fn bytes(&self) -> usize {
        let outcome = self
            .outcome
            .as_ref()
            .map_or(0, |outcome| outcome.output.len() + outcome.response.len());
        self.content.bytes() + self.output.len() + outcome
    }

    /// As in a controller, each attempt begins its progress and output anew.
    pub(super) fn begin(&mut self, started_at: SystemTime, attempt: u32) {
        self.running = Some((started_at, attempt));
        self.progress = None;
        self.output.clear();
        self.output_cut = 0;
    }

    pub(super) fn set_progress(&mut self, permille: u32, note: &str) {
        let mut end = note.len().min(NOTE_BYTES);
        while !note.is_char_boundary(end) {
            end -= 1;
        }
        self.progress = Some((permille, note[..end].into()));
        self.progressed += 1;
    }

    pub(super) fn append(&mut self, data: &[u8], limit: usize) {
        let kept = data.len().min(limit.saturating_sub(self.output.len()));
        self.output.extend_from_slice(&data[..kept]);
        self.output_cut += (data.len() - kept) as u64;
    }

    /// Output from `offset` on, `most` bytes of it.
    pub(super) fn output_from(&self, offset: u64, most: usize) -> Bytes {
        let kept: &[u8] = match &self.outcome {
            Some(outcome) => &outcome.output,
            None => &self.output,
        };
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(kept.len());
        let end = start.saturating_add(most).min(kept.len());
        match &self.outcome {
            Some(outcome) => outcome.output.slice(start..end),
            None => Bytes::copy_from_slice(&kept[start..end]),
        }
    }

    /// `None` if it ended before.
    pub(super) fn finish(
        &mut self,
        id: CommandId,
        ending: Ending,
        revision: u64,
    ) -> Option<Arc<Outcome>> {
        if self.outcome.is_some() {
            return None;
        }
        if self.content.bytes() > KEPT_PAYLOAD_BYTES {
            self.content = self.content.clone().digested();
        }
        // An outcome never ends before it began, wherever the wall clock went.
        let finished_at = match self.running {
            Some((started_at, _)) if started_at > ending.at => started_at,
            _ => ending.at,
        };
        let outcome = Arc::new(Outcome {
            id,
            name: self.name.clone(),
            state: ending.state,
            response: ending.response,
            error: ending.error,
            output: std::mem::take(&mut self.output).freeze(),
            output_cut: self.output_cut,
            started_at: self.running.map(|(at, _)| at),
            finished_at,
            attempt: self.running.map_or(0, |(_, attempt)| attempt),
        });
        self.outcome = Some(Arc::clone(&outcome));
        self.ended = revision;
        self.progress = None;
        self.checkpoint = None;
        Some(outcome)
    }
}
