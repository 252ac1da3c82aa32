//! Where a runnable G is put: into the slot, at the ring's end, or behind all others.

use crate::core::m::M;
use crate::core::p::Held;
use crate::core::slice::arm_slice;
use crate::core::slot::arm_slot;
use crate::core::trace;
use crate::g::GRef;
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use trefoil_trace::{Kind, Place, Why};

/// Puts `g` into the slot; the G that was there goes to the ring's end.
#[inline]
pub(crate) fn enqueue_next(guard: &PreemptGuard, g: GRef) {
    let m = M::current(guard);
    let p = m.held(guard);
    match p.put_slot(g) {
        Some(old) => displace(m, p, old, g, guard),
        None => watch_slot(m, &p, g),
    }
}

/// Out of line, so that the short way saves no registers. Takes `p` by value, so that it has no
/// place on each caller's stack.
#[inline(never)]
fn displace(m: &M, p: Held<'_>, old: GRef, new: GRef, guard: &PreemptGuard) {
    enqueue_last(m, &p, old, guard);
    watch_slot(m, &p, new);
}

/// Makes sure that a G in the slot does not wait there for ever.
#[inline(always)]
fn watch_slot(m: &M, p: &Held<'_>, g: GRef) {
    if p.slot.alarm_is_off() {
        arm_slot(m, p, g);
    }
}

/// Puts `g` at the ring's end. From a full ring, half goes to the global queue. Wakes an M if one
/// should be.
#[inline]
pub(crate) fn enqueue_last(m: &M, p: &Held<'_>, g: GRef, guard: &PreemptGuard) {
    if p.ring().push_if_room(g).is_err() {
        push_half(m, p, g, guard);
    }
    if p.slice.alarm_is_off() {
        arm_slice(m, p);
    }
    m.sched.wake_one(m);
}

#[cold]
#[inline(never)]
fn push_half(m: &M, p: &Held<'_>, g: GRef, guard: &PreemptGuard) {
    if let Err(overflow) = p.ring().push(g) {
        m.sched.globq.push(guard, overflow.0, |all| trace::overflowed(m, g, all));
    }
}

/// Puts `g`, whose core was taken away, at the global queue's end.
pub(crate) fn enqueue_behind_all(m: &M, g: GRef, guard: &PreemptGuard) {
    m.sched.globq.push_one(guard, g, || trace::queued(m, g, Why::PREEMPT, Place::Global));
    m.sched.wake_one(m);
    // A core whose G began when no other waited has no alarm, and would not notice that one waits
    // now.
    m.sched.nudge();
}

/// Takes step 2: a chain of hand-overs through the slot that has used up its slice makes way for
/// the ring.
pub(crate) fn end_if_over(m: &M, p: &Held<'_>, guard: &PreemptGuard) {
    let now = platform::now();
    if now.saturating_sub(p.slice.start_or_begin(now)) >= m.sched.slice() {
        end_chain(m, p, guard);
    }
}

/// Moves the G in the slot, whose slice is over, behind the ring.
#[cold]
#[inline(never)]
pub(crate) fn end_chain(m: &M, p: &Held<'_>, guard: &PreemptGuard) {
    if let Some(g) = p.take_slot() {
        p.slice.reset();
        trace::note(m, Kind::ChainEnd, g.id(), 0);
        enqueue_last(m, p, g, guard);
    }
}
