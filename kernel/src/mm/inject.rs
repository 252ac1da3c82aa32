//! Memory that fails when a test wants it to.
//!
//! ```text
//!   fail_after(3)   alloc ok   frames::alloc ok   alloc: null      alloc ok …      off() == true
//!        arms           2              1          0: fires once    not armed
//! ```
//!
//! The counter counts requests of a goroutine on the core that armed it, if the requester can be
//! told:
//!
//! * blocks from the heap, with preemption on: the asker gets an error or panics. With preemption
//!   off it would be the end of the machine.
//! * frames, also with preemption off, since each requester of a frame handles a refusal: spawning,
//!   the heap when it grows.
//!
//! * pages that a stack grows by, with preemption on: the G ends.
//!
//! Requests of other handlers and of g0 do not count.
//!
//! Only where debug assertions are on: elsewhere both questions are `false` when compiled, and the
//! allocations contain no code for them.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::arch::percpu;
use crate::panic;

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

/// Makes the `n`th allocation that counts from now on, on this core, fail; the next one, if `n` is
/// 0 or 1. Once. One core at a time.
pub fn fail_after(n: u32) {
    FIRED.store(false, Ordering::Relaxed);
    LEFT.store(n.max(1), Ordering::Relaxed);
    CORE.store(core(), Ordering::Relaxed);
}

/// Disarms. Returns true if an allocation was made to fail.
pub fn off() -> bool {
    CORE.store(0, Ordering::Relaxed);
    FIRED.load(Ordering::Relaxed)
}

/// Returns how many more allocations the last round would have needed until one failed; 0: one has.
pub fn left() -> u32 {
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
    !percpu::in_handler() && core() == CORE.load(Ordering::Relaxed) && panic::current_g().is_some() && count()
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
