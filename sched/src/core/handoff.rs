//! A core that waits for slow hardware gives its P away, and the P's that have no M keep their
//! timers' time.
//!
// ANCHOR: handoff
//! ```text
//!   block_in_place(f)    M a ── P 1 ──▶ free ──▶ M b, which was woken for it, runs what waited
//!                        │ outside
//!                        f()   what it readies or starts goes to the global queue; its timers stay with M a
//!                        │
//!                        P 1 if nobody has it · any free P · none: the G goes to the global queue, M a rests
//! ```
// ANCHOR_END: handoff
//!
//! **Outside.** An M that has given its P away is *outside*. Until the M holds a P of the scheduler
//! again, it holds a private P, so `go`, `ready` and the rest work unchanged. No thief steals from
//! a private P, so no G may stay there. [`M::hand_out`] moves every G that is queued there to the
//! global queue at once. The ordinary path pays nothing for this: a private P's alarm is never set,
//! so each push takes the out-of-line path. A G that parks outside leaves by g0, as always. There
//! the M gives up its private P and looks for a real one.
//!
//! **The rule for short blocks.** The P is free from the first moment, but no M is woken for it
//! unless work waits. A short `f` with nothing queued costs two atomic operations and finds its P
//! again. A submitter that queues work later, and wakes an M, gives it that P. So there is no delay
//! after which a P is retaken, and nobody waits to learn whether the block is short.
//!
//! **INV-STRAY.** While an M is outside, its one-shot covers the timers of the P that it gave up
//! and the timers started outside. The M's timer handler cannot run them, nor wake its own M for
//! them. Instead the handler wakes a resting M, or interrupts a busy core, which runs the timers on
//! g0. Every M looks for such timers while [`Strays`] are counted, and only then.
//!
//! INV-TIMER-HOME: The M that gives a P up becomes its home, and keeps its deadlines. A resting M
//! keeps them by the end of its rest, any other M by its one-shot ([`M::arm`]), even while it holds
//! another P. The duty ends when another M holds the P or becomes its home.
//!
//! Rejected: Go's sysmon rule (retake after 20 µs), which needs a core that looks.

use crate::core::leave::{leave, run_next};
use crate::core::m::M;
use crate::core::p::{Held, P};
use crate::core::shared::Sched;
use crate::core::slice::arm_slice;
use crate::core::trace;
use crate::g::{Batch, G};
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::machine::sync::Ordering;
use trefoil_trace::{Kind, Place, Why};

/// Runs `f`, which may keep this core busy for long without needing it (slow hardware, a polled
/// device).
///
/// Meanwhile another core runs the G's that wait for this one. `f` runs at once on the caller's
/// stack, and is not preempted. If `f` parks, it goes on afterwards as any G does, and the rest of
/// `f` keeps its core. A nested call just runs its `f`. Afterwards the G may have to wait for its
/// turn, if all P's are taken.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// # let read_by_polling = |sector: u64| vec![sector as u8; 512];
/// let bytes = runtime::block_in_place(|| read_by_polling(7));
/// assert_eq!(bytes.len(), 512);
/// # });
/// ```
pub fn block_in_place<R>(f: impl FnOnce() -> R) -> R {
    let _outside = Outside::new();
    f()
}

/// Keeps the caller's M outside until it is dropped, unless the G parks. Holds false if the M was
/// outside before: then the outer `Outside` brings it back.
struct Outside(bool);

impl Outside {
    fn new() -> Self {
        let guard = PreemptGuard::new();
        Self(M::current(&guard).go_outside(&guard))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        if self.0 {
            come_back(PreemptGuard::new());
        }
    }
}

fn come_back(guard: PreemptGuard) {
    let m = M::current(&guard);
    m.may_leave();
    if !m.held(&guard).is_outside() || m.retake(&guard) && m.pinned_queue.is_empty() {
        return;
    }
    let g = m.caller();
    trace::leaves(m, g, Why::PREEMPT);
    let g0 = run_next(m, None);
    // SAFETY: 1. `after_global` puts `g` on the global queue. 2. `after_global` ignores its
    // argument. 3. `g0` came from `run_next` on the line above.
    drop(unsafe { leave(guard, g, g0, after_global, core::ptr::null_mut()) });
}

/// Queues the G globally, where it waits for the first P that is free.
pub(crate) unsafe extern "C" fn after_global(g: *mut (), _: *mut ()) {
    // SAFETY: `leave` passes the G it left.
    let g = unsafe { &*g.cast::<G>() };
    g.state.requeue();
    // SAFETY: 1. a switch runs `after` with one level of preemption off; borrowed here.
    let guard = unsafe { PreemptGuard::adopt() };
    let m = M::current(&guard);
    trace::queued(m, g, Why::PREEMPT, Place::Global);
    m.sched.globq.push_one(&guard, g);
    m.sched.wake_any(m);
    guard.hand_over();
}

/// Moves the G's in the queue and the slot of `p` to the global queue. Returns true if there were
/// any.
pub(crate) fn to_global(by: &M, p: &Held<'_>, guard: &PreemptGuard) -> bool {
    let mut all = Batch::new();
    if let Some(g) = p.take_slot() {
        all.push(g);
    }
    while let Some(g) = p.ring().pop() {
        all.push(g);
    }
    let any = !all.is_empty();
    if any {
        trace::all_moved(by, &all, Place::Global);
        by.sched.globq.push(guard, all);
    }
    any
}

impl M {
    /// Gives the P away. Returns false if it is a private one, or if the M has not started.
    pub(crate) fn go_outside(&self, guard: &PreemptGuard) -> bool {
        let (sched, p) = (self.sched, self.held(guard));
        let Some(outside) = sched.m(self.index()).map(|m| &m.outside) else { return false };
        if p.is_outside() {
            return false;
        }
        to_global(self, &p, guard);
        trace::note(self, Kind::Block, self.running().map_or(0, G::id), 0);
        trace::note_all(self, Kind::Release, 1, Place::Nowhere, 0, 0, 0);
        // Before the P is free.
        self.stray();
        self.keep(&p);
        self.set_p(Some(outside));
        // Fences: a submitter that queues while the P is held finds no M to wake, and we see its G
        // here.
        sched.rest.give_up(p.index());
        if sched.has_work(0) {
            sched.wake_any(self);
        }
        // From here on the one-shot serves only the timers.
        self.rearm(self.kept_until());
        true
    }

    /// Makes this M keep the deadlines of `p`, which it holds and is about to give up.
    pub(crate) fn keep(&self, p: &P) {
        p.home.store(self.index(), Ordering::Relaxed);
        self.keeps.store(self.keeps.load(Ordering::Relaxed) | 1 << p.index(), Ordering::Relaxed);
    }

    /// Returns true if this M keeps the deadlines of any P that has no M. The answer is a guess.
    #[inline(always)]
    pub(crate) fn keeps_any(&self) -> bool {
        self.keeps.load(Ordering::Relaxed) != 0
    }

    /// Yields the P's without an M whose deadlines this M keeps. On its core.
    fn kept(&self) -> impl Iterator<Item = &'static P> {
        let (sched, keeps) = (self.sched, self.keeps.load(Ordering::Relaxed));
        // Any M that holds one, for a moment or longer, is its home when it is free again.
        let is_mine = |p: &P| p.home.load(Ordering::Relaxed) == self.index() && sched.rest.is_idle_p(p.index());
        sched.ps().iter().filter(move |p| keeps >> p.index() & 1 == 1 && is_mine(p))
    }

    /// Returns the earliest of those deadlines. On its core, also in its handlers.
    #[inline(always)]
    pub(crate) fn kept_until(&self) -> u64 {
        if self.keeps_any() { self.first_kept() } else { u64::MAX }
    }

    #[cold]
    #[inline(never)]
    fn first_kept(&self) -> u64 {
        self.kept().map(|p| p.timers.when()).min().unwrap_or(u64::MAX)
    }

    /// Drops the P's whose deadlines this M keeps no longer. On its g0.
    pub(crate) fn forget_kept(&self) {
        let keeps = self.kept().fold(0, |bits, p| bits | 1 << p.index());
        self.keeps.store(keeps, Ordering::Relaxed);
    }

    /// Takes a P at the end of the block: the M's own, or another. Arms the slice alarm if G's wait
    /// in the global queue, because the P that was free for them is taken now.
    pub(crate) fn retake(&self, guard: &PreemptGuard) -> bool {
        if !self.sched.take_p(self) {
            return false;
        }
        let p = self.held(guard);
        trace::note(self, Kind::BlockEnd, self.running().map_or(0, G::id), 0);
        p.slice.reset();
        if p.slice.alarm_is_off() && !self.sched.globq.is_empty() {
            arm_slice(self, &p);
        }
        true
    }

    /// Moves the G's in this M's private P to the global queue, where others find them.
    #[optimize(size)]
    pub(crate) fn hand_out(&self) {
        let guard = PreemptGuard::new();
        if to_global(self, &self.held(&guard), &guard) {
            self.sched.wake_any(self);
        }
        self.arm(self.outside.timers.when().min(self.armed.load(Ordering::Relaxed)));
    }

    /// Moves the rest of this M's time outside to the P of the scheduler that it now holds.
    #[inline(always)]
    pub(crate) fn come_in(&self) {
        if self.has_strays.get() {
            self.settle();
        }
    }

    #[cold]
    fn settle(&self) {
        let guard = PreemptGuard::new();
        let (sched, p) = (self.sched, self.held(&guard));
        self.outside.calm_down();
        self.outside.free.flush(&sched.free, &guard);
        // All at once: this heap holds only the timers that were started in a block.
        if let Err(larger) = self.outside.timers.move_to(&p.timers, usize::MAX, &guard) {
            // Until there is room the timers stay where they are, and are found as strays.
            p.timers.grow(larger);
            if self.outside.timers.move_to(&p.timers, usize::MAX, &guard).is_err() {
                return;
            }
        }
        self.has_strays.set(false);
        // Release: an M that counts no strays finds their timers where we have put them.
        sched.strays.ms.fetch_sub(1, Ordering::Release);
    }

    /// Gives up a surplus or private P, and takes another if one is free. On g0.
    #[cold]
    #[optimize(size)]
    pub(crate) fn surrender(&'static self, guard: &PreemptGuard) {
        let (sched, p) = (self.sched, self.held(guard));
        let any = to_global(self, &p, guard);
        if !p.is_outside() {
            trace::note_all(self, Kind::Release, 2, Place::Nowhere, 0, 0, 0);
        }
        self.set_p(None);
        if !p.is_outside() {
            self.keep(&p);
            sched.rest.give_up(p.index());
        }
        if !sched.take_p(self) && any {
            sched.wake_any(self);
        }
    }

    /// Makes others look for this M's timers, and for those of the P's that it keeps, until it
    /// holds a P.
    pub(crate) fn stray(&self) {
        if !self.has_strays.replace(true) {
            // Relaxed: an M that sees one of its P's free, or is interrupted by it, sees this.
            self.sched.strays.ms.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Passes on due deadlines that this M keeps and has no P to run with. Wakes a resting M. If
    /// there is no P for one, interrupts a busy core, which runs the timers on g0.
    pub(crate) fn ask_others(&self) {
        let sched = self.sched;
        sched.wake_now(self);
        if !sched.rest.can_wake()
            && let Some(busy) = sched.ms().find(|m| m.running().is_some() && m.p().is_some_and(|p| !p.is_outside()))
        {
            platform::wake_m(busy.index());
        }
    }
}

impl Sched {
    /// Follows a push to the global queue: wakes an M if there is a P for it, or sees to it that a
    /// busy M takes turns.
    pub(crate) fn wake_any(&'static self, by: &M) {
        self.wake_now(by);
        self.nudge();
    }

    /// Yields the P's whose timers may have no core that runs them in time.
    pub(crate) fn stray_ps(&'static self) -> impl Iterator<Item = &'static P> {
        let free = self.ps().iter().filter(|p| self.rest.is_idle_p(p.index()));
        self.ms().map(|m| &m.outside).chain(free)
    }

    /// Returns true if a timer of one of those P's is due.
    #[inline(always)]
    pub(crate) fn strays_due(&'static self, now: u64) -> bool {
        !self.strays.none() && self.some_stray_due(now)
    }

    #[cold]
    #[inline(never)]
    fn some_stray_due(&'static self, now: u64) -> bool {
        self.stray_ps().any(|p| p.timers.when() <= now)
    }
}
