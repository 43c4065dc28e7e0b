//! The clocks of both ends: one time that passes, and how far each wall clock
//! is off it.

use std::{
    cell::Cell,
    time::{Duration, Instant, SystemTime},
};

use aegis_controller::{simulation as controller, time::millis};
use aegis_core::{clock::BootInstant, simulation as worker};
use uuid::{Builder, Uuid};

/// Where every schedule begins.
const BEGINNING: Duration = Duration::from_secs(1_780_000_000);

/// Ahead of the machine's own, so that none of tokio's timers fires by itself.
const AHEAD: Duration = Duration::from_secs(365 * 24 * 3600);

thread_local! {
    /// Of the last id, and what makes a schedule's ids its own.
    static LAST_ID: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

#[derive(Debug)]
pub struct Clocks {
    base: Instant,
    passed: Duration,
    pub worker_off: i64,
    pub controller_off: i64,
    /// The latest that the worker's wall clock ever showed.
    pub worker_latest: SystemTime,
}

impl Clocks {
    pub fn new(seed: u64) -> Self {
        LAST_ID.set((0, seed));
        let clocks = Self {
            base: Instant::now() + AHEAD,
            passed: Duration::ZERO,
            worker_off: 0,
            controller_off: 0,
            worker_latest: SystemTime::UNIX_EPOCH,
        };
        clocks.show()
    }

    pub fn pass(&mut self, time: Duration) {
        self.passed += time;
        *self = std::mem::replace(self, Self { ..*self }).show();
    }

    /// The true time.
    pub fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + BEGINNING + self.passed
    }

    pub fn worker_wall(&self) -> SystemTime {
        off(self.now(), self.worker_off)
    }

    pub fn controller_wall(&self) -> SystemTime {
        off(self.now(), self.controller_off)
    }

    /// Has both ends read them.
    pub fn show(mut self) -> Self {
        self.worker_latest = self.worker_latest.max(self.worker_wall());
        worker::set_clocks(worker::Clocks {
            wall: self.worker_wall(),
            boot: BootInstant::after_boot(AHEAD + self.passed),
            monotonic: self.base + self.passed,
        });
        controller::set_clock(millis(self.controller_wall()), new_id);
        self
    }
}

fn off(time: SystemTime, millis: i64) -> SystemTime {
    let by = Duration::from_millis(millis.unsigned_abs());
    if millis < 0 { time - by } else { time + by }
}

/// As UUIDv7 does: by the time, and never before an earlier one.
fn new_id() -> Uuid {
    let (last, salt) = LAST_ID.get();
    let now = u64::try_from(aegis_controller::time::now()).expect("after the epoch") << 12;
    let id = now.max(last + 1);
    LAST_ID.set((id, salt));
    let mut random = [0; 10];
    random[..2].copy_from_slice(&u16::try_from(id & 0xfff).expect("12 bits").to_be_bytes());
    random[2..].copy_from_slice(&salt.to_be_bytes());
    Builder::from_unix_timestamp_millis(id >> 12, &random).into_uuid()
}
