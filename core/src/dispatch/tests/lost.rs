//! Calls whose process is gone.

use super::{
    fake::{Node, impatient, limits, lost, ok},
    *,
};
use crate::command::FinalState::{Cancelled, Failed, Succeeded, Unknown};

const CRASHED: &str = "plugin-crashed";

async fn until_attempt(node: &Node, id: CommandId, attempt: u32) {
    let begun = |seen: &fake::Seen| {
        let running = seen.running.values().any(|running| running.command == id);
        running
            && seen
                .attempts
                .iter()
                .any(|(other, number, _)| (*other, *number) == (id, attempt))
    };
    node.plugin.until(begun).await;
}

#[tokio::test]
async fn what_may_run_again_does_as_often_as_the_limits_say() {
    for (name, end) in [
        ("read", Failed),
        ("idempotent", Unknown),
        ("resumable", Unknown),
    ] {
        let mut node = Node::new(limits());
        let id = node.submit(name, "hang");
        for attempt in 1..=3 {
            until_attempt(&node, id, attempt).await;
            assert_eq!(node.dispatcher.running(), vec![id]);
            assert!(node.plugin.release(id, lost()));
        }
        let outcome = node.outcome(id).await;
        assert_eq!((outcome.state, outcome.attempt), (end, 3), "{name}");
        let error = outcome.error.clone().expect("an error");
        assert_eq!(error.code, CRASHED);
        assert!(
            error
                .message
                .contains("signal 9 (attempt 3); it is not run again after 3 attempts"),
            "{error}"
        );
        assert_eq!(
            (error.retryable, error.help.is_some()),
            (end == Failed, end == Unknown)
        );
        assert_eq!(node.dispatcher.active(), 0);
        let id = node.submit(name, "");
        assert_eq!(node.outcome(id).await.state, Succeeded, "its slot is free");
    }
}

#[tokio::test]
async fn what_may_run_once_ends_as_unknown_with_what_ended_it() {
    let mut node = Node::new(limits());
    let id = node.submit("one", "hang");
    assert!(node.plugin.release(id, lost()));
    let outcome = node.outcome(id).await;
    let error = outcome.error.clone().expect("an error");
    assert_eq!((outcome.state, &*error.code), (Unknown, CRASHED));
    assert!(error.message.contains("once at the most"), "{error}");
    let next = node.submit("one", "");
    assert_eq!(node.outcome(next).await.state, Succeeded);
}

#[tokio::test]
async fn a_loss_that_is_told_before_the_start_has_returned_is_one_loss() {
    let mut node = Node::new(limits());
    for act in ["lost-first", "lost-at-once"] {
        for name in ["read", "idempotent", "resumable", "again"] {
            let id = node.submit(name, act);
            let outcome = node.outcome(id).await;
            assert_eq!(
                (outcome.state, outcome.attempt),
                (Succeeded, 2),
                "{name} {act}"
            );
        }
        let id = node.submit("one", act);
        assert_eq!(node.state_and_code(id).await, is(Unknown, CRASHED));
    }
    let id = node.submit("again", "always-lost");
    assert_eq!(node.state_and_code(id).await, is(Unknown, CRASHED));
    assert_eq!(node.outcome(id).await.attempt, 3);
    assert_eq!(node.dispatcher.active(), 0);
}

#[tokio::test]
async fn a_start_that_returns_after_its_loss_disturbs_nothing() {
    let mut node = Node::new(DispatchLimits {
        blocking_starts: 2,
        ..limits()
    });
    let id = node.submit("again", "lost-unblocked");
    let outcome = node.outcome(id).await;
    assert_eq!((outcome.state, outcome.attempt), (Succeeded, 2));
    node.blocking.unblock();
    node.blocking.until(|seen| seen.running.is_empty()).await;
    for _ in 0..3 {
        let id = node.submit("again", "");
        assert_eq!(node.outcome(id).await.state, Succeeded);
    }
}

#[tokio::test]
async fn the_run_before_has_no_say_any_more() {
    let mut node = Node::new(limits());
    let id = node.submit("read", "hang");
    let sink = node.plugin.seen(|seen| {
        let running = seen.running.values().find(|running| running.command == id);
        Arc::clone(&running.expect("it runs").sink)
    });
    assert!(node.plugin.release(id, lost()));
    until_attempt(&node, id, 2).await;
    sink.complete(lost());
    sink.complete(Completion::Failed(HandlerError::new("late", "late")));
    assert!(node.plugin.release(id, ok()));
    let outcome = node.outcome(id).await;
    assert_eq!((outcome.state, outcome.attempt), (Succeeded, 2));
}

#[tokio::test]
async fn a_resumable_handler_is_given_its_checkpoint_back() {
    let mut node = Node::new(limits());
    let id = node.submit("resumable", "hang");
    let sink_of = |node: &Node| {
        node.plugin.seen(|seen| {
            let running = seen.running.values().find(|running| running.command == id);
            Arc::clone(&running.expect("it runs").sink)
        })
    };
    sink_of(&node).save_checkpoint(b"half").expect("kept");
    assert!(node.plugin.release(id, lost()));
    until_attempt(&node, id, 2).await;
    assert_eq!(
        sink_of(&node).checkpoint().as_deref(),
        Some(b"half".as_slice())
    );
    assert!(node.plugin.release(id, ok()));
    assert_eq!(node.outcome(id).await.state, Succeeded);
}

#[tokio::test]
async fn what_was_cancelled_is_not_run_again() {
    for (name, end) in [
        ("read", Cancelled),
        ("idempotent", Unknown),
        ("one", Unknown),
    ] {
        let mut node = Node::new(limits());
        let id = node.submit(name, "hang");
        node.dispatcher
            .cancel(id, CancelReason::Requested, "enough");
        assert!(node.plugin.release(id, lost()));
        let outcome = node.outcome(id).await;
        let error = outcome.error.clone().expect("an error");
        assert_eq!(
            (outcome.state, &*error.code),
            (end, code::CANCELLED),
            "{name}"
        );
        assert!(
            error.message.contains("enough") && error.message.contains("signal 9"),
            "{error}"
        );
        assert_eq!(node.plugin.seen(|seen| seen.started.len()), 1);
    }
}

#[tokio::test]
async fn a_cancel_finds_the_run_that_is_to_come() {
    let mut node = Node::new(limits());
    let id = node.submit("read", "hang");
    assert!(node.plugin.release(id, lost()));
    // Its task has had no chance to run.
    node.dispatcher
        .cancel(id, CancelReason::Requested, "enough");
    assert_eq!(
        node.state_and_code(id).await,
        is(Cancelled, code::CANCELLED)
    );
    assert_eq!(node.plugin.seen(|seen| seen.started.len()), 1);
    let next = node.submit("read", "");
    assert_eq!(
        node.outcome(next).await.state,
        Succeeded,
        "its slot is free"
    );
    assert_eq!(node.dispatcher.active(), 0);
}

#[tokio::test]
async fn all_runs_together_have_the_time_of_one() {
    let mut node = Node::new(limits());
    let id = node.submit_with("read", "hang", |command| {
        command.timeout = Some(Duration::from_secs(600));
    });
    assert!(node.plugin.release(id, lost()));
    until_attempt(&node, id, 2).await;
    let given: Vec<_> = node
        .plugin
        .seen(|seen| seen.attempts.iter().map(|it| it.2).collect());
    assert!(given[1] < given[0], "{given:?}");
    assert!(node.plugin.release(id, ok()));

    // Nothing is left of it: the second run is never begun.
    let mut node = Node::new(limits());
    let id = node.submit_with("idempotent", "hang", |command| {
        command.timeout = Some(Duration::from_millis(1));
    });
    node.plugin.until(|seen| !seen.cancels.is_empty()).await;
    assert!(node.plugin.release(id, lost()));
    assert_eq!(
        node.state_and_code(id).await,
        is(Unknown, code::DEADLINE_EXCEEDED)
    );
    assert_eq!(node.plugin.seen(|seen| seen.started.len()), 1);
}

#[tokio::test]
async fn a_call_that_was_given_up_on_gives_its_slot_back_when_it_is_lost() {
    let mut node = Node::new(impatient());
    let id = node.submit_with("read", "stubborn", |command| {
        command.timeout = Some(Duration::from_millis(1));
    });
    assert_eq!(
        node.state_and_code(id).await,
        is(Unknown, code::DEADLINE_EXCEEDED)
    );
    assert_eq!(node.dispatcher.wedged().len(), 1);
    assert!(node.plugin.release(id, lost()));
    assert_eq!(node.dispatcher.wedged(), Vec::new());
    let next = node.submit("read", "");
    assert_eq!(node.outcome(next).await.state, Succeeded);
    assert_eq!(node.dispatcher.active(), 0);
}

#[tokio::test]
async fn a_drain_waits_for_what_is_run_again() {
    let mut node = Node::new(limits());
    let id = node.submit("idempotent", "hang");
    drain(&node, None);
    assert!(node.plugin.release(id, lost()));
    assert!(
        node.node.drain_status().finished_at.is_none(),
        "it is to run again"
    );
    until_attempt(&node, id, 2).await;
    assert!(node.node.drain_status().finished_at.is_none(), "it runs");
    assert!(node.plugin.release(id, ok()));
    assert_eq!(node.outcome(id).await.state, Succeeded);
    assert!(node.node.drain_status().finished_at.is_some());
}

#[tokio::test]
async fn a_worker_that_ends_runs_nothing_again() {
    let mut node = Node::new(limits());
    let id = node.submit("idempotent", "hang");
    let dispatcher = node.dispatcher.clone();
    let end = tokio::spawn(async move { dispatcher.shut_down(Duration::from_secs(60)).await });
    while !node.node.is_ending() {
        tokio::task::yield_now().await;
    }
    assert!(node.plugin.release(id, lost()));
    let outcome = node.outcome(id).await;
    assert_eq!((outcome.state, outcome.attempt), (Unknown, 1));
    end.await.expect("no panic");
    assert_eq!(node.plugin.seen(|seen| seen.started.len()), 1);
}
