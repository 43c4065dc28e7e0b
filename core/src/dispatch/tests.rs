mod fake;
mod lost;
mod resumed;
mod schedules;

use std::{thread, time::SystemTime};

use aegis_proto::error_code as code;

use self::fake::{Node, impatient, limits, ok};
use super::*;
use crate::unpoisoned::lock;
use crate::{
    command::FinalState::{Cancelled, Expired, Failed, Rejected, Succeeded, Unknown},
    control::{DrainRequest, NodeControl},
    plugin::Completion,
};

const SOON: Duration = Duration::from_millis(5);

fn drain(node: &Node, deadline_ms: Option<u64>) {
    let request = DrainRequest {
        drain: true,
        deadline_ms,
        reason: "kernel update".to_owned(),
    };
    node.node.drain(request).expect("drains");
}

fn is(state: FinalState, code: &str) -> (FinalState, String) {
    (state, code.to_owned())
}

#[tokio::test]
async fn an_inline_handler_runs_on_the_callers_thread() {
    let mut node = Node::new(limits());
    let id = node.submit("inline", "talk");
    // Nothing else has had a chance to run.
    node.drain_reader();
    let outcome = node.outcome(id).await;
    assert_eq!(
        (outcome.state, outcome.response.as_ref()),
        (Succeeded, b"\"ok\"".as_ref())
    );
    assert_eq!(
        (outcome.output.as_ref(), outcome.attempt),
        (b"line\n".as_ref(), 1)
    );
    assert!(outcome.started_at.expect("it began") <= outcome.finished_at);
    let thread = node.plugin.seen(|seen| seen.started[0].1);
    assert_eq!(thread, thread::current().id());
    assert_eq!(node.dispatcher.active(), 0);
}

#[tokio::test]
async fn an_asynchronous_handler_ends_its_command_when_it_completes() {
    let mut node = Node::new(limits());
    let id = node.submit("one", "hang");
    assert_eq!(
        (node.dispatcher.active(), node.dispatcher.running()),
        (1, vec![id])
    );
    assert!(node.plugin.release(id, ok()));
    assert_eq!(node.outcome(id).await.state, Succeeded);
    assert_eq!(node.dispatcher.active(), 0);
}

#[tokio::test]
async fn a_resumable_handler_keeps_checkpoints_until_its_command_ends() {
    let mut node = Node::new(limits());
    let sink_of = |node: &Node, id| {
        node.plugin.seen(|seen| {
            let call = seen.running.values().find(|call| call.command == id);
            Arc::clone(&call.expect("it runs").sink)
        })
    };
    let id = node.submit("resumable", "hang");
    let sink = sink_of(&node, id);
    assert_eq!(sink.checkpoint(), None);
    for data in [b"one".as_slice(), b"", b"two"] {
        sink.save_checkpoint(data).expect("kept");
        assert_eq!(sink.checkpoint().as_deref(), Some(data));
    }
    assert_eq!(
        node.journal.checkpoint_of(id).as_deref(),
        Some(b"two".as_slice())
    );
    assert!(node.plugin.release(id, ok()));
    node.outcome(id).await;
    node.journal.acknowledge(&[id]);
    assert_eq!(sink.checkpoint(), None);

    let id = node.submit("one", "hang");
    let refused = sink_of(&node, id)
        .save_checkpoint(b"one")
        .expect_err("it runs once");
    assert_eq!(refused.code, "not-resumable");
    assert!(refused.message.contains("at-most-once"), "{refused}");
    assert!(node.plugin.release(id, ok()));
}

#[tokio::test]
async fn every_way_of_returning_has_its_state() {
    let mut node = Node::new(limits());
    for (act, state, code) in [
        ("fail", Failed, "disk-full"),
        ("panic", Failed, code::PANICKED),
        ("refuse", Rejected, "invalid-payload"),
        ("misfit", Rejected, "invalid-payload"),
        ("give-up", Failed, code::PLUGIN_FAULT),
        ("complete-first", Succeeded, ""),
    ] {
        let id = node.submit("one", act);
        assert_eq!(node.state_and_code(id).await, is(state, code), "{act}");
    }
    let id = node.submit("one", "");
    assert_eq!(
        node.outcome(id).await.state,
        Succeeded,
        "every slot was given back"
    );
}

#[tokio::test]
async fn what_the_policy_refuses_is_rejected_with_the_reason_and_never_run() {
    let mut node = Node::new(limits());
    let unknown = node.submit("onn", "");
    assert_eq!(
        node.state_and_code(unknown).await,
        is(Rejected, code::UNKNOWN_COMMAND)
    );
    let help = node
        .outcome(unknown)
        .await
        .error
        .clone()
        .expect("an error")
        .help;
    assert_eq!(help.as_deref(), Some("did you mean \"one\"?"));
    let disabled = node.submit("off", "");
    assert_eq!(
        node.state_and_code(disabled).await,
        is(Rejected, code::DISABLED)
    );
    let mallory = node.submit_with("two", "", |command| command.issuer = "mallory".to_owned());
    assert_eq!(
        node.state_and_code(mallory).await,
        is(Rejected, code::NOT_PERMITTED)
    );
    let broken = node.submit_with("one", "", |command| command.payload = "{".into());
    assert_eq!(
        node.state_and_code(broken).await,
        is(Rejected, code::INVALID_PAYLOAD)
    );
    assert!(node.plugin.seen(|seen| seen.started.is_empty()));
}

#[tokio::test]
async fn a_redelivered_command_runs_once() {
    let mut node = Node::new(limits());
    let command = node.command("one", "hang");
    node.dispatcher.submit(command.clone());
    node.dispatcher.submit(command.clone());
    node.plugin.release(command.id, ok());
    node.dispatcher.submit(command.clone());
    assert_eq!(node.outcome(command.id).await.state, Succeeded);
    assert_eq!(node.plugin.seen(|seen| seen.started.len()), 1);
}

#[tokio::test]
async fn beyond_its_slots_a_handler_queues_and_beyond_its_queue_it_is_overloaded() {
    let mut node = Node::new(limits());
    let ids: Vec<_> = (0..6).map(|_| node.submit("one", "hang")).collect();
    let refused = node.outcome(ids[5]).await;
    let error = refused.error.clone().expect("an error");
    assert_eq!(
        (refused.state, error.code.as_ref()),
        (Rejected, code::OVERLOADED)
    );
    assert!(error.retryable && error.retry_after_ms.is_some());
    for id in &ids[..5] {
        node.plugin
            .until(|seen| seen.running.values().any(|running| running.command == *id))
            .await;
        assert_eq!(
            node.dispatcher.running(),
            [*id],
            "in their order, one at a time"
        );
        node.plugin.release(*id, ok());
        assert_eq!(node.outcome(*id).await.state, Succeeded);
    }
}

#[tokio::test]
async fn floods_and_hanging_calls_hold_up_no_other_name() {
    let mut node = Node::new(limits());
    for _ in 0..50 {
        node.submit("one", "stubborn");
        node.submit("two", "stubborn");
        node.submit("blocking", "block");
    }
    let inline = node.submit("inline", "");
    assert_eq!(node.outcome(inline).await.state, Succeeded);
    drain(&node, None);
    let keep = node.submit("keep", "");
    assert_eq!(node.outcome(keep).await.state, Succeeded);
    node.blocking.unblock();
}

#[tokio::test]
async fn a_full_journal_still_takes_what_runs_while_draining() {
    let mut node = Node::new(limits());
    let journal = Journal::with_limits(crate::journal::JournalLimits {
        held: 2,
        ..crate::journal::JournalLimits::default()
    });
    let handlers = Arc::clone(&node.dispatcher.shared.handlers);
    node.dispatcher = Dispatcher::new(
        journal.clone(),
        Arc::clone(&node.node),
        handlers,
        Policy::local(crate::config::model::HandlersConfig::default()),
        limits(),
    );
    for _ in 0..20 {
        node.submit("one", "");
    }
    let keep = node.submit("keep", "");
    let mut reader = journal.reader();
    let mut states = Vec::new();
    while let Some(update) = reader.ready() {
        if let crate::journal::JournalUpdate::Finished(outcome) = update {
            states.push((outcome.id == keep, outcome.state));
        }
    }
    let of = |wanted| states.iter().filter(|state| **state == wanted).count();
    assert_eq!((of((false, Succeeded)), of((false, Rejected))), (2, 2));
    assert_eq!(of((true, Succeeded)), 1);
}

#[tokio::test]
async fn what_comes_too_late_expires_and_is_never_run() {
    let mut node = Node::new(limits());
    let past = SystemTime::now() - Duration::from_secs(1);
    let late = node.submit_with("one", "", |command| command.start_by = Some(past));
    assert_eq!(node.state_and_code(late).await, is(Expired, code::EXPIRED));
    let never = node.submit_with("one", "", |command| {
        command.start_by = Some(SystemTime::now() + Duration::from_secs(60));
        command.not_before = Some(SystemTime::now() + Duration::from_secs(120));
    });
    assert_eq!(node.state_and_code(never).await, is(Expired, code::EXPIRED));
    let hanging = node.submit("one", "hang");
    let queued = node.submit_with("one", "", |command| {
        command.start_by = Some(SystemTime::now() + SOON);
    });
    assert_eq!(
        node.state_and_code(queued).await,
        is(Expired, code::EXPIRED)
    );
    node.plugin.release(hanging, ok());
    assert_eq!(node.outcome(hanging).await.state, Succeeded);
    for id in [late, never, queued] {
        assert!(!node.started(id));
        assert_eq!(node.outcome(id).await.started_at, None);
    }
}

#[tokio::test]
async fn not_before_is_waited_for_and_the_policy_asked_again() {
    let mut node = Node::new(limits());
    let due = SystemTime::now() + SOON;
    let id = node.submit_with("one", "", |command| command.not_before = Some(due));
    let outcome = node.outcome(id).await;
    assert_eq!(outcome.state, Succeeded);
    assert!(outcome.started_at.expect("it began") >= due);
    let due = SystemTime::now() + SOON;
    let id = node.submit_with("one", "", |command| command.not_before = Some(due));
    drain(&node, None);
    assert_eq!(node.state_and_code(id).await, is(Rejected, code::DRAINING));
    let far = SystemTime::now() + Duration::from_secs(3600);
    let mut node = Node::new(limits());
    let ids: Vec<_> = (0..5)
        .map(|_| node.submit_with("one", "", |command| command.not_before = Some(far)))
        .collect();
    assert_eq!(
        node.state_and_code(ids[4]).await,
        is(Rejected, code::OVERLOADED)
    );
    node.dispatcher.shut_down(Duration::ZERO).await;
    assert_eq!(
        node.state_and_code(ids[0]).await,
        is(Cancelled, code::CANCELLED)
    );
}

#[tokio::test]
async fn a_cancel_finds_a_command_whose_time_has_just_come() {
    let mut node = Node::new(limits());
    let mut command = node.command("one", "polite");
    command.not_before = Some(SystemTime::now() + SOON);
    let (id, dispatcher) = (command.id, node.dispatcher.clone());
    let cancel = move || dispatcher.cancel(id, CancelReason::Requested, "");
    *lock(&node.plugin.meanwhile) = Some(Box::new(cancel));
    node.dispatcher.submit(command);
    assert_eq!(node.outcome(id).await.state, Cancelled);
}

/// Whoever gives a slot on and whoever cancels meet at every moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_at_the_beginning_of_a_handler_leaves_nothing_behind() {
    let mut node = Node::new(limits());
    for spins in 0..1500 {
        let first = node.submit("one", "hang");
        let second = node.submit("one", "");
        let dispatcher = node.dispatcher.clone();
        let cancel = thread::spawn(move || {
            (0..spins).for_each(|_| std::hint::spin_loop());
            dispatcher.cancel(second, CancelReason::Requested, "");
        });
        node.plugin.until_running(1).await;
        assert!(node.plugin.release(first, ok()));
        node.outcome(first).await;
        node.outcome(second).await;
        cancel.join().expect("no panic");
    }
    let last = node.submit("one", "");
    node.outcome(last).await;
    assert_eq!(node.dispatcher.running(), []);
    assert!(lock(&node.dispatcher.shared.live).is_empty());
}

#[tokio::test]
async fn a_cancel_works_at_every_state() {
    let mut node = Node::new(limits());
    let far = SystemTime::now() + Duration::from_secs(3600);
    let scheduled = node.submit_with("one", "", |command| command.not_before = Some(far));
    let running = node.submit("one", "polite");
    let queued = node.submit("one", "");
    for id in [scheduled, queued, running] {
        node.dispatcher
            .cancel(id, CancelReason::Requested, "wrong node");
        let outcome = node.outcome(id).await;
        assert_eq!(outcome.state, Cancelled);
        let error = outcome.error.clone().expect("an error");
        assert_eq!(error.code, code::CANCELLED);
        assert!(error.message.contains("wrong node"), "{error}");
        // Over, and so ignored.
        node.dispatcher.cancel(id, CancelReason::Requested, "again");
    }
    let ignored = node.command("one", "").id;
    node.dispatcher.cancel(ignored, CancelReason::Requested, "");
    assert_eq!(
        node.plugin.seen(|seen| seen.cancels.clone()),
        [(running, CancelReason::Requested)]
    );
    let next = node.submit("one", "");
    assert_eq!(node.outcome(next).await.state, Succeeded);
}

#[tokio::test]
async fn past_its_timeout_a_command_is_cancelled_unless_it_still_succeeds() {
    let mut node = Node::new(limits());
    let with = |command: &mut Command| command.timeout = Some(SOON);
    let polite = node.submit_with("one", "polite", with);
    assert_eq!(
        node.state_and_code(polite).await,
        is(Cancelled, code::DEADLINE_EXCEEDED)
    );
    let late = node.submit_with("one", "late", with);
    assert_eq!(node.outcome(late).await.state, Succeeded);
    let failing = node.submit_with("one", "stubborn", with);
    node.plugin.until(|seen| seen.cancels.len() == 3).await;
    node.plugin.release(
        failing,
        Completion::Failed(HandlerError::new("torn", "half done")),
    );
    assert_eq!(
        node.state_and_code(failing).await,
        is(Cancelled, code::DEADLINE_EXCEEDED)
    );
    let message = node
        .outcome(failing)
        .await
        .error
        .clone()
        .expect("an error")
        .message;
    assert!(message.contains("half done"), "{message}");
    let reasons: Vec<_> = node
        .plugin
        .seen(|seen| seen.cancels.iter().map(|(_, reason)| *reason).collect());
    assert_eq!(reasons, [CancelReason::Deadline; 3]);
}

#[tokio::test]
async fn a_handler_that_ignores_its_cancellation_is_told_to_abandon_its_work() {
    let mut node = Node::new(DispatchLimits {
        abandon_grace: SOON * 100_000,
        ..impatient()
    });
    let id = node.submit_with("one", "hang", |command| command.timeout = Some(SOON));
    assert_eq!(
        node.state_and_code(id).await,
        is(Cancelled, code::DEADLINE_EXCEEDED)
    );
    let reasons: Vec<_> = node
        .plugin
        .seen(|seen| seen.cancels.iter().map(|(_, reason)| *reason).collect());
    assert_eq!(reasons, [CancelReason::Deadline, CancelReason::Abandon]);
}

#[tokio::test]
async fn a_handler_that_ignores_everything_keeps_its_slot_until_it_returns() {
    let mut node = Node::new(impatient());
    let wedged = node.submit_with("two", "stubborn", |command| command.timeout = Some(SOON));
    assert_eq!(
        node.state_and_code(wedged).await,
        is(Unknown, code::DEADLINE_EXCEEDED)
    );
    let lost = |node: &Node| {
        node.dispatcher
            .wedged()
            .iter()
            .map(|w| w.lost_slots)
            .sum::<u32>()
    };
    assert_eq!((lost(&node), node.dispatcher.active()), (1, 1));
    // The other slot still works.
    let first = node.submit("two", "hang");
    let second = node.submit("two", "");
    assert!(!node.started(second));
    node.plugin.release(wedged, ok());
    assert_eq!(
        node.outcome(second).await.state,
        Succeeded,
        "in the slot that came back"
    );
    assert_eq!(lost(&node), 0);
    node.plugin.release(first, ok());
    node.outcome(first).await;
    node.drain_reader();
    let outcomes = node
        .told
        .iter()
        .filter(|outcome| outcome.id == wedged)
        .count();
    assert_eq!((outcomes, node.dispatcher.active()), (1, 0));
}

#[tokio::test]
async fn without_a_slot_left_what_waits_is_rejected() {
    let mut node = Node::new(impatient());
    let wedged = node.submit("one", "stubborn");
    let queued = node.submit("one", "");
    node.dispatcher.cancel(wedged, CancelReason::Requested, "");
    assert_eq!(
        node.state_and_code(wedged).await,
        is(Unknown, code::ABANDONED)
    );
    assert_eq!(
        node.state_and_code(queued).await,
        is(Rejected, code::OVERLOADED)
    );
    let next = node.submit("one", "");
    assert_eq!(
        node.state_and_code(next).await,
        is(Rejected, code::OVERLOADED)
    );
    node.plugin.release(wedged, ok());
    let again = node.submit("one", "");
    assert_eq!(node.outcome(again).await.state, Succeeded);
}

#[tokio::test]
async fn a_start_that_blocks_blocks_a_thread_of_its_own_only() {
    let mut node = Node::new(impatient());
    let blocked = node.submit_with("blocking", "block", |command| command.timeout = Some(SOON));
    // Its second slot waits for the one blocking thread that it may have.
    let second = node.submit("blocking", "");
    assert_eq!(
        node.state_and_code(blocked).await,
        is(Unknown, code::DEADLINE_EXCEEDED)
    );
    assert!(!node.started(second));
    node.blocking.unblock();
    assert_eq!(node.outcome(second).await.state, Succeeded);
    let own = thread::current().id();
    assert!(
        node.blocking
            .seen(|seen| seen.started.iter().all(|(_, thread)| *thread != own))
    );
    node.dispatcher.shut_down(Duration::ZERO).await;
    assert_eq!(node.dispatcher.wedged(), []);
}

#[tokio::test]
async fn an_inline_handler_that_is_slow_twice_runs_on_a_thread() {
    let mut node = Node::new(DispatchLimits {
        inline_budget: Duration::ZERO,
        ..limits()
    });
    for _ in 0..3 {
        let id = node.submit("inline", "");
        node.outcome(id).await;
    }
    let own = thread::current().id();
    let inline: Vec<_> = node.plugin.seen(|seen| {
        seen.started
            .iter()
            .map(|(_, thread)| *thread == own)
            .collect()
    });
    assert_eq!(inline, [true, true, false]);
}

#[tokio::test]
async fn a_drain_rejects_what_queues_waits_for_what_runs_and_lets_run_what_may() {
    let mut node = Node::new(limits());
    let running = node.submit("one", "hang");
    let queued = node.submit("one", "");
    let kept = node.submit("keep", "hang");
    let kept_queued = node.submit("keep", "");
    drain(&node, None);
    assert_eq!(
        node.state_and_code(queued).await,
        is(Rejected, code::DRAINING)
    );
    let refused = node.submit("two", "");
    assert_eq!(
        node.state_and_code(refused).await,
        is(Rejected, code::DRAINING)
    );
    let error = node.outcome(refused).await.error.clone().expect("an error");
    assert!(
        error.retryable && error.message.contains("kernel update"),
        "{error}"
    );
    let status = node.node.drain_status();
    assert_eq!((status.finished_at, status.in_flight.len()), (None, 1));
    node.plugin.release(running, ok());
    assert_eq!(node.outcome(running).await.state, Succeeded);
    assert!(node.node.drain_status().finished_at.is_some());
    node.plugin.release(kept, ok());
    assert_eq!(node.outcome(kept_queued).await.state, Succeeded);
    let undo = DrainRequest {
        drain: false,
        deadline_ms: None,
        reason: String::new(),
    };
    node.node.drain(undo).expect("undone");
    let after = node.submit("two", "");
    assert_eq!(node.outcome(after).await.state, Succeeded);
}

#[tokio::test]
async fn a_command_that_was_permitted_just_before_a_drain_does_not_begin_after_it() {
    let mut node = Node::new(limits());
    let state = Arc::clone(&node.node);
    *lock(&node.plugin.meanwhile) = Some(Box::new(move || {
        let request = DrainRequest {
            drain: true,
            deadline_ms: None,
            reason: String::new(),
        };
        assert!(state.drain(request).expect("drains").finished_at.is_some());
    }));
    let id = node.submit("one", "");
    assert_eq!(node.state_and_code(id).await, is(Rejected, code::DRAINING));
    assert!(!node.started(id));
}

#[tokio::test]
async fn a_drains_deadline_cancels_what_it_waits_for() {
    let mut node = Node::new(limits());
    let running = node.submit("one", "polite");
    let kept = node.submit("keep", "polite");
    drain(&node, Some(1));
    let outcome = node.outcome(running).await;
    assert_eq!(outcome.state, Cancelled);
    let message = outcome.error.clone().expect("an error").message;
    assert!(message.contains("the drain's deadline"), "{message}");
    assert_eq!(node.dispatcher.running(), [kept]);
}

#[tokio::test]
async fn a_wedged_handler_keeps_the_drain_unfinished() {
    let mut node = Node::new(impatient());
    let wedged = node.submit_with("one", "stubborn", |command| command.timeout = Some(SOON));
    assert_eq!(node.outcome(wedged).await.state, Unknown);
    drain(&node, None);
    assert_eq!(node.node.drain_status().finished_at, None);
    node.plugin.release(wedged, ok());
    assert!(node.node.drain_status().finished_at.is_some());
}

#[tokio::test]
async fn a_shutdown_gives_every_command_an_outcome() {
    let mut node = Node::new(impatient());
    let far = SystemTime::now() + Duration::from_secs(3600);
    let scheduled = node.submit_with("one", "", |command| command.not_before = Some(far));
    let polite = node.submit("one", "polite");
    let queued = node.submit("one", "");
    let stubborn = node.submit("two", "stubborn");
    let blocked = node.submit("blocking", "block");
    node.blocking.until_running(1).await;
    node.dispatcher.shut_down(SOON).await;
    node.drain_reader();
    for (id, state) in [
        (scheduled, Cancelled),
        (polite, Cancelled),
        (queued, Cancelled),
        (stubborn, Unknown),
        (blocked, Unknown),
    ] {
        assert_eq!(node.outcome(id).await.state, state);
    }
    let after = node.submit("keep", "");
    assert_eq!(
        node.state_and_code(after).await,
        is(Rejected, code::DRAINING)
    );
    node.plugin.until(|seen| seen.abandoned == 1).await;
    node.blocking.unblock();
}

#[tokio::test]
async fn what_waits_at_a_shutdown_is_cancelled_and_not_rejected() {
    let mut node = Node::new(impatient());
    node.submit("one", "hang");
    let queued = node.submit("one", "");
    node.node.end();
    // Whoever looks after drains may wake before the cancels.
    node.dispatcher.shared.reject_queued();
    node.dispatcher.shut_down(SOON).await;
    assert_eq!(node.outcome(queued).await.state, Cancelled);
    node.drain_reader();
    let outcomes = node.told.iter().filter(|outcome| outcome.id == queued);
    assert_eq!(outcomes.count(), 1);
}

#[tokio::test]
async fn a_shutdown_waits_for_what_ends_in_time() {
    let mut node = Node::new(limits());
    let running = node.submit("one", "hang");
    let dispatcher = node.dispatcher.clone();
    let down = tokio::spawn(async move { dispatcher.shut_down(Duration::from_secs(3600)).await });
    while !node.node.is_ending() {
        tokio::task::yield_now().await;
    }
    node.plugin.release(running, ok());
    down.await.expect("no panic");
    assert_eq!(node.outcome(running).await.state, Succeeded);
}

#[tokio::test]
async fn an_inline_handler_that_hangs_does_not_hold_up_the_shutdown() {
    let mut node = Node::new(impatient());
    // It blocks although it is not said to: its caller hangs.
    let command = node.command("inline", "block");
    let id = command.id;
    let dispatcher = node.dispatcher.clone();
    let caller = thread::spawn(move || dispatcher.submit(command));
    node.plugin.until_running(1).await;
    node.dispatcher.shut_down(Duration::ZERO).await;
    assert_eq!(node.state_and_code(id).await, is(Unknown, code::ABANDONED));
    node.plugin.unblock();
    caller.join().expect("no panic");
    node.drain_reader();
    assert_eq!(node.told.len(), 1);
}
