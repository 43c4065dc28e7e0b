//! The clocks. Lifetimes are measured on [`BootInstant`], which goes on while
//! the machine is suspended and takes no notice of changes of the wall clock,
//! neither of which can be said of the standard library's two.
//!
//! What happens to commands reads its clocks here alone, so that a simulation
//! can be their one source.

use std::{
    cell::Cell,
    ops::{Add, Sub},
    time::{Duration, Instant, SystemTime},
};

thread_local! {
    static SIMULATED: Cell<Option<Simulated>> = const { Cell::new(None) };
}

/// What a simulation's clocks show.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Simulated {
    pub wall: SystemTime,
    pub boot: BootInstant,
    pub monotonic: Instant,
}

/// Has this thread read these clocks from now on.
#[doc(hidden)]
pub fn simulate(clocks: Simulated) {
    SIMULATED.set(Some(clocks));
}

/// The wall clock, which may be set.
pub(crate) fn wall() -> SystemTime {
    SIMULATED
        .get()
        .map_or_else(SystemTime::now, |clocks| clocks.wall)
}

/// The clock that timers go by.
pub(crate) fn monotonic() -> Instant {
    SIMULATED
        .get()
        .map_or_else(Instant::now, |clocks| clocks.monotonic)
}

/// A moment, as time since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// The moment at which this is called.
    pub fn now() -> Self {
        if let Some(clocks) = SIMULATED.get() {
            return clocks.boot;
        }
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
