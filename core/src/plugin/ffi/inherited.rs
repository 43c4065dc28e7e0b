//! Descriptors that a process was started with.

use std::{
    os::fd::{FromRawFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fd::BorrowedFd,
    io::{FdFlags, fcntl_getfd, fcntl_setfd},
};

/// Takes the descriptors of these two numbers, both above those of standard
/// streams, and keeps programs that this process starts from them. `None`: they
/// are not open, or were taken.
pub(crate) fn inherited(numbers: [i32; 2]) -> Option<[OwnedFd; 2]> {
    static TAKEN: AtomicBool = AtomicBool::new(false);

    let open = |number: i32| {
        // SAFETY: a number that is not -1. It is only asked about, and one that
        // is not open is an error of the call.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        let flags = fcntl_getfd(borrowed)?;
        fcntl_setfd(borrowed, flags | FdFlags::CLOEXEC)
    };
    if numbers
        .iter()
        .any(|number| *number <= 2 || open(*number).is_err())
        || TAKEN.swap(true, Ordering::AcqRel)
    {
        return None;
    }
    // SAFETY: they are open, and the caller runs in a process that was started
    // with them and has opened none of these numbers itself; they are taken
    // once.
    Some(numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) }))
}
