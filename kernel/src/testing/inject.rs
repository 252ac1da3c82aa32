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
//! Memory asks `mm/refusal.rs` at each request, only where debug assertions are on.

use crate::mm::refusal;

/// Makes the `n`th allocation that counts from now on, on this core, fail; the next one, if `n` is
/// 0 or 1. Once. One core at a time.
pub fn fail_after(n: u32) {
    refusal::arm(n.max(1));
}

/// Disarms. Returns true if an allocation was made to fail.
pub fn off() -> bool {
    refusal::disarm()
}

/// Returns how many more allocations the last round would have needed until one failed; 0: one has.
pub fn left() -> u32 {
    refusal::left()
}
