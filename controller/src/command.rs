//! The life of a command as the controller sees it, as a pure function: no
//! store, no clock, no session.

use aegis_proto::worker::v1::CommandState;

use crate::time::Millis;

/// What happens to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It was sent to its node.
    Deliver,
    /// The node has it and answers for its outcome.
    Accept,
    /// Its handler runs, for the n-th time.
    Start(u32),
    /// Its node told its outcome, or the controller derived it.
    Finish(FinalState),
    /// Its `start_by` passed.
    Expire,
    /// An operator cancelled it.
    Cancel,
    /// Its node was evicted: nobody will tell its outcome.
    Orphan,
}

/// The states that end a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinalState {
    /// The handler answered.
    Succeeded,
    /// The handler returned an error.
    Failed,
    /// It was never run.
    Rejected,
    /// It was never run: its `start_by` passed.
    Expired,
    /// It was never run, or ended early.
    Cancelled,
    /// It may or may not have taken effect.
    Unknown,
}

impl FinalState {
    /// `None` where the state is not final.
    pub fn of(state: CommandState) -> Option<Self> {
        match state {
            CommandState::Succeeded => Some(Self::Succeeded),
            CommandState::Failed => Some(Self::Failed),
            CommandState::Rejected => Some(Self::Rejected),
            CommandState::Expired => Some(Self::Expired),
            CommandState::Cancelled => Some(Self::Cancelled),
            CommandState::Unknown => Some(Self::Unknown),
            CommandState::Unspecified
            | CommandState::Queued
            | CommandState::Delivered
            | CommandState::Accepted
            | CommandState::Running => None,
        }
    }
}

impl From<FinalState> for CommandState {
    fn from(state: FinalState) -> Self {
        match state {
            FinalState::Succeeded => Self::Succeeded,
            FinalState::Failed => Self::Failed,
            FinalState::Rejected => Self::Rejected,
            FinalState::Expired => Self::Expired,
            FinalState::Cancelled => Self::Cancelled,
            FinalState::Unknown => Self::Unknown,
        }
    }
}

/// How far a command has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Track {
    /// Where it stands.
    pub state: CommandState,
    /// How often it was sent.
    pub delivery: u32,
    /// When it was first sent.
    pub delivered_at: Option<Millis>,
    /// When the newest attempt of its handler began.
    pub started_at: Option<Millis>,
    /// The newest attempt; 0 before the first.
    pub attempt: u32,
}

impl Track {
    /// Takes a step. Returns whether it changed anything.
    ///
    /// Beside what [`step`] says, an open command is sent again and its handler
    /// begins again without another state. An attempt that is told again, or
    /// that a later one has overtaken, changes nothing.
    pub fn take(&mut self, what: Step, at: Millis) -> bool {
        let repeats = match what {
            Step::Deliver => !is_final(self.state),
            Step::Start(attempt) => self.state == CommandState::Running && attempt > self.attempt,
            _ => false,
        };
        match step(self.state, what) {
            Some(next) => self.state = next,
            None if repeats => {}
            None => return false,
        }
        match what {
            Step::Deliver => {
                self.delivery = self.delivery.saturating_add(1);
                self.delivered_at.get_or_insert(at);
            }
            Step::Start(attempt) => {
                self.started_at = Some(at);
                self.attempt = attempt.max(1);
            }
            _ => {}
        }
        true
    }
}

/// The state after a step; `None` where the step changes nothing.
///
/// A final state never changes, and no step leads back: a redelivered command
/// that runs stays running. Only what no node has seen yet expires or is
/// cancelled by the controller alone; after that the node answers for it.
pub fn step(state: CommandState, step: Step) -> Option<CommandState> {
    use CommandState::{
        Accepted, Cancelled, Delivered, Expired, Queued, Running, Unknown, Unspecified,
    };

    if is_final(state) || state == Unspecified {
        return None;
    }
    let next = match (state, step) {
        (_, Step::Finish(end)) => end.into(),
        (Queued, Step::Deliver) => Delivered,
        (Queued | Delivered, Step::Accept) => Accepted,
        (Queued | Delivered | Accepted, Step::Start(_)) => Running,
        (Queued, Step::Expire) => Expired,
        (Queued, Step::Cancel | Step::Orphan) => Cancelled,
        (_, Step::Orphan) => Unknown,
        _ => return None,
    };
    Some(next)
}

/// Whether a command in this state has ended.
pub fn is_final(state: CommandState) -> bool {
    FinalState::of(state).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn steps() -> impl Strategy<Value = Step> {
        let end = prop_oneof![
            Just(FinalState::Succeeded),
            Just(FinalState::Failed),
            Just(FinalState::Rejected),
            Just(FinalState::Expired),
            Just(FinalState::Cancelled),
            Just(FinalState::Unknown),
        ];
        prop_oneof![
            Just(Step::Deliver),
            Just(Step::Accept),
            (0..4_u32).prop_map(Step::Start),
            end.prop_map(Step::Finish),
            Just(Step::Expire),
            Just(Step::Cancel),
            Just(Step::Orphan),
        ]
    }

    proptest! {
        #[test]
        fn a_final_state_never_changes(all in prop::collection::vec(steps(), 0..20)) {
            let mut state = CommandState::Queued;
            let mut end = None;
            for one in all {
                state = step(state, one).unwrap_or(state);
                if let Some(end) = end {
                    prop_assert_eq!(state, end);
                }
                if is_final(state) {
                    end = Some(state);
                }
            }
        }

        #[test]
        fn no_step_leads_back(all in prop::collection::vec(steps(), 0..20)) {
            let mut state = CommandState::Queued;
            for one in all {
                let next = step(state, one).unwrap_or(state);
                prop_assert!(is_final(next) || next as i32 >= state as i32);
                state = next;
            }
        }

        #[test]
        fn a_node_that_has_a_command_answers_for_it(before in prop::collection::vec(steps(), 0..8)) {
            let state = before.into_iter().fold(CommandState::Queued, |s, one| step(s, one).unwrap_or(s));
            if !is_final(state) && state != CommandState::Queued {
                prop_assert_eq!(step(state, Step::Expire), None);
                prop_assert_eq!(step(state, Step::Cancel), None);
            }
        }

        #[test]
        fn a_track_goes_forward_alone(all in prop::collection::vec(steps(), 0..30)) {
            let mut track = Track {
                state: CommandState::Queued,
                delivery: 0,
                delivered_at: None,
                started_at: None,
                attempt: 0,
            };
            for (at, one) in (1..).zip(all) {
                let before = track;
                let changed = track.take(one, at);
                prop_assert_eq!(changed, before != track);
                prop_assert_eq!(track.state, step(before.state, one).unwrap_or(before.state));
                prop_assert!(track.delivery >= before.delivery);
                prop_assert!(track.attempt >= before.attempt);
                prop_assert!(before.delivered_at.is_none() || track.delivered_at == before.delivered_at);
                prop_assert!(!is_final(before.state) || !changed);
                if before.started_at != track.started_at {
                    prop_assert_eq!(track.started_at, Some(at));
                    prop_assert!(before.state != CommandState::Running || track.attempt > before.attempt);
                }
            }
        }

        #[test]
        fn every_open_command_can_still_finish(before in prop::collection::vec(steps(), 0..8)) {
            let state = before.into_iter().fold(CommandState::Queued, |s, one| step(s, one).unwrap_or(s));
            if !is_final(state) {
                prop_assert_eq!(step(state, Step::Finish(FinalState::Succeeded)), Some(CommandState::Succeeded));
            }
        }
    }
}
