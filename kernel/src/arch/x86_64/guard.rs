//! A program's own [`PreemptGuard`].
//!
//! The scheduler's guard is a level of the core's depth and nothing more, and costs one
//! instruction. A program's guard also carries a promise, which the scheduler enforces. A goroutine
//! that leaves its core with a guard would leave the level behind, on the core, for the next
//! goroutine there. So the guard also sets a bit in the word that every way to leave looks at
//! anyway ([`M::hold_back`]). A goroutine that leaves with that bit set gets a report.

use trefoil_sched::{M, PreemptGuard as Level};

use crate::arch::percpu;

/// A guard keeps its goroutine on its core: while the guard lives, the goroutine is neither
/// preempted nor moved, even at the end of its slice. Use it for a few microseconds, around an
/// update that another goroutine of the same core must not tear. A guard does not replace a
/// [`Mutex`](crate::sync::Mutex), which keeps other cores out as well.
///
/// Guards nest. Dropping the last one handles pending work: if the slice ended meanwhile, the
/// others have their turn then and there. Interrupts stay on: timers, wake-ups and growing stacks
/// are not held up. Starting goroutines, sending where there is room, allocating and printing are
/// fine.
///
/// # Panics
/// A goroutine that parks, yields or ends with a guard in its hands ends the machine with a report
/// that shows where. So does a panic: it can't unwind there.
/// [`block_in_place`](crate::runtime::block_in_place) and
/// [`set_max_procs`](crate::runtime::set_max_procs) panic.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// # use trefoil::{PreemptGuard, prelude::*};
/// # #[trefoil::main]
/// # fn example() {
/// static VISITS: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];
/// let here = {
///     let _guard = PreemptGuard::new();
///     let core = runtime::core();
///     // Nobody else runs on this core until the guard is dropped, so a load and a store are enough.
///     VISITS[core].store(VISITS[core].load(Relaxed) + 1, Relaxed);
///     core
/// };
/// # assert!(here < 64);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping it turns preemption on again"]
pub struct PreemptGuard(Level);

impl PreemptGuard {
    /// Turns preemption off.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::PreemptGuard;
    /// # #[trefoil::main]
    /// # fn example() {
    /// let outer = PreemptGuard::new();
    /// let inner = PreemptGuard::new(); // they nest
    /// drop(inner);
    /// drop(outer); // if its slice has ended, the others have their turn here
    /// # }
    /// ```
    pub fn new() -> Self {
        let level = Level::new();
        if !percpu::m().is_null() {
            M::current(&level).hold_back(true);
        }
        Self(level)
    }
}

impl Default for PreemptGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for PreemptGuard {
    fn drop(&mut self) {
        // The last one, whichever was made first.
        if percpu::depth() == 1 && !percpu::m().is_null() {
            M::current(&self.0).hold_back(false);
        }
    }
}
