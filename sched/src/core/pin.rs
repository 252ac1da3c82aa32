//! Pins: a G that runs on one M only.
//!
// ANCHOR: pin
//! ```text
//!   M y, any     the pinned G is its turn, from the slot, the ring or the global queue
//!                run_special ──▶ g0 ──▶ send: into M x's own queue ──┬─ x rests:  woken, with y's P if no other is free
//!                                                                    └─ x runs:   interrupted; it makes way if it is not pinned, too
//!   M x          its own queue comes before all others
//! ```
// ANCHOR_END: pin
//!
//! A ready pinned G stands in the queues like any other, so readying it costs the same. Only its
//! dispatch differs. The dispatch learns of the pin from the word that it reads anyway, for doomed
//! G's.
//!
//! **While a pinned G can run, its M runs nothing else.** When the G yields, or its slice is over,
//! the G's that wait on that P go to the global queue. The other P's find them there, and the
//! pinned G goes on. With one P there are no others: the pinned G takes turns then.
//!
//! **INV-OWN**: an M never rests with a G in its own queue. A sender that puts a G there fences and
//! claims the M's bit. The M sets the bit, fences, and looks. If there is no P for the M, it passes
//! the G's on to the global queue. An M with a P then finds the G, sees its M rest, and hands over
//! its own P.
//!
//! Rejected: Go's way, an M that runs no other G even while its pinned G waits (`stoplockedm`). In
//! Go an M is a thread, of which there is always one more.

use core::marker::PhantomData;

use crate::core::handoff::to_global;
use crate::core::m::M;
use crate::core::p::P;
use crate::core::trace;
use crate::g::GRef;
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::machine::sync::Ordering;
use trefoil_trace::{Kind, Place, Why};

/// Keeps its G on one core while it lives; see [`pin`].
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let pin = runtime::pin();
/// drop(pin); // it may move again
/// # });
/// ```
#[derive(Debug)]
pub struct Pin {
    /// Not `Send`: a pin belongs to its G.
    _g: PhantomData<*mut ()>,
}

/// Binds the current G to the core that it runs on (Go's `LockOSThread`).
///
/// The binding ends when the returned [`Pin`] is dropped, or the G ends. Pins nest. The G is still
/// preempted and may park. Other cores run the G's that wait behind it. Needs no P: in
/// `block_in_place` the G is bound to the core that is blocked.
///
/// # Panics
/// Outside any G: ends the machine with a report.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let pin = runtime::pin();
/// let here = runtime::core();
/// runtime::yield_now();
/// assert_eq!(runtime::core(), here);
/// drop(pin);
/// # });
/// ```
#[must_use = "dropping it unpins at once"]
pub fn pin() -> Pin {
    let guard = PreemptGuard::new();
    let m = M::current(&guard);
    m.caller().pin(m.index());
    trace::note_all(m, Kind::Pin, 0, Place::Nowhere, m.index() as u32, m.caller().id(), 0);
    Pin { _g: PhantomData }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let guard = PreemptGuard::new();
        let m = M::current(&guard);
        trace::note(m, Kind::Unpin, m.caller().id(), 0);
        m.caller().unpin();
    }
}

impl M {
    /// Queues the pinned `g`, which has left this M and can go on. The G goes on here, unless there
    /// is one P only.
    #[cold]
    #[inline(never)]
    #[optimize(size)]
    pub(crate) fn keep_pinned(&self, g: GRef, guard: &PreemptGuard) {
        let (sched, p) = (self.sched, self.held(guard));
        if sched.is_single() || p.is_outside() {
            sched.globq.push_one(guard, g, || trace::queued(self, g, Why::PREEMPT, Place::Global));
        } else {
            to_global(self, &p, guard);
            self.pinned_queue.push_one(guard, g, || trace::queued(self, g, Why::PREEMPT, Place::Pinned));
        }
        sched.wake_any(self);
    }

    /// Sends `g`, whose turn came here, to the M to which it is pinned. On g0.
    #[cold]
    #[optimize(size)]
    pub(crate) fn send(&'static self, g: GRef, guard: &PreemptGuard) {
        let sched = self.sched;
        let Some(to) = g.pinned_to().and_then(|at| sched.m(at)) else {
            platform::fatal(platform::Fatal::Broken("a goroutine is pinned to a core that does not run"))
        };
        let note = || trace::note_all(self, Kind::Put, 0, Place::Pinned, to.index() as u32, g.id(), 0);
        to.pinned_queue.push_one(guard, g, note);
        if !sched.rest.claim_m(to.index()) {
            return platform::wake_m(to.index());
        }
        if !sched.rest.has_idle_p()
            && let Some(p) = self.p().filter(|p| !p.is_outside())
        {
            if to_global(self, &self.held(guard), guard) {
                sched.nudge();
            }
            trace::note_all(self, Kind::Release, 3, Place::Nowhere, 0, 0, 0);
            self.set_p(None);
            // Release: pairs with the Acquire in `take_handed_p`: our writes to the P are seen.
            to.handed_p.store(core::ptr::from_ref(p).cast_mut(), Ordering::Release);
        }
        self.counters.wakes_sent.add_shared();
        trace::note(self, Kind::Wake, to.index() as u64, 0);
        to.token.set();
        platform::wake_m(to.index());
    }

    /// Takes the P that came with the token.
    pub(crate) fn take_handed_p(&self) -> bool {
        let handed_p: *mut P = self.handed_p.swap(core::ptr::null_mut(), Ordering::Acquire);
        // SAFETY: `send` stored a `&'static P`.
        let Some(p) = (unsafe { handed_p.as_ref() }) else { return false };
        self.hold(p);
        trace::note_all(self, Kind::Hold, 1, Place::Nowhere, 0, 0, 0);
        self.arm(p.next_alarm());
        true
    }

    /// Moves the G's pinned to this M, for which there is no P, to the global queue.
    #[cold]
    pub(crate) fn pass_on_own(&self) {
        let guard = PreemptGuard::new();
        let all = self.pinned_queue.pop(&guard, usize::MAX);
        self.sched.globq.push(&guard, all, |all| trace::all_moved(self, all, Place::Global));
        self.sched.nudge();
    }
}
