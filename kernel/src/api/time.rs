//! Time: the machine's clock, goroutines that wait for it, and the time of day.

pub use trefoil_sched::time::{
    Delay, Duration, Elapsed, Instant, Ticker, Timer, delay, delay_until, sleep, sleep_until, timeout,
};

pub use system::{NoSystemTime, SystemTime, SystemTimeError, UNIX_EPOCH};

mod system;

use crate::arch::clock;

/// Returns the raw time-stamp counter. Under `-icount shift=0` one tick is one instruction.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn example() {
/// let begin = time::ticks();
/// let sum: u64 = (0..1000).sum();
/// println!("{sum}, in {} ticks", time::ticks() - begin);
/// # }
/// ```
#[inline]
pub fn ticks() -> u64 {
    clock::ticks()
}
