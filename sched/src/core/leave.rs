//! Leaving the core: the next G of the P, and the switch to it.
//!
//! ```text
//!   next_local ──┬─ attention is 0: the slot, the ring ──▶ dispatch: the next G runs
//!                ├─ attend: g0 has something to do, or the recorder is on
//!                └─ nobody, or the global queue's turn ──▶ go_to_g0
//! ```
//!
//! All of it runs on the stack of the G that leaves, with preemption off. `leave` makes the switch.

use trefoil_trace::Place;

use crate::core::m::M;
use crate::core::p::{ATTEND_HELD, Held};
use crate::core::trace::{self, ATTEND_TRACE};
use crate::g::GRef;
use crate::machine::guard::PreemptGuard;
use crate::machine::platform::{self, AfterFn};
use crate::machine::sync::Ordering;

/// The next G of a P, for a G that leaves.
pub(crate) enum Local {
    /// Something needs attention: [`attend`] has the next G.
    Attend,
    /// The next G.
    G(GRef),
    /// No G, or it is the global queue's turn.
    Nobody,
}

/// A G's way to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// It yields.
    Yields,
    /// It parks, for the reason in its record.
    Parks,
    /// It has ended.
    Ends,
}

/// Takes the next G of this P, if nothing needs attention and it is not the global queue's turn.
#[inline(always)]
pub(crate) fn next_local(p: Held<'_>) -> Local {
    if p.attention.load(Ordering::Relaxed) != 0 { Local::Attend } else { take_local(p).0 }
}

/// Takes the next G of this P, unless it is the global queue's turn. Tells where the G was.
#[inline(always)]
pub(crate) fn take_local(p: Held<'_>) -> (Local, Place) {
    // In place, and taken back where that is rare: one instruction.
    p.fair.set(p.fair.get() - 1);
    if p.fair.get() == 0 {
        p.fair.set(1);
        return (Local::Nobody, Place::Nowhere);
    }
    if let Some(g) = p.take_slot() {
        return (Local::G(g), Place::Slot);
    }
    let Some(g) = p.ring().pop() else { return (Local::Nobody, Place::Nowhere) };
    p.slice.reset();
    (Local::G(g), Place::Ring)
}

/// Sends the core to g0, unless `g` must not leave. With the recorder on, and nothing else to
/// attend to, takes the next G.
#[inline(always)]
pub(crate) fn attend(m: &M, p: Held<'_>, g: GRef, how: Leaves) -> Option<GRef> {
    let attention = p.attention.load(Ordering::Relaxed);
    if trace::BUILT && attention == ATTEND_TRACE {
        return trace::attended(m, p, g, how);
    }
    if attention & ATTEND_HELD != 0 {
        leaves_held();
    }
    if how != Leaves::Yields {
        trace::attended_on_g0(m, p, g, how);
    }
    None
}

/// Ends the machine: the level of preemption that the G's guard stands for would stay behind, on a
/// core.
#[cold]
#[inline(never)]
pub(crate) extern "C" fn leaves_held() -> ! {
    platform::fatal(platform::Fatal::Broken("it would leave its core with a PreemptGuard"))
}

/// The next context of a core that leaves a G: the saved stack pointer of the next G, or of g0.
pub(crate) type NextSp = *const usize;

/// Makes `next` the G that runs on `m`, or with none, g0. A G that was doomed while it left its
/// last M ends as soon as it runs.
#[inline(always)]
pub(crate) fn run_next(m: &M, next: Option<GRef>) -> NextSp {
    match next {
        Some(next) if next.is_special() => run_special(m, next),
        Some(next) => dispatch(m, next),
        None => go_to_g0(m),
    }
}

/// Prepares a switch to g0. The clock may be read here: if the G parks, this is the time of the
/// park.
#[inline(never)]
pub(crate) fn go_to_g0(m: &M) -> NextSp {
    if let (Some(p), Some(g)) = (m.p(), m.running()) {
        p.saw(platform::now());
        g.set_since(p.coarse.load(Ordering::Relaxed));
    }
    to_g0(m)
}

#[inline(always)]
pub(crate) fn to_g0(m: &M) -> NextSp {
    m.set_running(None);
    m.g0.sp.get()
}

#[inline(always)]
pub(crate) fn dispatch(m: &M, next: GRef) -> NextSp {
    m.set_running(Some(next));
    next.state.dispatch();
    m.counters.runs.add(1);
    next.sp.get()
}

#[cold]
#[inline(never)]
fn run_special(m: &M, next: GRef) -> NextSp {
    if next.pinned_to().is_some_and(|at| at != m.index()) {
        // g0 sends the G to its M.
        m.misrouted.set(Some(next));
        return run_next(m, None);
    }
    if let (Some(waited), Some(p)) = (next.take_wait(), m.p()) {
        p.latency.ready.record(waited);
        trace::waited(m, waited);
    }
    if next.is_doomed() {
        platform::pend();
    }
    dispatch(m, next)
}

/// Leaves `g` for `next`, and runs `after(g, arg)` there.
///
/// # Safety
/// 1. `after` puts `g` in exactly one place, unless `g` is dead. 2. `arg` is what it expects.
/// 3. `next` came from [`run_next`], or its parts `dispatch` and `to_g0`, right before.
#[inline(always)]
pub(crate) unsafe fn leave(guard: PreemptGuard, g: GRef, next: NextSp, after: AfterFn, arg: *mut ()) -> PreemptGuard {
    guard.hand_over();
    // SAFETY: 3. `next` was popped from a queue (so its context is saved and ours alone) or is this
    // M's own g0, which switched away when it dispatched. Both sides of the switch have one level
    // of preemption off, which is handed over.
    unsafe {
        platform::switch(g.sp.get(), next, after, core::ptr::from_ref(g).cast_mut().cast(), arg);
        PreemptGuard::adopt()
    }
}

/// Makes the next G of this P, or g0, run on `m`, whose G has ended.
#[inline]
pub(crate) fn next_of(m: &M, guard: &PreemptGuard) -> NextSp {
    let p = m.held(guard);
    match next_local(p) {
        Local::Attend => end_attended(m, guard),
        Local::G(next) => run_next(m, Some(next)),
        Local::Nobody => run_next(m, None),
    }
}

#[cold]
#[inline(never)]
fn end_attended(m: &M, guard: &PreemptGuard) -> NextSp {
    run_next(m, attend(m, m.held(guard), m.caller(), Leaves::Ends))
}
