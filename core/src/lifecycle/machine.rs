//! The life of a node as a pure state machine: events go in, actions come out.
//!
//! No I/O, no clock, no task. Whoever drives it does what the actions say,
//! tells what came of it, and calls [`Machine::tick`] when
//! [`Machine::next_deadline`] has passed. Results of an operation that a later
//! [`Action::DropLink`] ended must not be told any more.

mod action;
mod ending;
mod failing;
mod link;
mod settings;

use std::time::Duration;

pub(crate) use action::{Action, Ended, Event, Notice, SessionEnd};
use ending::Ending;
use link::Link;
pub(crate) use link::LinkStage;
pub(crate) use settings::Settings;

use super::backoff::Backoff;
use crate::clock::BootInstant;

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine {
    settings: Settings,
    backoff: Backoff,
    link: Link,
    ending: Ending,
    token: Option<TokenLife>,
    /// The controller knows the node, as far as can be told from here.
    registered: bool,
    /// Some controller has admitted this identity, now or in an earlier life.
    admitted: bool,
    /// What to do about the enrolment token in the next attestation.
    offer: Offer,
    /// A renewal runs beside a live link.
    renewing: bool,
    /// The session was found not to be served on this connection.
    unary_only: bool,
    /// The controller was asked for the node's config on this connection.
    asked_for_config: bool,
    /// The interval of the pushed config.
    pushed_interval: Option<Duration>,
    /// The interval of the last welcome.
    told_interval: Option<Duration>,
    interval: Duration,
    /// What the present connection's keepalive was made for.
    keepalive: Duration,
}

#[derive(Debug, Clone, Copy)]
struct TokenLife {
    attested_at: BootInstant,
    expires_at: BootInstant,
    /// When to ask for the next one.
    renew_at: BootInstant,
    /// From when on the node is not healthy: half of the margin before the end,
    /// however often a renewal fails.
    healthy_until: BootInstant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offer {
    /// The key speaks for itself.
    Key,
    /// First enrolment.
    First,
    /// The controller has forgotten the node and demands a token.
    Demanded,
    /// It was offered on demand and refused: it will not be offered again
    /// before an attestation succeeded.
    Refused,
}

impl Machine {
    /// `admitted` says whether some controller has admitted this identity
    /// before; `seed` is for jitter.
    pub(crate) fn new(settings: Settings, admitted: bool, seed: u64) -> Self {
        Self {
            backoff: Backoff::new(seed, settings.max_backoff),
            link: Link::Down {
                retry_at: BootInstant::default(),
            },
            ending: Ending::No,
            token: None,
            registered: false,
            admitted,
            offer: if admitted { Offer::Key } else { Offer::First },
            renewing: false,
            unary_only: false,
            asked_for_config: false,
            pushed_interval: None,
            told_interval: None,
            interval: settings.heartbeat_interval,
            keepalive: settings.heartbeat_interval,
            settings,
        }
    }

    /// The heartbeat interval in force.
    pub(crate) const fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether the worker is on its way out.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending != Ending::No
    }

    /// Whether the controller hears from this node.
    pub(crate) const fn is_live(&self) -> bool {
        matches!(self.link, Link::Session { .. } | Link::Unary { .. })
    }

    /// Whether the node keeps its place in the cluster. It turns false while
    /// the old token still lasts: half of the margin before its end.
    pub(crate) fn is_healthy(&self, now: BootInstant) -> bool {
        self.healthy_until().is_some_and(|until| now < until)
    }

    /// When health turns red by the passing of time alone; `None` if it is.
    pub(crate) fn healthy_until(&self) -> Option<BootInstant> {
        let token = self.token.filter(|_| self.is_live())?;
        Some(token.healthy_until)
    }

    /// When the token ends that the node has now.
    pub(crate) fn token_expires_at(&self) -> Option<BootInstant> {
        self.token.map(|token| token.expires_at)
    }

    /// How far the worker has come towards its controller.
    pub(crate) const fn stage(&self) -> LinkStage {
        self.link.stage()
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next_deadline(&self) -> Option<BootInstant> {
        if matches!(self.ending, Ending::Leaving | Ending::Over) {
            return None;
        }
        let link = match self.link {
            Link::Down { retry_at } => Some(retry_at),
            Link::Unary {
                next,
                in_flight: false,
            } => Some(next),
            _ => None,
        };
        let renewal = self.token.filter(|_| self.is_live() && !self.renewing);
        link.into_iter()
            .chain(renewal.map(|token| token.renew_at))
            .chain(self.ending.deadline())
            .min()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: BootInstant) -> Vec<Action> {
        let mut actions = Vec::new();
        if self
            .ending
            .deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            actions.extend(self.take_leave());
        }
        if matches!(self.ending, Ending::Leaving | Ending::Over) {
            return actions;
        }
        match self.link {
            Link::Down { retry_at } if retry_at <= now => {
                self.link = Link::Connecting;
                self.keepalive = self.interval;
                actions.push(Action::Connect {
                    keepalive: self.keepalive,
                });
            }
            Link::Unary {
                next,
                in_flight: false,
            } if next <= now => {
                self.link = Link::Unary {
                    next,
                    in_flight: true,
                };
                actions.push(Action::Heartbeat {
                    deadline: self.interval,
                });
            }
            _ => {}
        }
        if self.is_live() && !self.renewing && self.token.is_some_and(|token| token.renew_at <= now)
        {
            self.renewing = true;
            actions.push(Action::Renew);
        }
        actions
    }

    /// Something has happened.
    pub(crate) fn handle(&mut self, event: Event, now: BootInstant) -> Vec<Action> {
        match self.ending {
            Ending::Leaving if event == Event::Deregistered => return self.over(Ended::Clean),
            Ending::Leaving | Ending::Over => return Vec::new(),
            Ending::Parting { .. }
                if matches!(event, Event::HeartbeatDone | Event::StepFailed(_)) =>
            {
                return self.take_leave();
            }
            _ => {}
        }
        match event {
            Event::Connected if self.link == Link::Connecting => {
                self.unary_only = false;
                self.asked_for_config = false;
                self.proceed(now)
            }
            Event::Attested { expires_at } if self.link == Link::Attesting => {
                self.attested(expires_at, now);
                let mut actions = vec![Action::NoteAdmitted];
                actions.extend(self.proceed(now));
                actions
            }
            Event::Registered if self.link == Link::Registering => {
                self.registered = true;
                self.asked_for_config = true;
                let mut actions = vec![Action::SyncConfig];
                actions.extend(self.proceed(now));
                actions
            }
            Event::SessionOpened { interval } if self.link == Link::Opening => {
                self.told_interval = interval;
                self.set_interval();
                self.session_opened(now)
            }
            Event::SessionEnded(end)
                if matches!(self.link, Link::Opening | Link::Session { .. }) =>
            {
                self.session_ended(end, now)
            }
            Event::HeartbeatDone if matches!(self.link, Link::Unary { .. }) => {
                self.backoff.succeeded();
                let next = now + self.backoff.spread(self.interval);
                self.link = Link::Unary {
                    next,
                    in_flight: false,
                };
                Vec::new()
            }
            Event::TokenRenewed { expires_at } => {
                self.attested(expires_at, now);
                Vec::new()
            }
            Event::Renewed(result) if self.renewing => self.renewed(result, now),
            Event::IntervalSet { interval } => {
                self.pushed_interval = interval;
                self.set_interval();
                Vec::new()
            }
            Event::StatusChanged => {
                if let Link::Unary {
                    next,
                    in_flight: false,
                } = &mut self.link
                {
                    *next = now;
                }
                Vec::new()
            }
            Event::StepFailed(failure) => self.step_failed(failure, now),
            Event::ShutdownRequested { drain_timeout } => self.begin_end(drain_timeout),
            Event::Drained if self.ending == Ending::Draining => {
                self.ending = Ending::Flushing {
                    until: now + self.settings.flush_timeout,
                };
                vec![Action::Flush]
            }
            Event::Flushed => match (self.ending, self.link) {
                (
                    Ending::Flushing { until },
                    Link::Unary {
                        in_flight: true, ..
                    },
                ) => {
                    self.ending = Ending::Parting { until };
                    Vec::new()
                }
                (Ending::Flushing { .. }, _) => self.take_leave(),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// The next step towards a live link, over a connection that stands.
    fn proceed(&mut self, now: BootInstant) -> Vec<Action> {
        if self.token.is_none_or(|token| now >= token.expires_at) {
            self.link = Link::Attesting;
            return vec![self.attest()];
        }
        if !self.registered {
            self.link = Link::Registering;
            return vec![Action::Register];
        }
        if self.unary_only {
            self.link = Link::Unary {
                next: now,
                in_flight: true,
            };
            return vec![Action::Heartbeat {
                deadline: self.interval,
            }];
        }
        self.link = Link::Opening;
        vec![Action::OpenSession]
    }

    fn attest(&self) -> Action {
        Action::Attest {
            offer_token: matches!(self.offer, Offer::First | Offer::Demanded),
        }
    }

    fn attested(&mut self, expires_at: BootInstant, now: BootInstant) {
        let margin = self
            .settings
            .token_refresh_margin
            .min(expires_at.since(now) / 2);
        self.token = Some(TokenLife {
            attested_at: now,
            expires_at,
            renew_at: expires_at - margin,
            healthy_until: expires_at - margin / 2,
        });
        self.admitted = true;
        self.offer = Offer::Key;
        self.renewing = false;
    }

    /// A pushed config knows this node better than a welcome does.
    fn set_interval(&mut self) {
        let wanted = self.pushed_interval.or(self.told_interval);
        self.interval = self
            .settings
            .bound(wanted.unwrap_or(self.settings.heartbeat_interval));
    }

    fn session_opened(&mut self, now: BootInstant) -> Vec<Action> {
        // A keepalive made for a longer interval would notice a dead
        // connection too late. This happens once, as the new one is kept.
        if self.interval < self.keepalive {
            self.link = Link::Down { retry_at: now };
            let mut actions = vec![Action::DropLink];
            actions.extend(self.tick(now));
            return actions;
        }
        self.link = Link::Session { since: now };
        vec![Action::Say(Notice::SessionOpen)]
    }

    fn begin_end(&mut self, drain_timeout: Option<Duration>) -> Vec<Action> {
        if self.ending != Ending::No {
            return Vec::new();
        }
        self.ending = Ending::Draining;
        let timeout = drain_timeout.unwrap_or(self.settings.drain_timeout);
        vec![Action::Drain { timeout }]
    }

    /// Nothing is left to say but goodbye.
    fn take_leave(&mut self) -> Vec<Action> {
        let connected = self.is_live() || self.link == Link::Opening;
        if connected && self.registered && self.token.is_some() {
            self.ending = Ending::Leaving;
            self.renewing = false;
            return vec![Action::DropLink, Action::Deregister];
        }
        let registered = self.registered;
        let mut actions = self.over(Ended::Clean);
        if registered {
            actions.insert(0, Action::Say(Notice::LeftUnheard));
        }
        actions
    }

    fn over(&mut self, ended: Ended) -> Vec<Action> {
        self.ending = Ending::Over;
        vec![Action::DropLink, Action::Finish(ended)]
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
