//! Which call the thread is in.

use std::cell::RefCell;

use crate::{Host, log};

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// A call, for what is logged in it.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    pub(crate) host: Host,
    pub(crate) call: u64,
}

impl Current {
    /// Makes a call the thread's until the guard is dropped. Nothing is done
    /// where nobody asks for it: linked into a host, what is logged goes to the
    /// host's own `tracing`.
    pub(crate) fn enter(host: &Host, call: u64) -> Option<Entered> {
        if log::is_linked_in() {
            return None;
        }
        let entered = Self {
            host: host.clone(),
            call,
        };
        let before = CURRENT.try_with(|current| current.replace(Some(entered)));
        Some(Entered(before.ok().flatten()))
    }

    /// The thread's own.
    pub(crate) fn of_this_thread() -> Option<Self> {
        CURRENT
            .try_with(|current| current.borrow().clone())
            .ok()
            .flatten()
    }
}

/// Puts back what was before.
pub(crate) struct Entered(Option<Current>);

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        let _ = CURRENT.try_with(|current| current.replace(before));
    }
}
