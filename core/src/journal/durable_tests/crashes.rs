//! For which plugins a crash of the worker counts.

use super::*;

#[test]
fn no_crash_counts_for_a_plugin_in_a_process_of_its_own() {
    let place = Place::new();
    let (journal, _) = place.open();
    for (n, own_process) in [(0, true), (1, false)] {
        journal.accept(&command(n), false);
        let attempt = Attempt {
            own_process,
            ..attempt(1, if own_process { "own" } else { "shared" })
        };
        begin(&journal, command(n).id, &attempt);
    }
    drop(journal);
    let (_, recovery) = place.open();
    let counted: Vec<_> = recovery.crashes.into_iter().collect();
    assert_eq!(counted, [("shared".to_owned(), 1)]);
}

#[test]
fn plugins_that_ran_at_crashes_in_a_row_are_counted_until_an_orderly_end() {
    let place = Place::new();
    let crash = |plugins: &[&str]| {
        let (journal, recovery) = place.open();
        for (n, plugin) in (0..).zip(plugins) {
            let id = command(n).id;
            journal.accept(&command(n), false);
            begin(&journal, id, &attempt(1, plugin));
        }
        recovery.crashes
    };
    let counted = |pairs: &[(&str, u32)]| {
        pairs
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    };
    crash(&["a", "b"]);
    assert_eq!(crash(&["a"]), counted(&[("a", 1), ("b", 1)]));
    // The second command is still there, but its handler did not begin again.
    assert_eq!(crash(&["a", "a"]), counted(&[("a", 2)]));
    let (journal, recovery) = place.open();
    assert_eq!(recovery.crashes, counted(&[("a", 3)]));
    assert!(journal.forgive("a").expect("read"));
    assert!(!journal.forgive("a").expect("read"));
    drop(journal);
    // No handler had begun when that life ended.
    assert_eq!(crash(&["a"]), counted(&[]));
    let (journal, recovery) = place.open();
    assert_eq!(recovery.crashes, counted(&[("a", 1)]));
    journal.close().expect("written");
    // Another handle does not keep it open.
    assert_eq!(place.open().1.crashes, counted(&[]));
    assert!(journal.set_note("late", None).is_err());
}

#[test]
fn a_crash_counts_for_the_plugin_that_was_being_started() {
    let place = Place::new();
    for crashes in 0..3 {
        let (journal, recovery) = place.open();
        assert_eq!(recovery.crashes.get("a").copied().unwrap_or(0), crashes);
        journal.starting(Some("a")).expect("written");
    }
    let file = place.path();
    assert_eq!(Journal::crashes_in(&file).expect("read").get("a"), Some(&3));
    let (journal, recovery) = place.open();
    assert_eq!(recovery.crashes.get("a"), Some(&3));
    assert_eq!(journal.crashes().expect("read").get("a"), Some(&3));
    journal.starting(Some("b")).expect("written");
    journal.starting(None).expect("written");
    drop(journal);
    assert_eq!(place.open().1.crashes.len(), 0);
}
