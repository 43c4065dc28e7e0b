//! Whether a config that is in force does the node good.

use std::time::Duration;

use crate::clock::BootInstant;

/// A node may be unwell for so many times the probation before its config is
/// held responsible: a controller's restart takes a while.
const PATIENCE: u32 = 5;

/// How the node is at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Signs {
    /// The node has its place in the cluster.
    pub(crate) in_place: bool,
    /// Why the node says of itself that it is unhealthy.
    pub(crate) unhealthy: Option<String>,
    /// Heartbeats that the controller was told, ever.
    pub(crate) heartbeats: u64,
}

/// What the signs say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet.
    Open,
    /// The node was well for as long as it had to be.
    Survived,
    /// It was unwell for too long.
    Failed(String),
}

/// One config's probation. It begins with the first look.
///
/// Time counts from look to look, and a longer time between two of them, as
/// while the machine is suspended, counts as a quarter of the period.
#[derive(Debug)]
pub(super) struct Probation {
    period: Duration,
    first: Option<Signs>,
    last: BootInstant,
    well: Duration,
    unwell: Duration,
}

impl Probation {
    /// To be well for `period` is to survive.
    pub(super) fn new(period: Duration) -> Self {
        Self {
            period,
            first: None,
            last: BootInstant::default(),
            well: Duration::ZERO,
            unwell: Duration::ZERO,
        }
    }

    /// Takes a look at the node.
    pub(super) fn judge(&mut self, signs: &Signs, now: BootInstant) -> Verdict {
        let Some(first) = &self.first else {
            self.first = Some(signs.clone());
            self.last = now;
            return Verdict::Open;
        };
        let passed = now.since(self.last).min(self.period / 4);
        self.last = now;
        // What ailed the node before is not the config's doing.
        let ailing = signs
            .unhealthy
            .as_ref()
            .filter(|_| first.unhealthy.is_none());
        if signs.in_place && ailing.is_none() {
            self.unwell = Duration::ZERO;
            self.well += passed;
            let heard = signs.heartbeats > first.heartbeats;
            if self.well >= self.period && heard {
                return Verdict::Survived;
            }
            return Verdict::Open;
        }
        self.well = Duration::ZERO;
        self.unwell += passed;
        if self.unwell < self.period * PATIENCE {
            return Verdict::Open;
        }
        let why = match ailing {
            Some(reason) => format!("the node was unhealthy: {reason}"),
            None => "the worker could not reach its controller, be it for this config or because \
                     the controller was away: if that was it, push it again with any change"
                .to_owned(),
        };
        Verdict::Failed(format!("for {:?} after it was applied {why}", self.unwell))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    fn well(heartbeats: u64) -> Signs {
        Signs {
            in_place: true,
            unhealthy: None,
            heartbeats,
        }
    }

    fn away() -> Signs {
        Signs {
            in_place: false,
            ..well(1)
        }
    }

    fn ailing() -> Signs {
        Signs {
            unhealthy: Some("out of memory".to_owned()),
            ..well(9)
        }
    }

    /// Looks every second, and says when a verdict came.
    fn judged(signs: impl Fn(u32) -> Signs) -> (u32, Verdict) {
        let mut probation = Probation::new(MINUTE);
        let begun = BootInstant::after_boot(MINUTE);
        (0..=3600)
            .map(|second| {
                let now = begun + SECOND * second;
                (second, probation.judge(&signs(second), now))
            })
            .find(|(_, verdict)| *verdict != Verdict::Open)
            .unwrap_or((3600, Verdict::Open))
    }

    #[test]
    fn a_node_that_is_well_for_the_period_survives() {
        assert_eq!(judged(|n| well(n.into())), (60, Verdict::Survived));
    }

    #[test]
    fn nothing_is_survived_without_a_heartbeat() {
        assert_eq!(judged(|_| well(7)).1, Verdict::Open);
        let late = judged(|n| well((n > 300).into()));
        assert_eq!(late, (301, Verdict::Survived));
    }

    #[test]
    fn a_node_that_does_not_come_back_has_failed() {
        let (second, verdict) = judged(|n| if n < 10 { well(n.into()) } else { away() });
        assert_eq!(second, 309);
        assert!(matches!(verdict, Verdict::Failed(why) if why.contains("could not reach")));
    }

    #[test]
    fn a_controller_that_is_away_for_a_while_is_no_failure() {
        let (second, verdict) = judged(|n| {
            if (10..200).contains(&n) {
                away()
            } else {
                well(n.into())
            }
        });
        assert_eq!((second, verdict), (259, Verdict::Survived));
    }

    #[test]
    fn a_node_that_turned_unhealthy_has_failed_and_one_that_was_before_has_not() {
        let (second, verdict) = judged(|n| if n == 0 { well(0) } else { ailing() });
        assert_eq!(second, 300);
        assert!(matches!(verdict, Verdict::Failed(why) if why.contains("out of memory")));
        let before = judged(|n| Signs {
            heartbeats: n.into(),
            ..ailing()
        });
        assert_eq!(before, (60, Verdict::Survived));
    }

    #[test]
    fn time_in_suspend_is_not_held_against_the_config() {
        let mut probation = Probation::new(MINUTE);
        let now = BootInstant::after_boot(MINUTE);
        assert_eq!(probation.judge(&well(0), now), Verdict::Open);
        let later = now + MINUTE * 600;
        assert_eq!(probation.judge(&away(), later), Verdict::Open);
        assert_eq!(probation.judge(&well(1), later + SECOND), Verdict::Open);
    }

    proptest! {
        /// Whatever happens, a verdict needs its time: no config survives before
        /// the node was well for the period, and none fails before it was unwell
        /// for five of them.
        #[test]
        fn no_verdict_comes_too_early(
            looks in prop::collection::vec((any::<bool>(), 0_u64..20, 0_u64..2), 1..200),
        ) {
            let mut probation = Probation::new(MINUTE);
            let mut now = BootInstant::after_boot(MINUTE);
            let (mut well_for, mut away_for, mut beats) = (0, 0, 0);
            let mut first = true;
            for (in_place, seconds, beat) in looks {
                now = now + SECOND * u32::try_from(seconds).expect("few");
                beats += beat;
                let passed = if first { 0 } else { seconds.min(15) };
                first = false;
                (well_for, away_for) = if in_place {
                    (well_for + passed, 0)
                } else {
                    (0, away_for + passed)
                };
                let signs = Signs { in_place, unhealthy: None, heartbeats: beats };
                match probation.judge(&signs, now) {
                    Verdict::Open => {}
                    Verdict::Survived => {
                        prop_assert!(well_for >= 60);
                        break;
                    }
                    Verdict::Failed(_) => {
                        prop_assert!(away_for >= 300);
                        break;
                    }
                }
            }
        }
    }
}
