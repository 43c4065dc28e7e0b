//! The clock that lifetimes are measured on.
//!
//! It goes on while the machine is suspended and takes no notice of changes of
//! the wall clock, neither of which can be said of the standard library's two.

use std::{
    ops::{Add, Sub},
    time::Duration,
};

/// A moment, as time since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// The moment at which this is called.
    pub fn now() -> Self {
        #[cfg(target_os = "linux")]
        let clock = rustix::time::ClockId::Boottime;
        // On Apple's systems it is this one that counts suspend.
        #[cfg(not(target_os = "linux"))]
        let clock = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
        Self(Duration::new(seconds, nanos))
    }

    /// A moment this long after the machine started.
    pub const fn after_boot(duration: Duration) -> Self {
        Self(duration)
    }

    /// From `earlier` to this; zero if that is no earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for BootInstant {
    type Output = Self;

    /// Saturates.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Sub<Duration> for BootInstant {
    type Output = Self;

    /// Saturates at the machine's start.
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }
}
