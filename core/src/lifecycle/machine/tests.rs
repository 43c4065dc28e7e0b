use super::*;
use crate::{
    client::{EnrolmentRefusal, Failure, FailureKind},
    config::Loader,
};

const START: BootInstant = BootInstant::after_boot(Duration::from_secs(1000));
const HOUR: Duration = Duration::from_secs(3600);

fn settings(toml: &str) -> Settings {
    Settings::from(&Loader::new().text(toml).load().expect("a good config"))
}

fn fresh() -> Machine {
    Machine::new(
        Settings {
            has_enrolment_token: true,
            ..settings("")
        },
        false,
        1,
    )
}

fn enrolled() -> Machine {
    Machine::new(
        Settings {
            has_enrolment_token: true,
            ..settings("")
        },
        true,
        1,
    )
}

fn failure(kind: FailureKind) -> Failure {
    Failure {
        kind,
        retry_after: None,
    }
}

fn refused(refusal: EnrolmentRefusal) -> Event {
    Event::StepFailed(failure(FailureKind::EnrolmentRefused(refusal)))
}

fn session_failed(kind: FailureKind) -> Event {
    Event::SessionEnded(SessionEnd::Failed(failure(kind)))
}

/// From nothing to an open session at `now`, with a token of an hour.
fn open(machine: &mut Machine, now: BootInstant) {
    machine.tick(now);
    machine.handle(Event::Connected, now);
    machine.handle(
        Event::Attested {
            expires_at: now + HOUR,
        },
        now,
    );
    machine.handle(Event::Registered, now);
    machine.handle(Event::SessionOpened { interval: None }, now);
    assert!(machine.is_live(), "{machine:?}");
}

/// Likewise, with a controller that serves no session.
fn unary(machine: &mut Machine, now: BootInstant) {
    machine.tick(now);
    machine.handle(Event::Connected, now);
    machine.handle(
        Event::Attested {
            expires_at: now + HOUR,
        },
        now,
    );
    machine.handle(Event::Registered, now);
    machine.handle(session_failed(FailureKind::Unimplemented), now);
    machine.handle(Event::HeartbeatDone, now);
    assert!(
        matches!(
            machine.link,
            Link::Unary {
                in_flight: false,
                ..
            }
        ),
        "{machine:?}"
    );
}

fn wait(machine: &Machine, now: BootInstant) -> Duration {
    machine.next_deadline().expect("a deadline").since(now)
}

#[test]
fn a_new_node_connects_attests_registers_and_opens_a_session() {
    let mut machine = fresh();
    let keepalive = Duration::from_secs(30);
    assert_eq!(machine.tick(START), [Action::Connect { keepalive }]);
    assert_eq!(
        machine.handle(Event::Connected, START),
        [Action::Attest { offer_token: true }]
    );
    assert_eq!(
        machine.handle(
            Event::Attested {
                expires_at: START + HOUR
            },
            START
        ),
        [Action::NoteAdmitted, Action::Register]
    );
    assert_eq!(
        machine.handle(Event::Registered, START),
        [Action::SyncConfig, Action::OpenSession]
    );
    assert_eq!(
        machine.handle(Event::SessionOpened { interval: None }, START),
        [Action::Say(Notice::SessionOpen)]
    );
    assert!(machine.is_healthy(START));
}

#[test]
fn an_unreachable_controller_is_tried_for_ever_and_ever_more_slowly() {
    let mut machine = fresh();
    let mut now = START;
    let mut longest = Duration::ZERO;
    for _ in 0..200 {
        assert!(matches!(machine.tick(now)[..], [Action::Connect { .. }]));
        machine.handle(Event::StepFailed(failure(FailureKind::Unreachable)), now);
        let wait = wait(&machine, now);
        assert!(wait <= Duration::from_secs(60));
        longest = longest.max(wait);
        now = now + wait;
    }
    assert!(longest > Duration::from_secs(30));
}

#[test]
fn a_retry_hint_is_obeyed() {
    let mut machine = fresh();
    machine.tick(START);
    machine.handle(Event::Connected, START);
    let retry_after = Some(Duration::from_secs(90));
    machine.handle(
        Event::StepFailed(Failure {
            kind: FailureKind::Busy,
            retry_after,
        }),
        START,
    );
    assert!(wait(&machine, START) >= Duration::from_secs(90));
    assert!(machine.tick(START + Duration::from_secs(89)).is_empty());
}

#[test]
fn a_node_that_was_never_admitted_gives_up_when_it_is_refused() {
    for refusal in [EnrolmentRefusal::TokenSpent, EnrolmentRefusal::Unspecified] {
        let mut machine = fresh();
        machine.tick(START);
        machine.handle(Event::Connected, START);
        assert_eq!(
            machine.handle(refused(refusal), START),
            [
                Action::DropLink,
                Action::Finish(Ended::NotAdmitted(refusal))
            ]
        );
        assert!(machine.handle(Event::Connected, START).is_empty());
    }
}

#[test]
fn a_node_that_was_admitted_attests_with_its_key_alone() {
    let mut machine = enrolled();
    machine.tick(START);
    assert_eq!(
        machine.handle(Event::Connected, START),
        [Action::Attest { offer_token: false }]
    );
}

#[test]
fn a_controller_that_lost_its_memory_is_offered_the_token_once() {
    let mut machine = enrolled();
    machine.tick(START);
    machine.handle(Event::Connected, START);
    let actions = machine.handle(refused(EnrolmentRefusal::TokenMissing), START);
    assert!(
        actions.contains(&Action::Attest { offer_token: true }),
        "{actions:?}"
    );
    let actions = machine.handle(refused(EnrolmentRefusal::TokenSpent), START);
    assert!(
        !actions
            .iter()
            .any(|action| matches!(action, Action::Finish(_))),
        "{actions:?}"
    );
    let mut now = START;
    for _ in 0..5 {
        now = now + wait(&machine, now);
        machine.tick(now);
        assert_eq!(
            machine.handle(Event::Connected, now),
            [Action::Attest { offer_token: false }]
        );
        machine.handle(refused(EnrolmentRefusal::TokenMissing), now);
    }
}

#[test]
fn a_ban_ends_everything_at_any_time() {
    let over = [Action::DropLink, Action::Finish(Ended::Banned)];
    let mut machine = enrolled();
    open(&mut machine, START);
    assert_eq!(
        machine.handle(Event::SessionEnded(SessionEnd::Banned), START),
        over
    );
    let mut machine = enrolled();
    unary(&mut machine, START);
    assert_eq!(
        machine.handle(Event::StepFailed(failure(FailureKind::Banned)), START),
        over
    );
    assert_eq!(machine.next_deadline(), None);
}

#[test]
fn without_a_session_there_are_heartbeats_until_the_next_connection() {
    let mut machine = enrolled();
    unary(&mut machine, START);
    let later = START + Duration::from_secs(30);
    assert!(matches!(
        machine.tick(later)[..],
        [Action::Heartbeat { .. }]
    ));
    assert!(machine.tick(later).is_empty(), "one at a time");
    machine.handle(Event::StepFailed(failure(FailureKind::Unreachable)), later);
    let later = later + wait(&machine, later);
    machine.tick(later);
    assert_eq!(
        machine.handle(Event::Connected, later),
        [Action::OpenSession]
    );
}

#[test]
fn a_node_that_comes_back_without_a_registration_asks_for_its_config_once() {
    let asks = |actions: &[Action]| actions.contains(&Action::SyncConfig);
    let no_session =
        || Event::SessionEnded(SessionEnd::Failed(failure(FailureKind::Unimplemented)));
    let mut machine = enrolled();
    machine.tick(START);
    machine.handle(Event::Connected, START);
    let attested = Event::Attested {
        expires_at: START + HOUR,
    };
    machine.handle(attested, START);
    assert!(asks(&machine.handle(Event::Registered, START)));
    assert!(!asks(&machine.handle(no_session(), START)), "it has asked");

    machine.handle(Event::StepFailed(failure(FailureKind::Unreachable)), START);
    let later = START + wait(&machine, START);
    machine.tick(later);
    assert!(!asks(&machine.handle(Event::Connected, later)));
    assert!(asks(&machine.handle(no_session(), later)));
}

#[test]
fn a_token_is_renewed_before_it_expires_and_the_session_stays() {
    let mut machine = enrolled();
    open(&mut machine, START);
    let renew_at = START + HOUR - Duration::from_secs(120);
    assert_eq!(machine.next_deadline(), Some(renew_at));
    assert_eq!(machine.tick(renew_at), [Action::Renew]);
    assert!(machine.tick(renew_at).is_empty(), "one at a time");
    machine.handle(Event::Renewed(Ok(renew_at + HOUR)), renew_at);
    assert!(machine.is_live());
    assert_eq!(
        machine.next_deadline(),
        Some(renew_at + HOUR - Duration::from_secs(120))
    );
}

#[test]
fn health_turns_red_while_the_old_token_still_lasts() {
    let mut machine = enrolled();
    open(&mut machine, START);
    let mut now = START + HOUR - Duration::from_secs(120);
    assert!(machine.is_healthy(now));
    machine.tick(now);
    machine.handle(Event::Renewed(Err(failure(FailureKind::Unreachable))), now);
    now = START + HOUR - Duration::from_secs(59);
    assert!(!machine.is_healthy(now) && machine.is_live());
}

#[test]
fn health_stays_red_however_often_a_renewal_fails() {
    let mut machine = enrolled();
    open(&mut machine, START);
    let mut now = START + HOUR - Duration::from_secs(120);
    let mut failures = 0;
    while machine.is_live() && now < START + HOUR {
        machine.tick(now);
        machine.handle(Event::Renewed(Err(failure(FailureKind::Unreachable))), now);
        failures += 1;
        let red = now >= START + HOUR - Duration::from_secs(60);
        assert_eq!(machine.is_healthy(now), !red && machine.is_live());
        now = machine.next_deadline().expect("it tries again");
    }
    assert!(failures > 3, "{failures}");
}

#[test]
fn a_token_shorter_than_the_margin_is_not_renewed_all_the_time() {
    let mut machine = enrolled();
    machine.tick(START);
    machine.handle(Event::Connected, START);
    machine.handle(
        Event::Attested {
            expires_at: START + Duration::from_secs(10),
        },
        START,
    );
    machine.handle(Event::Registered, START);
    machine.handle(Event::SessionOpened { interval: None }, START);
    assert_eq!(wait(&machine, START), Duration::from_secs(5));
}

#[test]
fn an_expired_token_takes_an_attestation_and_a_forgotten_node_a_registration_too() {
    for (kind, next) in [
        (FailureKind::TokenExpired, Action::OpenSession),
        (FailureKind::NodeUnknown, Action::Register),
    ] {
        let mut machine = enrolled();
        open(&mut machine, START);
        let now = START + Duration::from_secs(60);
        let actions = machine.handle(session_failed(kind), now);
        assert_eq!(
            actions.last(),
            Some(&Action::Attest { offer_token: false }),
            "{kind:?}"
        );
        let actions = machine.handle(
            Event::Attested {
                expires_at: now + HOUR,
            },
            now,
        );
        assert_eq!(actions, [Action::NoteAdmitted, next]);
    }
}

#[test]
fn a_controller_that_forgets_at_once_does_not_make_it_run_in_circles() {
    let mut machine = enrolled();
    open(&mut machine, START);
    machine.handle(session_failed(FailureKind::NodeUnknown), START);
    assert!(matches!(machine.link, Link::Down { .. }), "{machine:?}");
}

#[test]
fn a_worker_whose_place_was_taken_keeps_away() {
    let mut machine = enrolled();
    open(&mut machine, START);
    machine.handle(Event::SessionEnded(SessionEnd::Superseded), START);
    assert!(wait(&machine, START) >= Duration::from_secs(30));
}

#[test]
fn the_controllers_interval_counts_within_the_local_bounds() {
    let bounds = "[lifecycle]\nmin_heartbeat_interval = \"5s\"\nmax_heartbeat_interval = \"60s\"";
    for (told, interval) in [(1, 5), (40, 40), (600, 60)] {
        let mut machine = Machine::new(settings(bounds), true, 1);
        open(&mut machine, START);
        machine.handle(session_failed(FailureKind::Unreachable), START);
        machine.tick(START + Duration::from_secs(2));
        machine.handle(Event::Connected, START);
        machine.handle(
            Event::SessionOpened {
                interval: Some(Duration::from_secs(told)),
            },
            START,
        );
        assert_eq!(machine.interval(), Duration::from_secs(interval));
        machine.handle(
            Event::IntervalSet {
                interval: Some(Duration::from_secs(7)),
            },
            START,
        );
        assert_eq!(machine.interval(), Duration::from_secs(7));
    }
}

#[test]
fn a_shorter_interval_gets_a_connection_that_notices_death_as_soon() {
    let mut machine = enrolled();
    open(&mut machine, START);
    machine.handle(session_failed(FailureKind::Unreachable), START);
    let now = START + wait(&machine, START);
    machine.tick(now);
    machine.handle(Event::Connected, now);
    let opened = Event::SessionOpened {
        interval: Some(Duration::from_secs(2)),
    };
    let keepalive = Duration::from_secs(2);
    assert_eq!(
        machine.handle(opened.clone(), now),
        [Action::DropLink, Action::Connect { keepalive }]
    );
    assert_eq!(machine.handle(Event::Connected, now), [Action::OpenSession]);
    assert_eq!(
        machine.handle(opened, now),
        [Action::Say(Notice::SessionOpen)]
    );
}

#[test]
fn a_shutdown_drains_flushes_deregisters_and_ends() {
    let mut machine = enrolled();
    open(&mut machine, START);
    let drain_timeout = Some(Duration::from_secs(3));
    assert_eq!(
        machine.handle(Event::ShutdownRequested { drain_timeout }, START),
        [Action::Drain {
            timeout: Duration::from_secs(3)
        }]
    );
    assert!(
        machine
            .handle(
                Event::ShutdownRequested {
                    drain_timeout: None
                },
                START
            )
            .is_empty()
    );
    assert_eq!(machine.handle(Event::Drained, START), [Action::Flush]);
    assert_eq!(
        machine.handle(Event::Flushed, START),
        [Action::DropLink, Action::Deregister]
    );
    assert_eq!(
        machine.handle(Event::Deregistered, START),
        [Action::DropLink, Action::Finish(Ended::Clean)]
    );
}

#[test]
fn a_heartbeat_under_way_is_answered_before_the_worker_deregisters() {
    let answered = [
        Some(Event::HeartbeatDone),
        Some(Event::StepFailed(failure(FailureKind::Unreachable))),
        None,
    ];
    for answer in answered {
        let mut machine = enrolled();
        unary(&mut machine, START);
        let next = machine.next_deadline().expect("a heartbeat is to come");
        machine.tick(next);
        machine.handle(
            Event::ShutdownRequested {
                drain_timeout: None,
            },
            next,
        );
        machine.handle(Event::Drained, next);
        assert!(machine.handle(Event::Flushed, next).is_empty());
        let actions = match answer {
            Some(event) => machine.handle(event, next),
            None => {
                let later = machine.next_deadline().expect("the wait is bounded");
                machine.tick(later)
            }
        };
        assert_eq!(actions, [Action::DropLink, Action::Deregister]);
    }
}

#[test]
fn an_outbox_that_nobody_takes_does_not_hold_up_the_end_for_ever() {
    let mut machine = enrolled();
    open(&mut machine, START);
    machine.handle(
        Event::ShutdownRequested {
            drain_timeout: None,
        },
        START,
    );
    machine.handle(Event::Drained, START);
    let later = machine.next_deadline().expect("the flush is bounded");
    assert_eq!(later.since(START), Duration::from_secs(10));
    assert_eq!(machine.tick(later), [Action::DropLink, Action::Deregister]);
}

#[test]
fn a_link_that_breaks_during_the_drain_is_made_again() {
    let mut machine = enrolled();
    open(&mut machine, START);
    machine.handle(
        Event::ShutdownRequested {
            drain_timeout: None,
        },
        START,
    );
    machine.handle(session_failed(FailureKind::Unreachable), START);
    let later = START + wait(&machine, START);
    assert!(matches!(machine.tick(later)[..], [Action::Connect { .. }]));
}

#[test]
fn a_worker_that_never_reached_its_controller_can_end_at_once() {
    let mut machine = fresh();
    machine.tick(START);
    machine.handle(Event::StepFailed(failure(FailureKind::Unreachable)), START);
    machine.handle(
        Event::ShutdownRequested {
            drain_timeout: None,
        },
        START,
    );
    machine.handle(Event::Drained, START);
    assert_eq!(
        machine.handle(Event::Flushed, START),
        [Action::DropLink, Action::Finish(Ended::Clean)]
    );
}
