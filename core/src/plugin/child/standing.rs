//! How often a plugin's process may end before it is left alone. No clock and
//! no thread: every answer follows from what it is told.

use std::time::{Duration, Instant};

use crate::plugin::restart::{FORGIVEN_AFTER, delay};

/// The record of one plugin.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Crashes in a row during which a handler ran.
    in_row: u32,
    /// Ends in a row that cost waiting.
    recent: u32,
    last: Option<Instant>,
    /// Ends of any kind since the worker began, but those it was asked for.
    ends: u64,
}

/// How a process ended that was not asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself, while a handler ran or not.
    Crashed {
        /// Whether one did.
        ran: bool,
    },
    /// By the worker, because a handler did not end.
    Hung,
    /// Before it was ready.
    NotReady,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Start it again after that.
    Restart(Duration),
    /// Leave it alone: so many crashes in a row.
    Quarantine(u32),
}

impl Standing {
    /// One more end. `limit` crashes in a row are too many; 0: none are.
    pub(super) fn ended(&mut self, how: Ended, limit: u32, now: Instant) -> Next {
        self.ends += 1;
        if self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) > FORGIVEN_AFTER)
        {
            self.recent = 0;
        }
        self.last = Some(now);
        match how {
            // Whoever sent the command chose the pace.
            Ended::Hung => return Next::Restart(Duration::ZERO),
            Ended::Crashed { ran } => {
                self.in_row += u32::from(ran);
                if limit > 0 && self.in_row >= limit && ran {
                    return Next::Quarantine(self.in_row);
                }
                self.recent = self.recent.saturating_add(1);
            }
            Ended::NotReady => {
                self.recent = self.recent.saturating_add(1).max(NO_LONGER_FREE);
            }
        }
        Next::Restart(delay(self.recent))
    }

    /// A call ended well.
    pub(super) fn ended_well(&mut self) {
        self.in_row = 0;
    }

    /// An operator takes the blame.
    pub(super) fn release(&mut self) {
        self.in_row = 0;
        self.recent = 0;
    }

    /// Ends since the worker began.
    pub(super) fn ends(&self) -> u64 {
        self.ends
    }
}

/// The first delay that is one.
const NO_LONGER_FREE: u32 = crate::plugin::restart::FREE_PANICS + 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Ends(Ended),
        Well,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            any::<bool>().prop_map(|ran| Event::Ends(Ended::Crashed { ran })),
            Just(Event::Ends(Ended::Hung)),
            Just(Event::Ends(Ended::NotReady)),
            Just(Event::Well),
        ];
        prop::collection::vec(event, 0..60)
    }

    proptest! {
        #[test]
        fn only_crashes_of_handlers_in_a_row_end_in_quarantine(
            events in events(), limit in 0_u32..5,
        ) {
            let (mut standing, now) = (Standing::default(), Instant::now());
            let mut row = 0;
            for event in events {
                match event {
                    Event::Well => {
                        standing.ended_well();
                        row = 0;
                    }
                    Event::Ends(how) => {
                        let ran = how == Ended::Crashed { ran: true };
                        row += u32::from(ran);
                        let next = standing.ended(how, limit, now);
                        let due = ran && limit > 0 && row >= limit;
                        prop_assert_eq!(matches!(next, Next::Quarantine(_)), due);
                        if how == Ended::Hung {
                            prop_assert_eq!(next, Next::Restart(Duration::ZERO));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn one_that_never_gets_ready_waits_from_the_first_time_and_longer_each_time() {
        let (mut standing, now) = (Standing::default(), Instant::now());
        let mut before = Duration::ZERO;
        for _ in 0..8 {
            let Next::Restart(delay) = standing.ended(Ended::NotReady, 3, now) else {
                panic!("it is no crash");
            };
            assert!(delay > before, "{delay:?} after {before:?}");
            before = delay;
        }
        let later = now + FORGIVEN_AFTER * 2;
        let crash = Ended::Crashed { ran: false };
        assert_eq!(
            standing.ended(crash, 3, later),
            Next::Restart(Duration::ZERO)
        );
        assert_eq!(standing.ends(), 9);
    }
}
