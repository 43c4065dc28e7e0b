use std::collections::HashMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::command::{CancelReason, HandlerError};

struct Deaf;

impl CallSink for Deaf {
    fn progress(&self, _: u32, _: &str) {}
    fn output(&self, _: &[u8]) {}
    fn save_checkpoint(&self, _: &[u8]) -> Result<(), HandlerError> {
        Ok(())
    }
    fn checkpoint(&self) -> Option<Bytes> {
        None
    }
    fn complete(&self, _: Completion) {}
    fn cancelled(&self) -> Option<CancelReason> {
        None
    }
}

fn insert(calls: &Calls<()>, number: InstanceNumber) -> CallId {
    calls
        .insert(
            Some((number, ())),
            CommandId::from_uuid(uuid::Uuid::nil()),
            Arc::new(Deaf),
        )
        .expect("room")
}

fn done() -> Completion {
    Completion::Succeeded(Bytes::from_static(b"{}"))
}

#[test]
fn a_second_completion_is_double_and_one_after_giving_up_is_late() {
    let (calls, number) = (Calls::new(), InstanceNumber::next());
    let id = insert(&calls, number);
    assert!(calls.pending(id).is_none());
    assert!(calls.complete(number, id, done()).expect("live").is_some());
    assert_eq!(
        calls.complete(number, id, done()).err(),
        Some(Stray::Double)
    );

    let id = insert(&calls, number);
    assert!(calls.pending(id).is_none());
    assert!(calls.abandon(id).is_some());
    assert_eq!(calls.complete(number, id, done()).err(), Some(Stray::Late));
    assert_eq!(calls.live_of(number), 0);
}

#[test]
fn an_owner_is_dropped_when_the_table_can_be_asked_again() {
    /// As an instance whose end writes to the log.
    #[derive(Clone)]
    struct Talkative(Arc<LastWords>);
    struct LastWords(std::sync::Weak<Calls<Talkative>>, Mutex<Option<CallId>>);
    impl Drop for LastWords {
        fn drop(&mut self) {
            if let (Some(calls), Some(id)) = (self.0.upgrade(), *lock(&self.1)) {
                let shard = calls.shards[shard_of(id)].try_lock();
                assert!(shard.is_ok(), "dropped under the lock");
            }
        }
    }
    let calls = Arc::new(Calls::new());
    let number = InstanceNumber::next();
    let open = || {
        let owner = Talkative(Arc::new(LastWords(
            Arc::downgrade(&calls),
            Mutex::default(),
        )));
        let command = CommandId::from_uuid(uuid::Uuid::nil());
        let id = calls
            .insert(Some((number, owner.clone())), command, Arc::new(Deaf))
            .expect("room");
        *lock(&owner.0.1) = Some(id);
        id
    };
    let id = open();
    assert!(calls.pending(id).is_none());
    assert!(calls.complete(number, id, done()).is_ok());
    assert!(calls.abandon(open()).is_some());
    assert!(calls.withdraw(open()).is_some());
    assert!(calls.pending(open()).is_none());
    assert_eq!(calls.end_all(number).len(), 1);
}

#[test]
fn a_call_whose_start_has_not_answered_is_not_ended_behind_its_back() {
    let (calls, number) = (Calls::new(), InstanceNumber::next());
    let (answers, goes_on) = (insert(&calls, number), insert(&calls, number));
    assert!(calls.end_all(number).is_empty());
    let ended = calls.withdraw(answers).expect("it is there");
    assert_eq!(ended.early, None, "its own answer is its end");
    let ended = calls.pending(goes_on).expect("nobody is left to end it");
    assert_eq!(ended.early, Some(unended()));
}

#[test]
fn another_instance_cannot_complete_or_report() {
    let (calls, number) = (Calls::new(), InstanceNumber::next());
    let id = insert(&calls, number);
    let other = InstanceNumber::next();
    assert_eq!(calls.complete(other, id, done()).err(), Some(Stray::Forged));
    assert!(calls.sink(other, id).is_none());
    assert!(calls.sink(number, id).is_some());
}

#[test]
fn what_completes_before_start_has_answered_is_kept_for_it() {
    let (calls, number) = (Calls::new(), InstanceNumber::next());
    let id = insert(&calls, number);
    assert!(calls.complete(number, id, done()).expect("live").is_none());
    assert_eq!(
        calls.complete(number, id, done()).err(),
        Some(Stray::Double)
    );
    assert!(
        calls.sink(number, id).is_none(),
        "nothing is reported after the end"
    );
    assert_eq!(calls.pending(id).expect("over").early, Some(done()));
    assert_eq!(calls.live_of(number), 0);
}

#[test]
fn numbers_out_of_nowhere_are_forged() {
    let (calls, number) = (Calls::<()>::new(), InstanceNumber::next());
    let id = insert(&calls, number);
    for forged in [0, 1, u64::MAX, id.0 ^ 1, id.0 + (1 << 40)] {
        assert_eq!(
            calls.complete(number, CallId(forged), done()).err(),
            Some(Stray::Forged)
        );
    }
    assert_eq!(calls.live_of(number), 1);
}

proptest! {
    /// Against a model: every call is delivered at most once, and only its
    /// own completion reaches it.
    #[test]
    fn every_call_ends_at_most_once(steps in prop::collection::vec((0..5_u8, 0..24_usize), 1..200)) {
        let (calls, number) = (Calls::new(), InstanceNumber::next());
        let mut ids: Vec<CallId> = Vec::new();
        let mut model: HashMap<u64, u8> = HashMap::new();
        const STARTING: u8 = 0;
        const EARLY: u8 = 1;
        const PENDING: u8 = 2;
        const OVER: u8 = 3;
        for (step, pick) in steps {
            if step == 0 || ids.is_empty() {
                let id = insert(&calls, number);
                prop_assert!(model.insert(id.0, STARTING).is_none(), "an id was used twice");
                ids.push(id);
                continue;
            }
            let id = ids[pick % ids.len()];
            let state = model.get_mut(&id.0).expect("known");
            match step {
                1 => {
                    let ended = calls.pending(id);
                    prop_assert_eq!(ended.is_some(), *state == EARLY);
                    *state = match *state { STARTING => PENDING, EARLY => OVER, other => other };
                }
                2 => {
                    let result = calls.complete(number, id, done());
                    match *state {
                        STARTING => {
                            prop_assert!(matches!(result, Ok(None)));
                            *state = EARLY;
                        }
                        PENDING => {
                            prop_assert!(matches!(result, Ok(Some(_))));
                            *state = OVER;
                        }
                        _ => prop_assert!(result.is_err()),
                    }
                }
                3 => {
                    prop_assert_eq!(calls.withdraw(id).is_some(), *state != OVER);
                    *state = OVER;
                }
                _ => {
                    prop_assert_eq!(calls.abandon(id).is_some(), *state != OVER);
                    *state = OVER;
                }
            }
        }
        let live = model.values().filter(|state| **state != OVER).count();
        prop_assert_eq!(calls.live_of(number), live);
    }
}
