//! The one scheduler of this machine, and the number of the G that runs the program's `main`.
//!
//! This module stands below all floors: it knows only the crate `trefoil-sched`.

use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use trefoil_sched::{G, Sched};

/// The scheduler, published once by `start`.
static SCHED: AtomicPtr<Sched> = AtomicPtr::new(core::ptr::null_mut());

/// The number of the G that runs the program's `main`.
static MAIN_G: AtomicU64 = AtomicU64::new(0);

/// The cores of the machine; see `runtime::num_cpus`.
pub(crate) static CPUS: AtomicUsize = AtomicUsize::new(1);

pub(crate) fn set_sched(sched: &'static Sched) {
    // Release: pairs with the Acquire in `try_sched`.
    SCHED.store(core::ptr::from_ref(sched).cast_mut(), Ordering::Release);
}

pub(crate) fn set_main_g(id: u64) {
    MAIN_G.store(id, Ordering::Relaxed);
}

/// Returns true if `g` runs the program's `main`.
pub(crate) fn is_main(g: &G) -> bool {
    g.id() == MAIN_G.load(Ordering::Relaxed)
}

/// Returns the scheduler, if there is one yet.
pub(crate) fn try_sched() -> Option<&'static Sched> {
    // SAFETY: `set_sched` stored a `&'static Sched`.
    unsafe { SCHED.load(Ordering::Acquire).as_ref() }
}

/// Returns the scheduler.
///
/// # Panics
/// Before `start` has made it.
pub(crate) fn sched() -> &'static Sched {
    try_sched().expect("the scheduler is not running yet")
}
