//! The commands that are over and acknowledged, remembered so that a late
//! redelivery is answered and not run.

use std::{
    collections::{VecDeque, hash_map},
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;

use super::{content::Content, disk::Write, entry::Entry, record::AcknowledgedRecord};
use crate::{
    command::{CommandId, FinalState, HandlerError, Outcome},
    id_map::IdMap,
};

/// Whole outcomes are remembered up to this many bytes in all, newest first.
/// Beyond it the state and the times remain.
const WHOLE_BYTES: usize = 1024 * 1024;

/// What an outcome weighs beside its response, output and texts.
const OUTCOME_BYTES: usize = 256;

#[derive(Debug)]
pub(super) struct Acknowledged {
    limit: usize,
    commands: IdMap<Remembered>,
    /// Oldest first.
    order: VecDeque<CommandId>,
    /// Those that are remembered whole, oldest first.
    whole: VecDeque<(CommandId, usize)>,
    whole_bytes: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Remembered {
    pub(super) content: Content,
    kept: Kept,
    /// How often it stands in the queue of those that are remembered whole.
    places: u32,
}

#[derive(Debug, Clone)]
enum Kept {
    Whole(Arc<Outcome>),
    State {
        state: FinalState,
        started_at: Option<SystemTime>,
        finished_at: SystemTime,
    },
}

impl Acknowledged {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            commands: IdMap::default(),
            order: VecDeque::new(),
            whole: VecDeque::new(),
            whole_bytes: 0,
        }
    }

    pub(super) fn recall(&self, id: CommandId) -> Option<&Remembered> {
        self.commands.get(&id)
    }

    /// Those that are remembered, oldest first.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (CommandId, Arc<Outcome>)> {
        self.order.iter().filter_map(|id| {
            let remembered = self.commands.get(id)?;
            Some((*id, remembered.outcome(*id, "")))
        })
    }

    pub(super) fn remember(&mut self, id: CommandId, entry: Entry) {
        let Some(outcome) = entry.outcome else { return };
        let bytes = OUTCOME_BYTES
            + outcome.name.len()
            + outcome.response.len()
            + outcome.output.len()
            + outcome
                .error
                .as_ref()
                .map_or(0, |error| error.message.len());
        let remembered = Remembered {
            content: entry.content.digested(),
            kept: Kept::Whole(outcome),
            places: 1,
        };
        match self.commands.entry(id) {
            hash_map::Entry::Occupied(mut slot) => {
                let places = slot.get().places + 1;
                slot.insert(Remembered {
                    places,
                    ..remembered
                });
            }
            hash_map::Entry::Vacant(slot) => {
                slot.insert(remembered);
                self.order.push_back(id);
            }
        }
        self.whole.push_back((id, bytes));
        self.whole_bytes += bytes;
        while self.whole_bytes > WHOLE_BYTES {
            let Some((id, bytes)) = self.whole.pop_front() else {
                break;
            };
            self.whole_bytes -= bytes;
            // An id that was acknowledged twice is in the queue twice; only its
            // last place counts.
            if let Some(remembered) = self.commands.get_mut(&id) {
                remembered.places -= 1;
                if remembered.places == 0 {
                    remembered.kept.shrink();
                }
            }
        }
        while self.order.len() > self.limit {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.commands.remove(&oldest);
        }
    }
}

impl Remembered {
    /// `None` where the entry has no outcome.
    pub(super) fn of(entry: Entry) -> Option<Self> {
        Some(Self {
            kept: Kept::Whole(entry.outcome?),
            content: entry.content.digested(),
            places: 0,
        })
    }

    /// From the journal's file.
    pub(super) fn read(id: CommandId, record: AcknowledgedRecord) -> Self {
        let digest = <[u8; 16]>::try_from(record.content.as_ref());
        let outcome = record.outcome.unwrap_or_default().outcome(id);
        let mut kept = Kept::Whole(outcome);
        if record.shortened {
            kept.shrink();
        }
        Self {
            content: Content::Digest(digest.unwrap_or_default()),
            kept,
            places: 0,
        }
    }

    /// For the journal's file; `None` where that has it already.
    pub(super) fn write(&self) -> Option<Write> {
        match (&self.content, &self.kept) {
            (Content::Digest(content), Kept::Whole(outcome)) => Some(Write::Acknowledge {
                content: *content,
                outcome: Arc::clone(outcome),
            }),
            _ => None,
        }
    }

    /// The outcome to answer a redelivery with. Where only the state is left,
    /// response and output are empty and the error says so.
    pub(super) fn outcome(&self, id: CommandId, name: &str) -> Arc<Outcome> {
        match &self.kept {
            Kept::Whole(outcome) => Arc::clone(outcome),
            Kept::State {
                state,
                started_at,
                finished_at,
            } => Arc::new(Outcome {
                id,
                name: name.to_owned(),
                state: *state,
                response: Bytes::new(),
                error: Some(HandlerError::new(
                    "outcome-forgotten",
                    "this command ended before and its outcome was acknowledged; only its state \
                     and times are still known",
                )),
                output: Bytes::new(),
                output_cut: 0,
                started_at: *started_at,
                finished_at: *finished_at,
                attempt: u32::from(started_at.is_some()),
            }),
        }
    }
}

impl Kept {
    fn shrink(&mut self) {
        if let Self::Whole(outcome) = self {
            *self = Self::State {
                state: outcome.state,
                started_at: outcome.started_at,
                finished_at: outcome.finished_at,
            };
        }
    }
}
