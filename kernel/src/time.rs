//! Time: the machine's clock, and goroutines that wait for it.

pub use core::time::Duration;

use core::fmt;
use core::ops::{Add, Sub};

use crate::arch::clock;

/// A moment, in nanoseconds since boot. Never runs backwards, on whatever core it is read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Now.
    #[inline]
    pub fn now() -> Self {
        Self(clock::now())
    }

    /// How long ago it was; zero if it lies ahead.
    pub fn elapsed(&self) -> Duration {
        Self::now().duration_since(*self)
    }

    /// From `earlier` to here; zero if `earlier` is later.
    pub fn duration_since(&self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Nanoseconds since boot.
    pub fn as_nanos(&self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    /// Saturates at the end of the clock, some 580 years after boot.
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Duration::from_nanos(self.0).fmt(f)
    }
}

/// The raw time-stamp counter. Under `-icount shift=0` one tick is one instruction.
#[inline]
pub fn ticks() -> u64 {
    clock::ticks()
}

/// Parks the current G for at least `duration`; a zero duration yields.
///
/// ```ignore
/// time::sleep(Duration::from_millis(5));
/// ```
pub fn sleep(duration: Duration) {
    trefoil_sched::timers::sleep(duration);
}

/// Parks the current G until `when` or a little later.
pub fn sleep_until(when: Instant) {
    trefoil_sched::timers::sleep_until(when.0);
}
