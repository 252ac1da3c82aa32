//! The scheduler's way to drop values of the program's.
//!
//! A payload is anybody's value, and so is a result that nobody wants: their destructors may panic.
//! Where a program drops one, that is a panic like any other. Where the scheduler does it in the
//! program's place (a handle is dropped, a goroutine ends), nobody expects one. So there the
//! destructor runs inside a catch ([`drop_caught`]); its panic is reported, and the goroutine goes
//! on.

use core::mem::{ManuallyDrop, needs_drop};

use crate::g::{GRef, JoinError};
use crate::machine::guard::PreemptGuard;
use crate::machine::payload::Payload;
use crate::machine::platform;

/// How many payloads in a row may panic when they are dropped. The next one is leaked.
const PATIENCE: usize = 4;

/// The G that calls.
fn here() -> GRef {
    crate::core::park::current_g(&PreemptGuard::new())
}

/// Drops `value`, which is the program's. Its destructor may panic, and that panic comes back.
fn try_drop<T>(value: T) -> Result<(), Payload> {
    let mut value = ManuallyDrop::new(value);
    // SAFETY: 1. `ManuallyDrop` keeps the value from being dropped again.
    unsafe { try_drop_at(&raw mut *value) }
}

/// As [`try_drop`], where the value lies.
///
/// # Safety
/// 1. `place` points to a `T` that is not used again.
unsafe fn try_drop_at<T>(place: *mut T) -> Result<(), Payload> {
    unsafe fn drop_at<T>(value: *mut ()) {
        // SAFETY: `try_drop_at` passes its value, which is dropped only here.
        unsafe { value.cast::<T>().drop_in_place() };
    }
    // SAFETY: 1. `drop_at` drops a `T`, once.
    unsafe { platform::catch_inside(drop_at::<T>, place.cast()) }
}

/// Drops `value`, which is the program's, for the scheduler: a panic of its destructor is reported
/// and ends there. On a G, with preemption on.
#[inline]
pub(crate) fn drop_caught<T>(value: T) {
    if needs_drop::<T>()
        && let Err(payload) = try_drop(value)
    {
        report_unjoined(payload, here().id());
    }
}

/// As [`drop_caught`], where the value lies.
///
/// # Safety
/// 1. `place` points to a `T` that is not used again.
pub(crate) unsafe fn drop_caught_at<T>(place: *mut T) {
    if needs_drop::<T>()
        // SAFETY: 1. `place` points to a `T` that the caller does not use again.
        && let Err(payload) = unsafe { try_drop_at(place) }
    {
        report_unjoined(payload, here().id());
    }
}

/// Tells of a panic of G number `id` that nobody will see otherwise, and drops its payload.
#[cold]
#[inline(never)]
pub(crate) fn report_unjoined(payload: Payload, id: u64) {
    let (mut payload, mut id) = (payload, id);
    for _ in 0..PATIENCE {
        if !payload.is_exit() {
            platform::unjoined_panic(id, &payload);
        }
        let g = here();
        if g.is_doomed() {
            // On a g0 nothing of the program's runs. The payload is leaked, like all that the G
            // had.
            break;
        }
        match try_drop(payload.into_inner()) {
            Ok(()) => return,
            Err(next) => (payload, id) = (next, g.id()),
        }
    }
    core::mem::forget(payload);
}

/// Reports `error` of G number `id`, which nobody will see, if it is a panic.
pub(crate) fn report_unseen(error: JoinError, id: u64) {
    if let JoinError::Panicked(payload) = error {
        report_unjoined(payload, id);
    }
}
