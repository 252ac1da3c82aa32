//! The calls from the processor's floor to the floors above it.
//!
//! A handler finds out what has happened. The answer is often the business of memory, of the
//! reports or of the scheduler's platform, and `arch` imports none of these. So `arch` names its
//! calls here, and `kernel/src/upcalls.rs` fills them in.
//!
//! ```text
//!   upcalls.rs (root)   TREFOIL_UPCALLS = Upcalls { page_fault: …, exception: …, … }
//!                             ▲ the linker
//!   arch/upcalls.rs     extern { static TREFOIL_UPCALLS: Upcalls }
//!                             ▲
//!   arch/exceptions.rs  upcalls().page_fault(frame)
//! ```
//!
//! The linker connects the two, as it does for the scheduler's `Platform`. So a call can't come too
//! early: an exception in the first lines of boot reaches its report. The value is a constant of
//! the same program, so link-time optimisation makes plain calls of these and inlines them.
//!
//! Rejected: function pointers in atomics that `start` sets. Each has a state in which it is not
//! set, and each call is an indirect one, on the page-fault path too.

use trefoil_sched::{Cause, G, PreemptGuard};

use super::abandon::Rites;
use super::idt::Frame;

/// The floors above, as this floor calls them.
pub struct Upcalls {
    /// Handles a page fault. In the #PF handler.
    pub page_fault: fn(&Frame),
    /// Reports an exception that nothing handles.
    pub exception: fn(&Frame) -> !,
    /// Reports a stack that can't grow, under a G that can't end alone, after a touch of an
    /// address.
    pub stack_fault: fn(&Frame, u64, Cause) -> !,
    /// Handles the interrupt that asks this core to pass an epoch.
    pub flush: fn(),
    /// Fills this core's fault reserve, and ends the running G if it is doomed. At depth 1.
    pub see_to_doom: fn(),
    /// Returns true if the stack pointer lies on the G's own stack or on its deathbed. In a
    /// handler.
    pub is_its_stack: fn(&G, u64) -> bool,
    /// Returns true if the stack pointer lies in the red pages of the G's stack.
    pub is_red: fn(&G, u64) -> bool,
    /// Performs the last rites of the G that ran on this core. On g0.
    pub last_rites: fn(PreemptGuard, &Rites) -> !,
    /// Makes the report of the G that has ended on the core of this number. On its deathbed.
    pub on_deathbed: fn(PreemptGuard, &mut Rites, u64) -> !,
    /// Brings the core of this number from the trampoline to its first G. On its g0 stack, with
    /// interrupts off and no record in `gs`.
    pub core_starts: fn(usize) -> !,
}

unsafe extern "Rust" {
    /// The one value, of `kernel/src/upcalls.rs`.
    safe static TREFOIL_UPCALLS: Upcalls;
}

/// Returns the floors above.
#[inline(always)]
pub(super) fn upcalls() -> &'static Upcalls {
    &TREFOIL_UPCALLS
}
