//! Sleeping.

use core::time::Duration;

use super::Instant;
use crate::core::park::{park, yield_now};
use crate::g::{GRef, WaitReason};
use crate::machine::guard::PreemptGuard;
use crate::timers::LAST;
use crate::wait::sleep::{reserve, start_sleep};

/// Parks the current G for at least `duration`. Zero yields. A duration that reaches behind the end
/// of the clock is no deadlock: the G just sleeps.
///
/// # Panics
/// When there is no memory for the timer.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// time::sleep(Duration::from_millis(5));
/// # });
/// ```
pub fn sleep(duration: Duration) {
    if duration.is_zero() {
        return yield_now();
    }
    sleep_until(Instant::now() + duration);
}

/// Parks the current G until the clock has reached `when`. A moment that has passed yields.
///
/// # Panics
/// As [`sleep`].
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let begin = Instant::now();
/// for tick in 1..=3 {
///     time::sleep_until(begin + Duration::from_millis(2) * tick); // no drift
/// }
/// assert!(begin.elapsed() >= Duration::from_millis(6));
/// # });
/// ```
pub fn sleep_until(when: Instant) {
    if when <= Instant::now() {
        // No G sleeps with a deadline before the present. Such a deadline would always be the
        // earliest, and keep later ones from their turn.
        return yield_now();
    }
    let when = when.as_nanos().min(LAST);
    // SAFETY: `when` outlives the park (it is on this stack), and `commit` hands G to one timer,
    // which readies it once.
    drop(unsafe { park(reserve(), WaitReason::Sleep, commit_sleep, (&raw const when).cast_mut().cast()) });
}

/// Makes the G visible to the M's that run the timers. Runs in `after`.
unsafe fn commit_sleep(when: *mut (), g: GRef) -> bool {
    // SAFETY: `sleep_until` passed a pointer to its deadline, and its G has not been resumed yet.
    let when = unsafe { *when.cast::<u64>() };
    // SAFETY: a switch runs `after` with one level of preemption off; borrowed here.
    let guard = unsafe { PreemptGuard::adopt() };
    start_sleep(&guard, g, when);
    guard.hand_over();
    true
}
