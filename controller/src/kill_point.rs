//! Labelled places where a test can end this process without warning, as a
//! power switch would. In a release build there are none.

/// Ends the process here where `AEGIS_KILL_POINT` says so: `label` or `label:N`,
/// for the first or the N-th time that the process passes the label.
macro_rules! kill_point {
    ($label:literal) => {
        #[cfg(debug_assertions)]
        $crate::kill_point::pass($label);
    };
}

pub(crate) use kill_point;

#[cfg(debug_assertions)]
pub(crate) fn pass(label: &str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };

    static CHOSEN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    let chosen = CHOSEN.get_or_init(|| std::env::var("AEGIS_KILL_POINT").ok().map(parse));
    let Some((_, n)) = chosen.as_ref().filter(|(chosen, _)| chosen == label) else {
        return;
    };
    if PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *n {
        let this = rustix::process::getpid();
        // It does not fail: a process may always end itself.
        let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

#[cfg(debug_assertions)]
fn parse(text: String) -> (String, u64) {
    match text.split_once(':') {
        Some((label, n)) => (label.to_owned(), n.parse().unwrap_or(1)),
        None => (text, 1),
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn a_label_may_be_passed_some_times_first() {
        assert_eq!(parse("here".into()), ("here".into(), 1));
        assert_eq!(parse("here:3".into()), ("here".into(), 3));
    }
}
