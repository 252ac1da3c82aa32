//! Requests for memory that are refused, because a test wants that.
//!
//! `testing/inject.rs` arms the counter and says which requests count. Only where debug assertions
//! are on: elsewhere each question is `false` when compiled, and the allocations contain no code
//! for it.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::arch::percpu;

/// The core that is armed, + 1; 0: none. Written by that core's goroutines only, so no order
/// between these matters.
static CORE: AtomicU32 = AtomicU32::new(0);
/// Allocations until one fails, that one included.
static LEFT: AtomicU32 = AtomicU32::new(0);
static FIRED: AtomicBool = AtomicBool::new(false);

fn core() -> u32 {
    percpu::preempt_off();
    let core = percpu::current().index() as u32 + 1;
    percpu::preempt_on();
    core
}

/// Refuses the `n`th request of this core that counts from now on, once.
pub(crate) fn arm(n: u32) {
    FIRED.store(false, Ordering::Relaxed);
    LEFT.store(n, Ordering::Relaxed);
    CORE.store(core(), Ordering::Relaxed);
}

/// Refuses no more. Returns true if a request was refused.
pub(crate) fn disarm() -> bool {
    CORE.store(0, Ordering::Relaxed);
    FIRED.load(Ordering::Relaxed)
}

/// Returns how many more requests would have to come until one is refused.
pub(crate) fn left() -> u32 {
    LEFT.load(Ordering::Relaxed)
}

/// Returns true if some later allocation is to fail.
#[inline(always)]
pub(super) fn is_armed() -> bool {
    cfg!(debug_assertions) && CORE.load(Ordering::Relaxed) != 0
}

/// Returns true if the requested block must be denied.
#[inline(always)]
pub(super) fn denies_block() -> bool {
    cfg!(debug_assertions) && CORE.load(Ordering::Relaxed) != 0 && percpu::depth() == 0 && counts_down()
}

/// Returns true if the requested frame must be denied.
#[inline(always)]
pub(super) fn denies_frame() -> bool {
    cfg!(debug_assertions) && CORE.load(Ordering::Relaxed) != 0 && counts_down()
}

/// Returns true if the page that a stack grows by must be denied. In the #PF handler over code at
/// depth 0.
#[inline(always)]
pub(super) fn denies_growth() -> bool {
    cfg!(debug_assertions) && CORE.load(Ordering::Relaxed) != 0 && {
        let core = percpu::current();
        core.index() as u32 + 1 == CORE.load(Ordering::Relaxed) && count()
    }
}

#[cold]
fn counts_down() -> bool {
    !percpu::in_handler() && core() == CORE.load(Ordering::Relaxed) && percpu::current_g().is_some() && count()
}

#[cold]
fn count() -> bool {
    let left = LEFT.load(Ordering::Relaxed).saturating_sub(1);
    LEFT.store(left, Ordering::Relaxed);
    if left == 0 {
        CORE.store(0, Ordering::Relaxed);
        FIRED.store(true, Ordering::Relaxed);
    }
    left == 0
}
