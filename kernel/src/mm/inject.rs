//! Memory that fails when a test wants it to.
//!
//! ```text
//!   fail_after(3)   alloc ok   frames::alloc ok   alloc: null      alloc ok …      off() == true
//!        arms           2              1          0: fires once    not armed
//! ```
//!
//! Counted are allocations from the heap and of frames, on the core that armed it, from an ordinary goroutine with preemption on: the
//! places where a program, or the scheduler on its behalf, can be told. What the heap or the page tables take under their own
//! locks is not counted; their failure reaches the caller as the allocation's own.
//!
//! Only where debug assertions are on: elsewhere `fires` is `false` when compiled, and the allocations' code is as if it were not there.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::arch::percpu;
use crate::panic;

/// The core that is armed, + 1; 0: none. Written by that core's goroutines only, so no order between these matters.
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

/// The `n`th allocation from now on that is made on this core by an ordinary goroutine fails; the next one, if `n` is 0 or 1. Once. One core
/// at a time.
pub fn fail_after(n: u32) {
    FIRED.store(false, Ordering::Relaxed);
    LEFT.store(n.max(1), Ordering::Relaxed);
    CORE.store(core(), Ordering::Relaxed);
}

/// Disarms. Whether an allocation was made to fail.
pub fn off() -> bool {
    CORE.store(0, Ordering::Relaxed);
    FIRED.load(Ordering::Relaxed)
}

/// Whether the allocation that asks must fail.
#[inline(always)]
pub(super) fn fires() -> bool {
    cfg!(debug_assertions) && CORE.load(Ordering::Relaxed) != 0 && counts_down()
}

#[cold]
fn counts_down() -> bool {
    if percpu::depth() > 0
        || percpu::in_handler()
        || core() != CORE.load(Ordering::Relaxed)
        || panic::current_g().is_none()
    {
        return false;
    }
    let left = LEFT.load(Ordering::Relaxed).saturating_sub(1);
    LEFT.store(left, Ordering::Relaxed);
    if left == 0 {
        CORE.store(0, Ordering::Relaxed);
        FIRED.store(true, Ordering::Relaxed);
    }
    left == 0
}
