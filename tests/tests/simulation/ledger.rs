//! What truly happened, which no crash undoes, and what is never to happen.

use std::{collections::BTreeMap, time::SystemTime};

use aegis_controller::{command::is_final, store::CommandRecord};
use aegis_plugin_api::Effect;
use aegis_proto::{CommandId, worker::v1::CommandState};

use super::plugin::Kind;

/// Of one schedule.
#[derive(Debug, Default)]
pub struct Ledger {
    pub commands: BTreeMap<CommandId, Entry>,
    /// What was seen that was never to happen.
    pub broken: Vec<String>,
    /// Lives of the worker that ended without an orderly end, and journals that
    /// were lost.
    pub crashes: u32,
    /// What came since, and twice, may be taken for what was in it.
    pub journal_lost: bool,
    /// What runs while draining ran without being written down, if it came.
    pub disk_refused: bool,
}

/// One command that was submitted, whether or not the answer was heard.
#[derive(Debug)]
pub struct Entry {
    pub kind: Kind,
    pub not_before: Option<SystemTime>,
    pub start_by: Option<SystemTime>,
    /// Its submission was answered with yes.
    pub promised: bool,
    /// [`Ledger::crashes`] when it was submitted.
    pub crashes_before: u32,
    pub starts: u32,
    pub effects: u32,
    /// Its handler was told to abandon its work.
    pub abandoned: bool,
    /// What it last kept, and was told that it is kept.
    pub checkpoint: u8,
    /// What the controller first called its end.
    pub end: Option<CommandRecord>,
}

impl Entry {
    pub fn new(kind: Kind, crashes_before: u32) -> Self {
        Self {
            kind,
            not_before: None,
            start_by: None,
            promised: false,
            crashes_before,
            starts: 0,
            effects: 0,
            abandoned: false,
            checkpoint: 0,
            end: None,
        }
    }
}

impl Ledger {
    pub fn breach(&mut self, what: impl Into<String>) {
        self.broken.push(what.into());
    }

    /// A handler begins.
    pub fn starts(&mut self, id: CommandId, attempt: u32, now: SystemTime, latest: SystemTime) {
        let Some(entry) = self.commands.get_mut(&id) else {
            return self.breach(format!("{id}, which nobody submitted, begins"));
        };
        entry.starts += 1;
        let starts = entry.starts;
        let mut wrong = Vec::new();
        if entry.kind.effect() == Effect::AtMostOnce && starts > 1 {
            wrong.push("begins again, and may run once at the most".to_owned());
        }
        if attempt == 0 || attempt > 3 {
            wrong.push(format!("begins at attempt {attempt}"));
        }
        if entry.start_by.is_some_and(|by| now > by) {
            wrong.push("begins after its start_by".to_owned());
        }
        if entry.not_before.is_some_and(|from| latest < from) {
            wrong.push("begins before its not_before".to_owned());
        }
        if entry.end.is_some() && entry.kind.effect() == Effect::AtMostOnce {
            wrong.push("begins after its end".to_owned());
        }
        for wrong in wrong {
            self.breach(format!("{id} {wrong}"));
        }
    }

    /// A handler takes effect.
    pub fn takes_effect(&mut self, id: CommandId) {
        let Some(entry) = self.commands.get_mut(&id) else {
            return;
        };
        entry.effects += 1;
        if entry.kind.effect() == Effect::AtMostOnce && entry.effects > 1 {
            self.breach(format!("{id} took effect twice"));
        }
    }

    /// What the controller says of a command now.
    pub fn look(&mut self, command: CommandRecord) {
        let Some(entry) = self.commands.get_mut(&command.id) else {
            return;
        };
        match &entry.end {
            Some(end) => {
                let same = end.state == command.state
                    && end.finished_at == command.finished_at
                    && end.attempt == command.attempt
                    && end.error == command.error;
                if !same {
                    let was = end.state;
                    let what = format!("{} was {was:?} and is {:?}", command.id, command.state);
                    self.breach(what);
                }
            }
            None if is_final(command.state) => entry.end = Some(command),
            None => {}
        }
    }

    /// Once all is over.
    pub fn judge(&mut self) {
        let mut wrong = Vec::new();
        for (id, entry) in &self.commands {
            let kind = entry.kind;
            let Some(end) = &entry.end else {
                if entry.promised {
                    wrong.push(format!("{id} ({kind:?}) has no outcome"));
                }
                continue;
            };
            let mut say = |what: &str| {
                let code = end.error.as_ref().map_or("", |error| error.code.as_str());
                wrong.push(format!(
                    "{id} ({kind:?}) is {:?} {code:?} at attempt {}, {what}: {} starts, {} effects",
                    end.state, end.attempt, entry.starts, entry.effects
                ));
            };
            let unrecorded = self.disk_refused && kind.runs_while_draining();
            match end.state {
                CommandState::Succeeded if entry.effects == 0 => say("and took no effect"),
                CommandState::Rejected | CommandState::Expired
                    if entry.effects > 0 && !unrecorded =>
                {
                    say("and took effect");
                }
                CommandState::Expired if entry.start_by.is_none() => say("and had no start_by"),
                CommandState::Cancelled if end.attempt == 0 && entry.effects > 0 && !unrecorded => {
                    say("before it began, and took effect");
                }
                CommandState::Cancelled if is_for_shutdown(end) && !is_retryable(end) => {
                    say("and may not be tried again, though the worker only shut down");
                }
                CommandState::Unknown
                    if !entry.abandoned
                        && self.crashes == entry.crashes_before
                        && !self.journal_lost =>
                {
                    say("though nothing crashed and nothing was given up");
                }
                // What changes nothing fails where each of its runs was
                // interrupted, be it before its handler was called.
                CommandState::Failed if entry.starts == 0 && entry.kind != Kind::Read => {
                    say("and never began");
                }
                _ => {}
            }
        }
        self.broken.extend(wrong);
    }
}

/// Its worker ended it on its way out.
fn is_for_shutdown(end: &CommandRecord) -> bool {
    let error = end.error.as_ref();
    error.is_some_and(|error| error.message.starts_with("the worker shut down"))
}

fn is_retryable(end: &CommandRecord) -> bool {
    end.error.as_ref().is_some_and(|error| error.retryable)
}
