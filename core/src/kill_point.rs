//! Labelled points at which a test may have this process killed, to show what a
//! crash there leaves behind. Release builds have none.

/// Marks a point. In a debug build whose environment names it in
/// `AEGIS_KILL_POINT`, as `label` or `label:N`, the process kills itself with
/// SIGKILL when it passes the point for the first or the N-th time.
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
        LazyLock,
        atomic::{AtomicU64, Ordering},
    };

    struct Target {
        label: String,
        left: AtomicU64,
    }

    static TARGET: LazyLock<Option<Target>> = LazyLock::new(|| {
        let wanted = std::env::var("AEGIS_KILL_POINT").ok()?;
        let (label, times) = match wanted.rsplit_once(':') {
            Some((label, times)) => (label, times.parse().ok()?),
            None => (wanted.as_str(), 1),
        };
        Some(Target {
            label: label.to_owned(),
            left: AtomicU64::new(times),
        })
    });

    let Some(target) = TARGET.as_ref().filter(|target| target.label == label) else {
        return;
    };
    if target.left.fetch_sub(1, Ordering::AcqRel) == 1 {
        // Nothing is written or flushed: this is what a power cut would leave
        // to a process.
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}
