//! Time as programs see it: moments, and G's that wait for them.
//!
//! An [`Instant`] is the platform's clock, in nanoseconds since boot. Its last value,
//! [`Instant::NEVER`], is no moment. A deadline that would lie behind the end of the clock (580
//! years) is that one. A wait until then ends only by the event that it waits for.

use core::fmt;
use core::ops::{Add, AddAssign, Sub, SubAssign};

pub use core::time::Duration;

pub use delay::{Delay, Elapsed, delay, delay_until, timeout};
pub use sleep::{sleep, sleep_until};
pub use timer::{Ticker, Timer};

mod delay;
mod sleep;
mod timer;

use crate::machine::platform;

/// A moment, in nanoseconds since boot. Never runs backwards, on whatever core it is read.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let begin = Instant::now();
/// time::sleep(Duration::from_millis(2));
/// assert!(begin.elapsed() >= Duration::from_millis(2));
/// assert_eq!(begin + Duration::MAX, Instant::NEVER);
/// # });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Later than any moment: a deadline that would lie behind the end of the clock.
    pub const NEVER: Self = Self(u64::MAX);

    /// Returns the present moment.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert!(Instant::now() <= Instant::now());
    /// # });
    /// ```
    #[inline]
    pub fn now() -> Self {
        Self(platform::now())
    }

    /// Returns the moment `ns` nanoseconds after boot; `u64::MAX`: [`NEVER`](Self::NEVER).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert_eq!(Instant::from_nanos(5).as_nanos(), 5);
    /// # });
    /// ```
    #[inline]
    pub const fn from_nanos(ns: u64) -> Self {
        Self(ns)
    }

    /// Returns the nanoseconds since boot.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert!(Instant::now().as_nanos() > 0);
    /// # });
    /// ```
    #[inline]
    pub const fn as_nanos(&self) -> u64 {
        self.0
    }

    /// Returns the time since this moment; zero if it lies ahead.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let begin = Instant::now();
    /// time::sleep(Duration::from_millis(1));
    /// assert!(begin.elapsed() >= Duration::from_millis(1));
    /// # });
    /// ```
    pub fn elapsed(&self) -> Duration {
        Self::now().duration_since(*self)
    }

    /// Returns the time from `earlier` to here; zero if `earlier` is later.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (early, late) = (Instant::from_nanos(5), Instant::from_nanos(8));
    /// assert_eq!(late.duration_since(early), Duration::from_nanos(3));
    /// assert_eq!(early.duration_since(late), Duration::ZERO);
    /// # });
    /// ```
    pub fn duration_since(&self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns the time from `earlier` to here; `None` if `earlier` is later.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (early, late) = (Instant::from_nanos(5), Instant::from_nanos(8));
    /// assert_eq!(early.checked_duration_since(late), None);
    /// # });
    /// ```
    pub fn checked_duration_since(&self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_nanos)
    }

    /// Does the same as [`duration_since`](Self::duration_since), under `std`'s other name for it.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// let (early, late) = (Instant::from_nanos(5), Instant::from_nanos(8));
    /// assert_eq!(early.saturating_duration_since(late), Duration::ZERO);
    /// # });
    /// ```
    pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }

    /// Returns the moment `d` later; `None` if that lies behind the end of the clock.
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert_eq!(Instant::now().checked_add(Duration::MAX), None);
    /// # });
    /// ```
    pub fn checked_add(&self, d: Duration) -> Option<Self> {
        Some(*self + d).filter(|then| *then != Self::NEVER)
    }

    /// Returns the moment `d` earlier; `None` if that was before boot, or if this is
    /// [`NEVER`](Self::NEVER).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// assert_eq!(Instant::from_nanos(5).checked_sub(Duration::from_secs(1)), None);
    /// # });
    /// ```
    pub fn checked_sub(&self, d: Duration) -> Option<Self> {
        if *self == Self::NEVER { None } else { self.0.checked_sub(nanos(d)).map(Self) }
    }
}

/// Returns the nanoseconds of `d`; `u64::MAX` if they are more.
#[inline]
pub(crate) fn nanos(d: Duration) -> u64 {
    d.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(d.subsec_nanos()))
}

impl Add<Duration> for Instant {
    type Output = Self;
    /// Returns the moment `d` later; [`NEVER`](Self::NEVER) if that lies behind the end of the
    /// clock.
    #[inline]
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(nanos(d)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, d: Duration) {
        *self = *self + d;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    /// Returns the moment `d` earlier, but not before boot. [`NEVER`](Self::NEVER) stays unchanged.
    fn sub(self, d: Duration) -> Self {
        if self == Self::NEVER { self } else { Self(self.0.saturating_sub(nanos(d))) }
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, d: Duration) {
        *self = *self - d;
    }
}

impl Sub for Instant {
    type Output = Duration;
    /// Subtracts as [`duration_since`](Self::duration_since).
    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NEVER => f.write_str("never"),
            Self(ns) => Duration::from_nanos(ns).fmt(f),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn at(ns: u64) -> Instant {
        Instant::from_nanos(ns)
    }

    #[test]
    fn what_lies_behind_the_end_of_the_clock_is_never() {
        for (from, d) in
            [(5, Duration::MAX), (u64::MAX - 5, Duration::from_nanos(5)), (0, Duration::from_secs(1 << 40))]
        {
            assert_eq!(at(from) + d, Instant::NEVER);
            assert_eq!(at(from).checked_add(d), None);
        }
        assert_eq!(at(u64::MAX - 5) + Duration::from_nanos(4), at(u64::MAX - 1));
        assert_eq!(at(7).checked_add(Duration::from_micros(1)), Some(at(1007)));
        assert_eq!(Instant::NEVER + Duration::ZERO, Instant::NEVER);
        assert_eq!(Instant::NEVER - Duration::from_secs(1), Instant::NEVER);
        assert_eq!(Instant::NEVER.checked_sub(Duration::from_secs(1)), None);
    }

    #[test]
    fn nothing_was_before_boot() {
        assert_eq!(at(5) - Duration::from_nanos(6), at(0));
        assert_eq!(at(5).checked_sub(Duration::from_nanos(6)), None);
        assert_eq!(at(5).checked_sub(Duration::from_nanos(5)), Some(at(0)));
    }

    #[test]
    fn distances_are_never_negative() {
        assert_eq!(at(9) - at(4), Duration::from_nanos(5));
        assert_eq!(at(4) - at(9), Duration::ZERO);
        assert_eq!(at(4).checked_duration_since(at(9)), None);
        assert_eq!(at(9).checked_duration_since(at(4)), Some(Duration::from_nanos(5)));
        assert_eq!(at(4).saturating_duration_since(at(9)), Duration::ZERO);
        let mut t = at(9);
        t += Duration::from_nanos(1);
        t -= Duration::from_nanos(4);
        assert_eq!(t, at(6));
    }
}
