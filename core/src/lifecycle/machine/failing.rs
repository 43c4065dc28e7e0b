//! What is done about each failure.

use std::time::Duration;

use super::{Action, Ended, Link, Machine, Notice, Offer, SessionEnd};
use crate::{
    client::{EnrolmentRefusal, Failure, FailureKind},
    clock::BootInstant,
};

/// The least time between attestations that follow each other without a wait.
const REATTEST_PAUSE: Duration = Duration::from_secs(5);

impl Machine {
    pub(super) fn session_ended(&mut self, end: SessionEnd, now: BootInstant) -> Vec<Action> {
        // A session that is opened and ended at once is no success.
        if let Link::Session { since } = self.link
            && now.since(since) >= self.interval
        {
            self.backoff.succeeded();
        }
        match end {
            SessionEnd::Failed(failure) => match failure.kind {
                FailureKind::Unimplemented if self.link == Link::Opening => {
                    self.unary_only = true;
                    self.link = Link::Unary {
                        next: now,
                        in_flight: true,
                    };
                    let mut actions = vec![
                        Action::Say(Notice::SessionNotServed),
                        Action::Heartbeat {
                            deadline: self.interval,
                        },
                    ];
                    // On a session it is offered: here it is asked for, also by
                    // a node that came back without a new registration.
                    if !std::mem::replace(&mut self.asked_for_config, true) {
                        actions.push(Action::SyncConfig);
                    }
                    actions
                }
                _ => self.step_failed(failure, now),
            },
            SessionEnd::Superseded => {
                let wait = self.backoff.far();
                self.down(now + wait, Notice::Superseded { wait })
            }
            SessionEnd::Evicted => {
                self.token = None;
                self.registered = false;
                let wait = self.backoff.failed();
                self.down(now + wait, Notice::Evicted { wait })
            }
            SessionEnd::Banned => self.over(Ended::Banned),
            SessionEnd::GoingAway { retry_after } => {
                let wait = match retry_after {
                    Some(delay) => self.backoff.told(delay),
                    None => self.backoff.failed(),
                };
                self.down(now + wait, Notice::GoingAway { wait })
            }
        }
    }

    /// A step of the link, or a heartbeat, failed.
    pub(super) fn step_failed(&mut self, failure: Failure, now: BootInstant) -> Vec<Action> {
        if matches!(self.link, Link::Down { .. }) {
            return Vec::new();
        }
        match failure.kind {
            FailureKind::Banned => return self.over(Ended::Banned),
            FailureKind::EnrolmentRefused(refusal) => return self.refused(refusal, failure, now),
            FailureKind::TokenExpired | FailureKind::NodeUnknown => {
                if failure.kind == FailureKind::NodeUnknown {
                    self.registered = false;
                }
                // At once, unless the token is so new that this would go round
                // in circles.
                let stale = self.token.take().is_some_and(|token| {
                    now.since(token.attested_at) >= self.interval.min(REATTEST_PAUSE)
                });
                if stale && failure.retry_after.is_none() {
                    self.renewing = false;
                    self.link = Link::Attesting;
                    return vec![
                        Action::DropLink,
                        Action::Say(Notice::Forgotten),
                        self.attest(),
                    ];
                }
            }
            _ => {}
        }
        self.wait_after(failure, now)
    }

    pub(super) fn wait_after(&mut self, failure: Failure, now: BootInstant) -> Vec<Action> {
        let wait = match failure.retry_after {
            Some(delay) => self.backoff.told(delay),
            None => self.backoff.failed(),
        };
        self.down(now + wait, Notice::Retry { wait })
    }

    pub(super) fn down(&mut self, retry_at: BootInstant, notice: Notice) -> Vec<Action> {
        self.link = Link::Down { retry_at };
        self.renewing = false;
        vec![Action::DropLink, Action::Say(notice)]
    }

    /// An attestation, be it the first or a later one, was refused.
    pub(super) fn refused(
        &mut self,
        refusal: EnrolmentRefusal,
        failure: Failure,
        now: BootInstant,
    ) -> Vec<Action> {
        if !self.admitted {
            return self.over(Ended::NotAdmitted(refusal));
        }
        let demands_token = !matches!(refusal, EnrolmentRefusal::KeyMismatch);
        match self.offer {
            Offer::Key if demands_token && self.settings.has_enrolment_token => {
                self.offer = Offer::Demanded;
                self.token = None;
                self.registered = false;
                self.renewing = false;
                self.link = Link::Attesting;
                return vec![
                    Action::DropLink,
                    Action::Say(Notice::TokenDemanded),
                    self.attest(),
                ];
            }
            Offer::Demanded => self.offer = Offer::Refused,
            _ => {}
        }
        self.registered = false;
        self.wait_after(failure, now)
    }

    pub(super) fn renewed(
        &mut self,
        result: Result<BootInstant, Failure>,
        now: BootInstant,
    ) -> Vec<Action> {
        self.renewing = false;
        match result {
            Ok(expires_at) => {
                self.attested(expires_at, now);
                vec![Action::Say(Notice::Renewed)]
            }
            Err(failure) => match failure.kind {
                FailureKind::Banned => self.over(Ended::Banned),
                FailureKind::EnrolmentRefused(refusal) => self.refused(refusal, failure, now),
                // The old token still lasts: try again before it ends.
                _ => {
                    let wait = match failure.retry_after {
                        Some(delay) => self.backoff.told(delay),
                        None => self.backoff.failed(),
                    };
                    if let Some(token) = &mut self.token {
                        token.renew_at = now + wait;
                        if token.renew_at >= token.expires_at {
                            self.token = None;
                            return self.down(now + wait, Notice::Retry { wait });
                        }
                    }
                    vec![Action::Say(Notice::RenewalFailed { wait })]
                }
            },
        }
    }
}
