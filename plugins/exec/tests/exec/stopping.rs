//! However a run is stopped, nothing of its group is left.

use std::fs;

use aegis_plugin_api::{
    CancelReason, HandlerError,
    serde_json::json,
    testing::{Completion, each_way},
};
use rustix::process::{Pid, Signal, kill_process};

use crate::world::{eventually, is_gone, lives, pids, programs, run, script, succeeded};

/// A shell, and a child of it that it waits for.
const FAMILY: &str = "echo $$; sleep 1000 & echo $!; wait";

#[test]
fn a_cancel_ends_the_whole_group() {
    for reason in [
        CancelReason::Requested,
        CancelReason::Deadline,
        CancelReason::Shutdown,
    ] {
        each_way("exec", |setup| {
            let plugin = script(setup, FAMILY, json!({}));
            let call = plugin.begin("exec", json!({ "program": "it" }));
            let family = pids(&call, 2);
            assert!(family.iter().all(|pid| lives(*pid)));
            call.cancel(reason);
            match call.wait() {
                Completion::Cancelled(error) => assert_eq!(error.code, HandlerError::CANCELLED),
                other => panic!("{other:?}"),
            }
            family.into_iter().for_each(is_gone);
        });
    }
}

#[test]
fn what_ignores_sigterm_is_killed_after_its_grace() {
    each_way("exec", |setup| {
        let stubborn = format!("trap '' TERM; {FAMILY}");
        let plugin = script(setup, &stubborn, json!({ "grace": "200ms" }));
        let call = plugin.begin("exec", json!({ "program": "it" }));
        let family = pids(&call, 2);
        call.cancel(CancelReason::Requested);
        assert!(matches!(call.wait(), Completion::Cancelled(_)));
        family.into_iter().for_each(is_gone);
    });
}

#[test]
fn sigterm_comes_first_and_even_a_stopped_program_hears_it() {
    each_way("exec", |setup| {
        let orderly =
            "trap 'echo bye; exit 0' TERM; echo $$; kill -STOP $$; while :; do sleep 0.05; done";
        let plugin = script(setup, orderly, json!({ "grace": "4s" }));
        let call = plugin.begin("exec", json!({ "program": "it" }));
        let pid = pids(&call, 1)[0];
        eventually("its stop", || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.contains(") T ").then_some(())
        });
        call.cancel(CancelReason::Requested);
        match call.wait() {
            Completion::Cancelled(error) => {
                assert!(error.message.ends_with("exit status 0"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert!(call.output().ends_with("bye\n"), "{}", call.output());
    });
}

#[test]
fn its_own_timeout_stops_it_and_is_said() {
    each_way("exec", |setup| {
        let plugin = script(setup, FAMILY, json!({ "timeout": "1s" }));
        let call = plugin.begin("exec", json!({ "program": "it" }));
        match call.wait() {
            Completion::Failed(error) => {
                assert_eq!(error.code, "timed-out");
                assert!(error.message.contains("its timeout of 1s"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        // On a busy machine it may not even have said who it is.
        for line in call.output().lines() {
            is_gone(line.parse().expect("a process id"));
        }
    });
}

#[test]
fn a_call_that_is_abandoned_takes_its_group_with_it() {
    each_way("exec", |setup| {
        let plugin = script(
            setup,
            &format!("trap '' TERM; {FAMILY}"),
            json!({ "grace": "4s" }),
        );
        let call = plugin.begin("exec", json!({ "program": "it" }));
        let family = pids(&call, 2);
        call.abandon();
        assert!(matches!(call.wait(), Completion::Cancelled(_)));
        family.into_iter().for_each(is_gone);
    });
}

#[test]
fn what_a_program_leaves_in_its_group_ends_with_it() {
    each_way("exec", |setup| {
        // The child holds the pipe open and would for ever.
        let plugin = script(setup, "sleep 1000 & echo $!", json!({}));
        let call = plugin.begin("exec", json!({ "program": "it" }));
        let result = succeeded(&call);
        assert_eq!(result["leftRunning"], false);
        is_gone(pids(&call, 1)[0]);
    });
}

/// A daemon that left its group is beyond reach: that is said, and waited for
/// no longer.
#[test]
fn what_has_left_the_group_and_holds_the_output_is_reported() {
    each_way("exec", |setup| {
        let daemon = "setsid sh -c 'echo $$; exec sleep 1000' & wait_for=1; sleep 0.5";
        let plugin = script(setup, daemon, json!({}));
        let call = plugin.begin("exec", json!({ "program": "it" }));
        let pid = pids(&call, 1)[0];
        let result = succeeded(&call);
        assert_eq!(result["leftRunning"], true);
        assert!(lives(pid));
        let pid = Pid::from_raw(pid).expect("not 0");
        kill_process(pid, Signal::KILL).expect("it is ours");
    });
}

#[test]
fn one_that_closes_its_output_is_still_waited_for() {
    each_way("exec", |setup| {
        let folder = tempfile::tempdir().expect("a directory");
        let end = folder.path().join("end");
        let silent = "echo $$; exec >&- 2>&-; while [ ! -e \"$1\" ]; do sleep 0.01; done; exit 4";
        let more = json!({ "args": [end], "success_codes": [4] });
        let plugin = script(setup, silent, more);
        let call = plugin.begin("exec", json!({ "program": "it" }));
        let pid = pids(&call, 1)[0];
        assert!(lives(pid) && call.completion().is_none());
        fs::write(&end, "").expect("written");
        assert_eq!(succeeded(&call)["exitCode"], 4);
    });
}

#[test]
fn a_program_runs_no_more_often_at_once_than_its_concurrency() {
    each_way("exec", |setup| {
        let plugin = programs(
            setup,
            json!({
                "one": { "path": "/bin/sleep", "args": ["1000"], "concurrency": 1 },
                "other": { "path": "/bin/echo" },
            }),
        );
        let call = plugin.begin("exec", json!({ "program": "one" }));
        let busy = eventually("the refusal", || {
            // Until the first has its slot, the second may have it.
            let second = plugin.begin("exec", json!({ "program": "one" }));
            second.cancel(CancelReason::Requested);
            match second.wait() {
                Completion::Failed(error) => Some(error),
                _ => None,
            }
        });
        assert_eq!((busy.code.as_ref(), busy.retryable), ("program-busy", true));
        run(&plugin, "other").expect("another one runs");
        call.cancel(CancelReason::Requested);
        assert!(matches!(call.wait(), Completion::Cancelled(_)));
    });
}
