//! Catches what the plugin's code throws and remembers where it was thrown.

use std::{
    any::Any,
    backtrace::{Backtrace, BacktraceStatus},
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    sync::Once,
};

use crate::HandlerError;

thread_local! {
    /// How many guards this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// A caught panic.
#[derive(Debug)]
pub(crate) struct Panic {
    /// `file:line:column`, if the hook saw it.
    location: Option<String>,
    message: String,
    /// Captured where `RUST_BACKTRACE` asks for it.
    backtrace: Option<String>,
}

/// Runs `body`; a panic in it becomes an error. The caller sees to it that what
/// the panic left half done is not used again: it poisons the instance.
pub(crate) fn guard<R>(body: impl FnOnce() -> R) -> Result<R, Panic> {
    install_hook();
    // Held across the body: in a loaded library each look for it costs.
    DEPTH.with(|depth| {
        depth.set(depth.get() + 1);
        let result = panic::catch_unwind(AssertUnwindSafe(body)).map_err(caught);
        depth.set(depth.get() - 1);
        result
    })
}

#[cold]
fn caught(payload: Box<dyn Any + Send>) -> Panic {
    let panic = LAST.take().unwrap_or_else(|| Panic {
        location: None,
        message: message_of(&*payload),
        backtrace: None,
    });
    // Dropping a foreign payload can panic in its turn; what that throws is leaked.
    if let Err(second) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    panic
}

impl Panic {
    /// As the error of the call that it ended.
    pub(crate) fn into_error(self) -> HandlerError {
        let message = match &self.location {
            Some(location) => format!("panicked at {location}: {}", self.message),
            None => format!("panicked: {}", self.message),
        };
        let mut help = "this is a fault in the plugin: report it to the plugin's author".to_owned();
        if let Some(backtrace) = &self.backtrace {
            help.push('\n');
            help.push_str(backtrace);
        }
        HandlerError::new(HandlerError::PANICKED, message).help(help)
    }
}

/// The hook notes panics inside a guard and leaves all others to the hook that
/// was there before. A caught panic is told to the host instead of being
/// printed, so that a worker's standard error stays its own.
fn install_hook() {
    static INSTALLED: Once = Once::new();
    // `is_completed` is one load; a closure for `call_once` is made only once.
    if INSTALLED.is_completed() {
        return;
    }
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
                before(info);
            } else {
                note(info);
            }
        }));
    });
}

fn note(info: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let seen = Panic {
        location: info.location().map(ToString::to_string),
        message: message_of(info.payload()),
        backtrace: (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string()),
    };
    let _ = LAST.try_with(|last| last.replace(Some(seen)));
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is not text".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_file_and_line() {
        let line = line!() + 1;
        let error = guard(|| panic!("{} is wrong", "it"))
            .expect_err("it panics")
            .into_error();
        assert_eq!(error.code, "panicked");
        let at = format!("panicked at {}:{line}:", file!());
        assert!(error.message.starts_with(&at), "{}", error.message);
        assert!(error.message.ends_with("it is wrong"), "{}", error.message);
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_survived() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("second");
            }
        }
        let error = guard(|| panic::panic_any(Bomb))
            .expect_err("it panics")
            .into_error();
        assert!(error.message.contains("not text"), "{}", error.message);
        guard(|| ()).expect("the guard still works");
    }
}
