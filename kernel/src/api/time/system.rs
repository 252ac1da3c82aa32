//! The time of day: the real-time clock is read once, then the machine's clock goes on from there.

use core::fmt;
use core::ops::{Add, AddAssign, Sub, SubAssign};
use core::sync::atomic::{AtomicU64, Ordering};

use super::Duration;
use crate::arch::clock;
use crate::arch::rtc::{self, Error, Reading};

/// When the machine booted, in nanoseconds since 1970; 0: not known yet.
static BOOT: AtomicU64 = AtomicU64::new(0);

/// A moment by the calendar, as `std`'s. Good for a date; [`Instant`](super::Instant) is good for
/// measuring.
///
/// The first call of [`now`](Self::now) reads the machine's real-time clock, which counts whole
/// seconds: all moments of a run may be behind by up to a second. From then on the machine's own
/// clock counts, so no moment lies before an earlier one. A clock that shows a local time makes a
/// moment wrong by its time zone.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn example() {
/// use trefoil::time::{SystemTime, UNIX_EPOCH};
///
/// let begin = SystemTime::now();
/// let since = begin.duration_since(UNIX_EPOCH).unwrap();
/// println!("{} days since 1970", since.as_secs() / 86_400);
/// assert!(begin.elapsed().unwrap() < Duration::from_secs(10));
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemTime {
    /// Nanoseconds since 1970: `i64`'s seconds fit, as in `std`.
    nanos: i128,
}

/// 1970-01-01 00:00:00 UTC.
pub const UNIX_EPOCH: SystemTime = SystemTime::UNIX_EPOCH;

/// The first and the last moment, as `std` has them on Unix: 64 bits of seconds.
const RANGE: (i128, i128) = (i64::MIN as i128 * 1_000_000_000, i64::MAX as i128 * 1_000_000_000 + 999_999_999);

/// The machine does not know the time of day.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn example() {
/// match time::SystemTime::try_now() {
///     Ok(now) => println!("{now:?}"),
///     Err(why) => println!("no date: {why}"),
/// }
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoSystemTime {
    /// There is no real-time clock.
    Absent,
    /// The clock has lost the time: its battery is empty.
    Unset,
    /// The clock never says that its registers can be read.
    Restless,
    /// The clock shows no date.
    Nonsense,
}

impl fmt::Display for NoSystemTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "the machine has no real-time clock",
            Self::Unset => "the real-time clock has lost the time",
            Self::Restless => "the real-time clock never stands still",
            Self::Nonsense => "the real-time clock shows no date",
        })
    }
}

impl core::error::Error for NoSystemTime {}

impl From<Error> for NoSystemTime {
    fn from(error: Error) -> Self {
        match error {
            Error::Absent => Self::Absent,
            Error::Unset => Self::Unset,
            Error::Restless => Self::Restless,
            Error::Nonsense => Self::Nonsense,
        }
    }
}

/// The other moment is the later one. [`duration`](Self::duration) tells by how much.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn example() {
/// use trefoil::time::UNIX_EPOCH;
///
/// let error = UNIX_EPOCH.duration_since(UNIX_EPOCH + Duration::from_secs(2)).unwrap_err();
/// assert_eq!(error.duration(), Duration::from_secs(2));
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SystemTimeError(Duration);

impl SystemTimeError {
    /// Returns by how much the other moment is later.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn example() {
    /// use trefoil::time::UNIX_EPOCH;
    ///
    /// let early = UNIX_EPOCH - Duration::from_millis(5);
    /// assert_eq!(early.duration_since(UNIX_EPOCH).unwrap_err().duration(), Duration::from_millis(5));
    /// # }
    /// ```
    pub fn duration(&self) -> Duration {
        self.0
    }
}

impl fmt::Display for SystemTimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("second time provided was later than self")
    }
}

impl core::error::Error for SystemTimeError {}

impl SystemTime {
    /// 1970-01-01 00:00:00 UTC.
    pub const UNIX_EPOCH: Self = Self { nanos: 0 };

    /// Returns the present moment.
    ///
    /// # Panics
    /// If the machine does not know the time of day; see [`try_now`](Self::try_now).
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn example() {
    /// assert!(time::SystemTime::now() <= time::SystemTime::now());
    /// # }
    /// ```
    #[track_caller]
    pub fn now() -> Self {
        match Self::try_now() {
            Ok(now) => now,
            Err(why) => panic!("no time of day: {why}"),
        }
    }

    /// Returns the present moment. The first call of a run reads the real-time clock, and may yield
    /// meanwhile.
    ///
    /// # Errors
    /// There is no real-time clock (as on QEMU's `microvm` with `rtc=off`), or it does not know the
    /// time.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn example() {
    /// let stamp = time::SystemTime::try_now().map_or(0, |now| now.duration_since(time::UNIX_EPOCH).unwrap().as_secs());
    /// println!("{stamp}");
    /// # }
    /// ```
    pub fn try_now() -> Result<Self, NoSystemTime> {
        let mut boot = BOOT.load(Ordering::Relaxed);
        if boot == 0 {
            let Reading { seconds, at } = rtc::read()?;
            // No overflow: see `rtc::LAST_YEAR`.
            let read = (seconds * 1_000_000_000).saturating_sub(at).max(1);
            // The first reading holds for all.
            boot =
                BOOT.compare_exchange(0, read, Ordering::Relaxed, Ordering::Relaxed).map_or_else(|won| won, |_| read);
        }
        Ok(Self { nanos: i128::from(boot) + i128::from(clock::now()) })
    }

    /// Returns the time from `earlier` to here.
    ///
    /// # Errors
    /// `earlier` is the later one; the error tells by how much.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn example() {
    /// use trefoil::time::UNIX_EPOCH;
    ///
    /// let later = UNIX_EPOCH + Duration::from_secs(5);
    /// assert_eq!(later.duration_since(UNIX_EPOCH).unwrap(), Duration::from_secs(5));
    /// # }
    /// ```
    pub fn duration_since(&self, earlier: Self) -> Result<Duration, SystemTimeError> {
        let between = duration((self.nanos - earlier.nanos).unsigned_abs());
        if *self < earlier { Err(SystemTimeError(between)) } else { Ok(between) }
    }

    /// Returns the time since this moment.
    ///
    /// # Errors
    /// This moment lies ahead; the error tells how far.
    ///
    /// # Panics
    /// As [`now`](Self::now).
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn example() {
    /// assert!(time::UNIX_EPOCH.elapsed().is_ok());
    /// # }
    /// ```
    #[track_caller]
    pub fn elapsed(&self) -> Result<Duration, SystemTimeError> {
        Self::now().duration_since(*self)
    }

    /// Returns the moment `d` later; `None` if no such moment can be told.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn example() {
    /// assert_eq!(time::UNIX_EPOCH.checked_add(Duration::MAX), None);
    /// # }
    /// ```
    pub fn checked_add(&self, d: Duration) -> Option<Self> {
        Self { nanos: self.nanos + d.as_nanos() as i128 }.in_range()
    }

    /// Returns the moment `d` earlier; `None` if no such moment can be told.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn example() {
    /// let early = time::UNIX_EPOCH.checked_sub(Duration::from_secs(1)).unwrap();
    /// assert!(early < time::UNIX_EPOCH);
    /// # }
    /// ```
    pub fn checked_sub(&self, d: Duration) -> Option<Self> {
        Self { nanos: self.nanos - d.as_nanos() as i128 }.in_range()
    }

    fn in_range(self) -> Option<Self> {
        (RANGE.0..=RANGE.1).contains(&self.nanos).then_some(self)
    }
}

/// Two moments are less than 2^65 seconds apart; a duration has 64 bits.
fn duration(nanos: u128) -> Duration {
    let seconds = u64::try_from(nanos / 1_000_000_000);
    seconds.map_or(Duration::MAX, |seconds| Duration::new(seconds, (nanos % 1_000_000_000) as u32))
}

impl Add<Duration> for SystemTime {
    type Output = Self;
    /// Returns the moment `d` later. Panics if no such moment can be told.
    fn add(self, d: Duration) -> Self {
        self.checked_add(d).expect("overflow when adding duration to instant")
    }
}

impl AddAssign<Duration> for SystemTime {
    fn add_assign(&mut self, d: Duration) {
        *self = *self + d;
    }
}

impl Sub<Duration> for SystemTime {
    type Output = Self;
    /// Returns the moment `d` earlier. Panics if no such moment can be told.
    fn sub(self, d: Duration) -> Self {
        self.checked_sub(d).expect("overflow when subtracting duration from instant")
    }
}

impl SubAssign<Duration> for SystemTime {
    fn sub_assign(&mut self, d: Duration) {
        *self = *self - d;
    }
}

impl fmt::Debug for SystemTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemTime")
            .field("tv_sec", &self.nanos.div_euclid(1_000_000_000))
            .field("tv_nsec", &self.nanos.rem_euclid(1_000_000_000))
            .finish()
    }
}
