//! Whatever a controller does and in whatever order, these hold.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::client::{EnrolmentRefusal, Failure, FailureKind};

/// A driver and a controller in one: it keeps the operations that are under
/// way and answers one of them, as told by a byte.
struct World {
    machine: Machine,
    now: BootInstant,
    under_way: BTreeSet<Operation>,
    offered_after_refusal: bool,
    offered: bool,
    has_token: bool,
    registered: bool,
    admitted: bool,
    finished: Option<Ended>,
    ban: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Connect,
    Attest,
    Register,
    Opening,
    Session,
    Heartbeat,
    Renew,
    Drain,
    Flush,
    Deregister,
}

use Operation as Op;

const LINK: [Op; 6] = [
    Op::Connect,
    Op::Attest,
    Op::Register,
    Op::Opening,
    Op::Session,
    Op::Heartbeat,
];

impl World {
    fn new(admitted: bool, seed: u64) -> Self {
        let config = crate::config::Loader::new().load().expect("defaults");
        let settings = Settings {
            has_enrolment_token: true,
            ..Settings::from(&config)
        };
        Self {
            machine: Machine::new(settings, admitted, seed),
            now: BootInstant::after_boot(Duration::from_secs(1)),
            under_way: BTreeSet::new(),
            offered_after_refusal: false,
            offered: false,
            has_token: false,
            registered: false,
            admitted,
            finished: None,
            ban: false,
        }
    }

    fn tick(&mut self) {
        let actions = self.machine.tick(self.now);
        self.carry_out(actions);
    }

    fn tell(&mut self, event: Event) {
        let actions = self.machine.handle(event, self.now);
        self.carry_out(actions);
    }

    fn begin(&mut self, operation: Op) {
        assert!(self.under_way.insert(operation), "{operation:?} twice");
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            assert_eq!(self.finished, None, "{action:?} after the end");
            match action {
                Action::Connect { .. } => self.begin(Op::Connect),
                Action::Attest { offer_token } => {
                    assert!(
                        !(offer_token && self.offered_after_refusal),
                        "offered again"
                    );
                    self.offered = offer_token;
                    self.begin(Op::Attest);
                }
                Action::Renew => {
                    self.offered = false;
                    self.begin(Op::Renew);
                }
                Action::Register => {
                    assert!(self.has_token, "registering without a token");
                    self.begin(Op::Register);
                }
                Action::OpenSession => {
                    assert!(
                        self.registered && self.has_token,
                        "a session before its time"
                    );
                    self.begin(Op::Opening);
                }
                Action::Heartbeat { .. } => {
                    assert!(
                        self.registered && self.has_token,
                        "a heartbeat before its time"
                    );
                    self.begin(Op::Heartbeat);
                }
                Action::DropLink => {
                    self.under_way.retain(|operation| !LINK.contains(operation));
                    self.under_way.remove(&Op::Renew);
                }
                Action::Drain { .. } => self.begin(Op::Drain),
                Action::Flush => self.begin(Op::Flush),
                Action::Deregister => {
                    assert!(self.registered, "leaving without having been there");
                    self.begin(Op::Deregister);
                }
                Action::Finish(ended) => {
                    match ended {
                        Ended::Clean => {}
                        Ended::Banned => assert!(self.ban, "nobody banned it"),
                        Ended::NotAdmitted(_) => assert!(!self.admitted, "it was admitted"),
                    }
                    self.finished = Some(ended);
                }
                Action::NoteAdmitted | Action::SyncConfig | Action::Say(_) => {}
            }
        }
        let link = LINK.iter().filter(|op| self.under_way.contains(op)).count();
        assert!(link <= 1, "{:?} at once", self.under_way);
        let waits = self.machine.next_deadline().is_some() || !self.under_way.is_empty();
        assert!(
            self.finished.is_some() || waits,
            "stranded: {:?}",
            self.machine
        );
    }

    fn failure(&mut self, byte: u8) -> Failure {
        use EnrolmentRefusal::{KeyMismatch, TokenMissing, TokenSpent, Unspecified};
        let kind = match byte % 12 {
            0 => FailureKind::Unreachable,
            1 => FailureKind::TimedOut,
            2 => FailureKind::Busy,
            3 | 4 => FailureKind::TokenExpired,
            5 | 6 => FailureKind::NodeUnknown,
            7 => FailureKind::Refused,
            8 => FailureKind::Malformed,
            9 => FailureKind::EnrolmentRefused(TokenMissing),
            10 => FailureKind::EnrolmentRefused(if byte < 128 { TokenSpent } else { KeyMismatch }),
            _ if byte > 250 => FailureKind::Banned,
            _ => FailureKind::EnrolmentRefused(Unspecified),
        };
        self.ban |= kind == FailureKind::Banned;
        let retry_after = byte
            .is_multiple_of(5)
            .then(|| Duration::from_secs(byte.into()));
        Failure { kind, retry_after }
    }

    /// Time passes, or something that is under way has an end.
    fn step(&mut self, choice: u8, byte: u8) {
        if self.finished.is_some() {
            return;
        }
        let operations: Vec<Op> = self.under_way.iter().copied().collect();
        if operations.is_empty() || choice.is_multiple_of(3) {
            let next = self.machine.next_deadline();
            self.now = next
                .unwrap_or(self.now + Duration::from_secs(1))
                .max(self.now);
            self.tick();
            return;
        }
        let operation = operations[usize::from(choice) % operations.len()];
        self.under_way.remove(&operation);
        let lifetime = Duration::from_secs(u64::from(byte) * 10);
        let expires_at = self.now + lifetime;
        let failed = byte.is_multiple_of(2);
        let event = match operation {
            Op::Drain => Event::Drained,
            Op::Flush => Event::Flushed,
            Op::Deregister => Event::Deregistered,
            Op::Opening if !failed => {
                self.under_way.insert(Op::Session);
                Event::SessionOpened {
                    interval: Some(Duration::from_secs(byte.into())),
                }
            }
            Op::Opening if byte.is_multiple_of(4) => {
                Event::SessionEnded(SessionEnd::Failed(Failure {
                    kind: FailureKind::Unimplemented,
                    retry_after: None,
                }))
            }
            Op::Opening | Op::Session => {
                let end = match byte % 6 {
                    0 => SessionEnd::Superseded,
                    1 => SessionEnd::Evicted,
                    2 => SessionEnd::GoingAway {
                        retry_after: Some(Duration::from_secs(5)),
                    },
                    _ => SessionEnd::Failed(self.failure(byte)),
                };
                Event::SessionEnded(end)
            }
            Op::Renew if failed => {
                let failure = self.failure(byte / 2);
                Event::Renewed(Err(failure))
            }
            Op::Renew => Event::Renewed(Ok(expires_at)),
            _ if failed => {
                if operation == Op::Attest && self.offered && self.admitted {
                    self.offered_after_refusal = true;
                }
                let failure = self.failure(byte / 2);
                if !matches!(failure.kind, FailureKind::EnrolmentRefused(_)) {
                    self.offered_after_refusal = false;
                }
                Event::StepFailed(failure)
            }
            Op::Connect => Event::Connected,
            Op::Attest => {
                self.has_token = true;
                self.admitted = true;
                self.offered_after_refusal = false;
                Event::Attested { expires_at }
            }
            Op::Register => {
                self.registered = true;
                Event::Registered
            }
            Op::Heartbeat => Event::HeartbeatDone,
        };
        self.tell(event);
    }
}

proptest! {
    #[test]
    fn a_worker_is_never_stranded_and_always_can_end(
        admitted: bool,
        seed: u64,
        steps in prop::collection::vec((any::<u8>(), any::<u8>()), 0..200),
        last in prop::collection::vec((any::<u8>(), any::<u8>()), 100),
    ) {
        let mut world = World::new(admitted, seed);
        world.tick();
        for (choice, byte) in steps {
            world.step(choice, byte);
        }
        if world.finished.is_none() {
            world.tell(Event::ShutdownRequested { drain_timeout: None });
        }
        for (choice, byte) in last {
            world.step(choice, byte);
        }
        // What is still under way ends, and time passes.
        for _ in 0..20 {
            for operation in [Op::Drain, Op::Flush, Op::Deregister] {
                if world.finished.is_none() && world.under_way.remove(&operation) {
                    world.tell(match operation {
                        Op::Drain => Event::Drained,
                        Op::Flush => Event::Flushed,
                        _ => Event::Deregistered,
                    });
                }
            }
        }
        prop_assert!(world.finished.is_some(), "no end: {:?}", world.machine);
    }

    #[test]
    fn no_wait_is_longer_than_a_minute_unless_the_controller_says_so(
        seed: u64,
        kinds in prop::collection::vec(0_u8..3, 1..100),
    ) {
        let mut world = World::new(true, seed);
        for kind in kinds {
            world.tick();
            let kind = [FailureKind::Unreachable, FailureKind::TimedOut, FailureKind::Refused][usize::from(kind)];
            world.under_way.clear();
            world.tell(Event::StepFailed(Failure { kind, retry_after: None }));
            let next = world.machine.next_deadline().expect("another attempt");
            prop_assert!(next.since(world.now) <= Duration::from_secs(60));
            world.now = next;
        }
    }
}
