//! A mutex that outlives a panic of one of its holders.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. No holder in this crate leaves a half-made state behind where it
/// could panic, so a poisoned lock is taken as it is: one fault must not stop
/// every later command.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
