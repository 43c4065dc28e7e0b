//! Commands that an earlier life of the worker took.

use super::{
    fake::{Node, limits, ok},
    *,
};
use crate::command::FinalState::{Cancelled, Failed, Succeeded, Unknown};

#[tokio::test]
async fn what_a_crash_interrupted_is_never_said_not_to_have_run() {
    let mut node = Node::new(limits());
    let acts = ["refuse", "misfit", "hang", "", "", ""];
    let commands: Vec<_> = acts.map(|act| node.command("resumable", act)).into();
    let id = |n: usize| commands[n].id;
    let interrupted = commands.iter().map(|command| (command.clone(), 1));
    node.resume(interrupted.collect());
    let is = |state, code: &str| (state, code.to_owned());
    assert_eq!(
        node.state_and_code(id(0)).await,
        is(Unknown, code::INTERRUPTED),
        "its plugin refuses it"
    );
    assert_eq!(
        node.state_and_code(id(1)).await,
        is(Failed, code::INVALID_PAYLOAD)
    );
    node.dispatcher
        .cancel(id(3), CancelReason::Requested, "enough");
    let cancelled = node.outcome(id(3)).await;
    let error = cancelled.error.clone().expect("an error");
    assert_eq!(
        (cancelled.state, &*error.code),
        (Unknown, code::INTERRUPTED)
    );
    assert!(
        error.message.ends_with("it was cancelled: enough"),
        "{error}"
    );

    let never_begun = node.submit("resumable", "");
    let dispatcher = node.dispatcher.clone();
    let end = tokio::spawn(async move { dispatcher.shut_down(Duration::from_secs(60)).await });
    assert_eq!(node.outcome(never_begun).await.state, Cancelled);
    for n in [4, 5] {
        assert_eq!(
            node.state_and_code(id(n)).await,
            is(Unknown, code::INTERRUPTED),
            "the worker ends before it is run again"
        );
    }
    node.plugin.release(id(2), ok());
    assert_eq!(node.outcome(id(2)).await.state, Succeeded);
    end.await.expect("no panic");
    assert_eq!(node.dispatcher.active(), 0);
}

#[tokio::test]
async fn what_was_taken_before_is_not_refused_for_want_of_room() {
    let mut node = Node::new(limits());
    let commands: Vec<_> = (0..20)
        .map(|n| (node.command("resumable", ""), n % 2))
        .collect();
    let ids: Vec<_> = commands.iter().map(|(command, _)| command.id).collect();
    let first = node.submit("resumable", "hang");
    node.resume(commands);
    node.plugin.release(first, ok());
    for id in ids {
        assert_eq!(node.outcome(id).await.state, Succeeded);
    }
}

#[tokio::test]
async fn a_dispatcher_that_is_dropped_lets_go_of_its_journal() {
    let mut node = Node::new(limits());
    for act in ["hang", "", ""] {
        node.submit("one", act);
    }
    node.submit_with("two", "", |command| {
        command.not_before = Some(SystemTime::now() + Duration::from_secs(3600));
    });
    node.submit_with("one", "", |command| {
        command.start_by = Some(SystemTime::now() + Duration::from_secs(3600));
    });
    let shared = Arc::downgrade(&node.dispatcher.shared);
    // It runs on, and nobody listens to it.
    let _plugin = Arc::clone(&node.plugin);
    node.dispatcher.start_intake().expect("a thread");
    drop(node);
    tokio::time::timeout(Duration::from_secs(60), async {
        while shared.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("nothing holds it");
}
