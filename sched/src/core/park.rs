//! Leaving the M: yield and park; and coming back: ready.
//!
// ANCHOR: park
//! ```text
//!   G a                                          G b (popped from the slot or the ring)
//!   park(reason, commit, arg)
//!     state Running → Parking
//!     next = slot or ring, if nothing needs attention
//!     switch(a → b, after_park) ──────────────▶  on b's stack: after_park(a)
//!                                                    commit(arg, a)     release the lock of the list that a is in, or publish a
//!                                                    Parking → Waiting  or requeue a, if it was readied meanwhile
//!                                                returns into b, where b once left
//! ```
// ANCHOR_END: park
//!
//! With no `b` at hand, or something else to attend to, the M's g0 takes the place of `b` and looks
//! for work (`core/find.rs`). INV-PUBLISH stands here: nothing makes `a` visible before `after`.
//! Until then its registers are on their way into memory, and another core that resumed it would
//! run with half of them.

use crate::core::enqueue::end_chain;
use crate::core::enqueue::enqueue_behind_all;
use crate::core::enqueue::enqueue_last;
use crate::core::enqueue::enqueue_next;
use crate::core::leave::{
    Leaves, Local, NextSp, attend, dispatch, go_to_g0, leave, leaves_held, next_local, run_next, to_g0,
};
use crate::core::m::M;
use crate::core::p::{ATTEND_HELD, ATTEND_RETIRE, ATTEND_SLICE};
use crate::core::trace::{self, ATTEND_TRACE};
use crate::g::state::{Finish, Ready};
use crate::g::{GRef, WaitReason};
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::machine::sync::Ordering;
use trefoil_trace::{Place, Why};

/// Publishes a parked G; see [`park`].
pub type Commit = unsafe fn(*mut (), GRef) -> bool;

/// The arguments of `after_park`, on the parking G's stack.
struct Parking {
    commit: Commit,
    arg: *mut (),
}

/// Parks the current G until another context calls [`ready`] on it, once.
///
/// `commit(arg, g)` runs on another stack when the registers of `g` are saved, and makes `g`
/// visible to its waker. A channel or lock has put the G on a list before, and `commit` releases
/// the lock that covers the list. A sleep, a join or a `select!` is published here. If `commit`
/// returns false there is no reason to wait any more: the G goes on at once. `arg` should be the
/// object that the G waits for: reports print it.
///
/// The guard must be the only one of this G; the returned one may belong to another M.
///
/// # Safety
/// 1. The publication by `commit` leads to exactly one `ready` for this park, and to none if
///    `commit` returns false.
/// 2. `arg` is what `commit` expects, and stays valid until `commit` has run.
#[inline]
pub unsafe fn park(guard: PreemptGuard, reason: WaitReason, commit: Commit, arg: *mut ()) -> PreemptGuard {
    let g = M::current(&guard).caller();
    // SAFETY: 1. and 2. are this function's own rules for `commit` and `arg`. 3. `g` is the G that
    // runs here.
    unsafe { park_as(guard, g, reason, commit, arg) }
}

/// Parks as [`park`] does, for a caller that knows which G runs.
///
/// # Safety
/// As [`park`]. 3. `g` is the caller.
#[inline]
pub(crate) unsafe fn park_as(
    guard: PreemptGuard,
    g: GRef,
    reason: WaitReason,
    commit: Commit,
    arg: *mut (),
) -> PreemptGuard {
    let m = M::current(&guard);
    g.set_wait(reason, arg as usize);
    m.counters.parks.add(1);
    g.state.begin_park();
    let p = m.held(&guard);
    g.set_since(p.coarse.load(Ordering::Relaxed));
    let next = match next_local(p) {
        // SAFETY: `park_attended` has this function's own rules.
        Local::Attend => return unsafe { park_attended(guard, g, commit, arg) },
        // SAFETY: `park_for_special` has this function's own rules.
        Local::G(next) if next.is_special() => return unsafe { park_for_special(guard, g, next, commit, arg) },
        Local::G(next) => dispatch(m, next),
        Local::Nobody => go_to_g0(m),
    };
    // SAFETY: `leave_parking` has this function's own rules, and `next` has just come from
    // `dispatch` or `go_to_g0`.
    unsafe { leave_parking(guard, g, next, commit, arg) }
}

/// Parks where something needs attention. Out of line, as the next.
///
/// # Safety
/// As [`park_as`].
#[cold]
#[inline(never)]
unsafe fn park_attended(guard: PreemptGuard, g: GRef, commit: Commit, arg: *mut ()) -> PreemptGuard {
    let m = M::current(&guard);
    let next = attend(m, m.held(&guard), g, Leaves::Parks);
    let next = run_next(m, next);
    // SAFETY: `leave_parking` has this function's own rules, and `next` has just come from
    // `run_next`.
    unsafe { leave_parking(guard, g, next, commit, arg) }
}

/// Parks where the next G's dispatch needs a second look. Out of line: it needs registers that most
/// parks do not.
///
/// # Safety
/// As [`park_as`].
#[cold]
#[inline(never)]
unsafe fn park_for_special(guard: PreemptGuard, g: GRef, next: GRef, commit: Commit, arg: *mut ()) -> PreemptGuard {
    let next = run_next(M::current(&guard), Some(next));
    // SAFETY: `leave_parking` has this function's own rules, and `next` has just come from
    // `run_next`.
    unsafe { leave_parking(guard, g, next, commit, arg) }
}

/// Returns true if the function that begins at `start` parks in place of another at times. For
/// reports, which want the function that the program called.
pub fn is_side_door(start: usize) -> bool {
    start == park_for_special as *const () as usize || start == park_attended as *const () as usize
}

/// # Safety
/// As [`park_as`]; `next` came from [`run_next`] or [`dispatch`], right before.
#[inline(always)]
unsafe fn leave_parking(guard: PreemptGuard, g: GRef, next: NextSp, commit: Commit, arg: *mut ()) -> PreemptGuard {
    let parking = Parking { commit, arg };
    // SAFETY: 1. `after_park` publishes or requeues `g`. 2. `parking` stays on this stack until the
    // G is resumed, and `after_park` reads it first. 3. the caller has just got `next`.
    unsafe { leave(guard, g, next, after_park, (&raw const parking).cast_mut().cast()) }
}

unsafe extern "C" fn after_park(g: *mut (), parking: *mut ()) {
    // SAFETY: `leave` passes the G it left and the `Parking` on that G's stack, which stays as it
    // is until somebody resumes the G; so it is read before `commit` lets anybody do so.
    let (g, Parking { commit, arg }) = unsafe { (&*g.cast::<crate::g::G>(), parking.cast::<Parking>().read()) };
    // SAFETY: `park`'s caller vouches for `arg`.
    if !unsafe { commit(arg, g) } {
        g.state.abandon_park();
    } else if g.state.finish_park() == Finish::Parked {
        return;
    }
    requeue(g);
}

/// Requeues a G that has no reason to wait any more. Out of line: it needs registers that most
/// parks do not.
#[inline(never)]
fn requeue(g: GRef) {
    // SAFETY: 1. a switch runs `after` with one level of preemption off that the next context will
    // take over; borrowed here.
    let guard = unsafe { PreemptGuard::adopt() };
    if trace::BUILT {
        trace::moved(M::current(&guard), g, Place::Slot);
    }
    enqueue_next(&guard, g);
    guard.hand_over();
}

/// Makes a parked G runnable, in the current P's slot, so that it runs next here. Once a park.
#[inline]
pub fn ready(guard: &PreemptGuard, g: GRef) {
    if g.state.ready_waiting() {
        enqueue_next(guard, g);
    } else {
        ready_early(guard, g);
    }
}

/// Readies a G that is not Waiting. Out of line with all that follows, so that the short way saves
/// no register for it.
#[cold]
#[inline(never)]
fn ready_early(guard: &PreemptGuard, g: GRef) {
    if trace::ready_traced(guard, g) {
        return enqueue_next(guard, g);
    }
    let noted = trace::Noted::new();
    if g.state.ready_early(|| noted.marked(guard, g, 0)) == Ready::Enqueue {
        noted.put(guard, g, 0, Place::Slot);
        enqueue_next(guard, g);
    }
}

/// Lets other G's run. Returns at once if no G waits here or on the global queue.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let other = go(|| 5);
/// runtime::yield_now(); // if somebody waits for this core, it has a turn
/// assert_eq!(other.join().unwrap(), 5);
/// # });
/// ```
pub fn yield_now() {
    let guard = PreemptGuard::new();
    let m = M::current(&guard);
    let g = m.caller();
    if g.is_pinned() {
        return yield_pinned(guard);
    }
    let p = m.held(&guard);
    let next = match next_local(p) {
        Local::Attend => return yield_attended(guard),
        Local::G(next) => Some(next),
        Local::Nobody if p.queues_are_empty() && m.sched.globq.is_empty() => return,
        Local::Nobody => None,
    };
    let next = run_next(m, next);
    // SAFETY: 1. `after_yield` queues `g`. 2. `after_yield` ignores its argument. 3. `next` came
    // from `run_next` on the line above.
    drop(unsafe { leave(guard, g, next, after_yield, core::ptr::null_mut()) });
}

/// Yields where something needs attention.
#[cold]
#[inline(never)]
fn yield_attended(guard: PreemptGuard) {
    let m = M::current(&guard);
    let (g, p) = (m.caller(), m.held(&guard));
    let next = attend(m, p, g, Leaves::Yields);
    if next.is_none() {
        if p.attention.load(Ordering::Relaxed) & !ATTEND_TRACE == 0 && p.queues_are_empty() && m.sched.globq.is_empty()
        {
            return;
        }
        trace::leaves(m, g, Why::YIELD);
    }
    let next = run_next(m, next);
    // SAFETY: 1. `after_yield` queues `g`. 2. `after_yield` ignores its argument. 3. `next` came
    // from `run_next` on the line above.
    drop(unsafe { leave(guard, g, next, after_yield, core::ptr::null_mut()) });
}

unsafe extern "C" fn after_yield(g: *mut (), _: *mut ()) {
    // SAFETY: `leave` passes the G it left.
    let g = unsafe { &*g.cast::<crate::g::G>() };
    g.state.requeue();
    // SAFETY: 1. a switch runs `after` with one level of preemption off that the next context will
    // take over; borrowed here.
    let guard = unsafe { PreemptGuard::adopt() };
    let m = M::current(&guard);
    enqueue_last(m, &m.held(&guard), g, &guard);
    guard.hand_over();
}

/// Yields a pinned G, while no other G runs here: see `core/pin.rs`.
#[cold]
fn yield_pinned(guard: PreemptGuard) {
    let m = M::current(&guard);
    let g = m.caller();
    m.may_leave();
    trace::leaves(m, g, Why::PREEMPT);
    let g0 = run_next(m, None);
    // SAFETY: 1. `after_preempt` queues `g`. 2. `after_preempt` ignores its argument. 3. `g0` came
    // from `run_next` on the line above.
    drop(unsafe { leave(guard, g, g0, after_preempt, core::ptr::null_mut()) });
}

/// Takes the core away from the current G, which goes behind all others: its slice is over. The
/// platform's stub for interrupted code calls this on the G's stack, with one level of preemption
/// off. Returns when the G's turn comes again, perhaps on another core.
#[inline(never)]
pub fn preempt(guard: PreemptGuard) -> PreemptGuard {
    let m = M::current(&guard);
    let g = m.caller();
    m.counters.preemptions.add(1);
    trace::leaves(m, g, Why::PREEMPT);
    // The G does not park, and `after_preempt` reads the clock.
    let g0 = to_g0(m);
    // SAFETY: 1. `after_preempt` queues `g`. 2. `after_preempt` ignores its argument. 3. `g0` has
    // just come from `to_g0`.
    unsafe { leave(guard, g, g0, after_preempt, core::ptr::null_mut()) }
}

/// Makes way, if that is still wanted: the slice ended while preemption was off, and the last guard
/// is about to go.
#[cold]
#[inline(never)]
pub fn make_way(guard: PreemptGuard) -> PreemptGuard {
    let m = M::current(&guard);
    if m.running().is_some() && m.p().is_some_and(|p| p.attention.load(Ordering::Relaxed) & ATTEND_SLICE != 0) {
        preempt(guard)
    } else {
        guard
    }
}

unsafe extern "C" fn after_preempt(g: *mut (), _: *mut ()) {
    // SAFETY: `leave` passes the G it left.
    let g = unsafe { &*g.cast::<crate::g::G>() };
    g.state.requeue();
    // SAFETY: 1. a switch runs `after` with one level of preemption off that the next context will
    // take over; borrowed here.
    let guard = unsafe { PreemptGuard::adopt() };
    let m = M::current(&guard);
    let p = m.held(&guard);
    if g.is_pinned() {
        m.keep_pinned(g, &guard);
        return guard.hand_over();
    }
    // A chain through the slot ends with its slice.
    end_chain(m, &p, &guard);
    let now = platform::now();
    p.saw(now);
    p.made_way(now);
    if p.timers.when() <= now && p.attention.load(Ordering::Relaxed) & ATTEND_RETIRE == 0 {
        // Sleepers are due. The G stays here, so that a storm of them can't keep it from its
        // share.
        trace::queued(m, g, Why::PREEMPT, Place::Ring);
        enqueue_last(m, &p, g, &guard);
        return guard.hand_over();
    }
    if p.fair.get() == 1 && m.sched.globq.is_empty() {
        // The global queue's turn is not for the G that makes way.
        p.fair.set(2);
    }
    enqueue_behind_all(m, g, &guard);
    guard.hand_over();
}

/// Returns the current G.
///
/// # Panics
/// Outside any G: ends the machine with a report.
#[inline]
pub fn current_g(guard: &PreemptGuard) -> GRef {
    M::current(guard).caller()
}

impl M {
    /// Notes that the slice of the running G is over, where it can't be interrupted. The G makes
    /// way at its next scheduling point, or when preemption is on again ([`make_way`]). For
    /// handlers.
    pub fn attend_slice(&self) {
        if let Some(p) = self.p() {
            p.attention.fetch_or(ATTEND_SLICE, Ordering::Relaxed);
        }
    }

    /// Makes the running G's slice over, and its core's alarm due: for tests. In a handler, or with
    /// preemption off.
    #[doc(hidden)]
    pub fn expire_slice(&self) {
        if let Some(p) = self.p() {
            p.slice.begin(1);
            p.slice.arm(1);
        }
    }

    /// Holds the running G to a promise not to park, yield or end, until a call with false.
    ///
    /// A G that breaks the promise ends the machine with a report. For the platform's own guard, by
    /// the G, with preemption off: the G stays with its P as long. The promise is a bit of
    /// `attention`, so it needs no look of its own.
    pub fn hold_back(&self, held: bool) {
        if let Some(p) = self.p() {
            if held {
                p.attention.fetch_or(ATTEND_HELD, Ordering::Relaxed);
            } else {
                p.attention.fetch_and(!ATTEND_HELD, Ordering::Relaxed);
            }
        }
    }

    /// Ends the machine if the G that runs here has promised to stay.
    #[inline(never)]
    pub(crate) fn may_leave(&self) {
        if self.p().is_some_and(|p| p.attention.load(Ordering::Relaxed) & ATTEND_HELD != 0) {
            leaves_held();
        }
    }
}
