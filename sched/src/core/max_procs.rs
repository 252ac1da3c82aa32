//! The number of P's changes while G's run.
//!
//! ```text
//!   set_max_procs(2)     num_ps = 2        P's 2 and up are not claimed any more
//!                        for each of them: free ──▶ claimed for good, emptied: gone
//!                                          held ──▶ its M is asked (`ATTEND_RETIRE`, an interrupt), gives it up on g0, and it is free
//!   set_max_procs(4)     num_ps = 4
//!                        for each that is gone: free
//! ```
//!
//! **Nobody owns a change.** The number of P's and the bits of the gone P's say what remains to be
//! done. Each step runs to its end with preemption off. So a G that dies in the middle of a change
//! (stack overflow, out of memory) leaves no lock held, and its finished steps stand. P's at or
//! beyond the number that are not gone yet are not claimed to run. Their M's give them up at their
//! next turn on g0, and the next change takes them away. Two callers that change the number at once
//! help each other. Each step looks at the number once more afterwards (`IdleSets::bury`,
//! `IdleSets::give_back`), so the last writer's number prevails.
//!
//! **A P's timers go in pieces**, with preemption on in between. After each piece the P is free
//! again, though no M claims it to run. The M that moved the piece becomes the P's home. So a timer
//! that becomes due meanwhile is found as the timers of any free P are.
//!
//! **The hard race** is a surplus P that is claimed at the same moment by an M that has read the
//! old number. Nobody waits for that M to confirm. Each M checks its P against the number whenever
//! it comes to g0, and gives a surplus P up each time. The caller that lowered the number retries
//! until it has claimed each surplus P itself. A P is one bit, so it has one owner at any time.
//!
//! Rejected: stopping the world. A change of the number moves the queues of the P's that go, and
//! their owners are known without a stop. A stop would also have halted the P's that stay.

use crate::core::handoff::{after_global, to_global};
use crate::core::leave::{leave, run_next};
use crate::core::m::M;
use crate::core::p::{ATTEND_RETIRE, Held, P};
use crate::core::shared::Sched;
use crate::core::trace;
use crate::machine::MAX;
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::machine::sync::{Ordering, spin_loop};
use crate::timers::MOVED;
use trefoil_trace::{Kind, Place, Why};

/// Looks after which an M that does not give up its P is interrupted again.
const PATIENCE: u32 = if cfg!(loom) { 1 } else { 1000 };

/// Changes the number of P's, that is, how many G's may run at the same time. Returns the number
/// that it was.
///
/// No G is lost, and a G that goes on running notices nothing. When the call returns, at most `n`
/// G's run. May park.
///
/// # Panics
/// If `n` is 0, or more than the scheduler was made for (the number of cores, or `maxprocs` if that
/// was more).
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let before = runtime::set_max_procs(1);
/// assert_eq!((before, runtime::max_procs()), (2, 1));
/// # });
/// ```
pub fn set_max_procs(n: usize) -> usize {
    let sched = M::current(&PreemptGuard::new()).sched;
    let most = sched.ps().len();
    assert!((1..=most).contains(&n), "set_max_procs: wants a number from 1 to {most}, not {n}");
    let before = {
        let guard = PreemptGuard::new();
        sched.set_number(n, M::current(&guard))
    };
    (0..most).for_each(|p| retire_p(sched, p));
    before
}

impl Sched {
    /// Sets the number of P's to `n`: those that were gone are back when this returns. Surplus P's
    /// are not [gone](retire_p) yet, but no M claims them any more. Returns the number that it was.
    pub(crate) fn set_number(&'static self, n: usize, by: &M) -> usize {
        let before = self.rest.set_num_ps(n);
        trace::note_all(by, Kind::Procs, 0, Place::Nowhere, n as u32, 0, before as u64);
        let mut look = n > before;
        for p in (0..n).filter(|&p| self.rest.is_gone(p)) {
            // A P that is surplus again is left to the caller that has lowered the number
            // meanwhile. If that caller sees this too early, the next one takes it.
            let _ = self.rest.give_back(p);
            look = true;
        }
        // Also if none was gone: an M that gave up a surplus P may have looked for one too early.
        // Also if another caller has raised the number: it looked before our P was free.
        if look && self.has_work(0) {
            self.wake_now(by);
        }
        if before == 1 && n > 1 {
            self.end_single(by);
        }
        before
    }

    /// Ends the time of the single P. Its M has neither fenced nor looked for resting M's when it
    /// queued something ([`is_single`](Self::is_single)). So we ask it to look now. Its
    /// [handler](crate::wake_interrupt) sees all that was queued before. A submitter that queues
    /// later sees the new number.
    #[cold]
    fn end_single(&'static self, by: &M) {
        let holds = |m: &&M| m.index() != by.index() && m.p().is_some_and(|p| !p.is_outside());
        self.ms().filter(holds).for_each(|m| platform::wake_m(m.index()));
    }
}

/// Claims P `at` for good and empties it, if it is surplus, whichever M holds it now. Any number of
/// callers may do so at once.
pub(crate) fn retire_p(sched: &'static Sched, at: usize) {
    let p = &sched.ps()[at];
    let mut looks = 0;
    // In this order: a caller that sees that the P is back sees the number for which it came.
    while !sched.rest.is_gone(at) && at >= sched.num_ps() {
        let guard = PreemptGuard::new();
        let m = M::current(&guard);
        if sched.rest.claim_exactly(at) {
            // No scheduling point until the end: the caller may be ended at the next.
            let emptied = empty_or_keep(m, p, &guard);
            if emptied != Ok(true) {
                // A caller that dies here leaves the rest to the next change.
                let timers = m.p().map(|p| &p.timers);
                drop(guard);
                if let (Err(larger), Some(timers)) = (emptied, timers)
                    && !timers.grow(larger)
                {
                    platform::reclaim();
                }
                continue;
            }
            if sched.rest.bury(at) && !sched.rest.give_back(at) && sched.has_work(0) {
                // The number has risen meanwhile. The P was nobody's for a moment, in which others
                // may have looked for it.
                sched.wake_any(m);
            }
            continue;
        }
        // Each time: its M may have gone by g0 with an old number in mind.
        p.attention.fetch_or(ATTEND_RETIRE, Ordering::Relaxed);
        if m.p().is_some_and(|p| p.index() == at) {
            let g = m.caller();
            trace::leaves(m, g, Why::PREEMPT);
            let g0 = run_next(m, None);
            // SAFETY: 1. `after_global` puts `g` on the global queue. 2. `after_global` ignores its
            // argument. 3. `g0` came from `run_next` on the line above.
            drop(unsafe { leave(guard, g, g0, after_global, core::ptr::null_mut()) });
            continue;
        }
        if looks % PATIENCE == 0
            && let Some(holder) = sched.ms().find(|m| m.p().is_some_and(|p| p.index() == at))
        {
            platform::wake_m(holder.index());
        }
        looks += 1;
        drop(guard);
        // Not a yield: the caller would wait for a slice. The holder comes to g0 by itself.
        spin_loop();
    }
}

impl Sched {
    /// Moves the free G's of P's that have no M to the global list, for when memory is short.
    ///
    /// Each P is ours for a moment, in which others may look for a free P and find none. So
    /// afterwards we look for the work that they have left. A P with timers stays with its home,
    /// which keeps their time. Instead we wake that M, which takes the P and does what
    /// [`trim`](Self::trim) has told it. A P may get timers between our look and the claim. Then
    /// its deadlines are ours to keep, because its home may rest without them, or hold another P.
    #[cold]
    #[inline(never)]
    pub fn trim_resting(&'static self, guard: &PreemptGuard) {
        let (m, mut any) = (M::current(guard), false);
        for p in self.ps().iter().filter(|p| p.free.len() > 0) {
            if p.timers.when() != u64::MAX {
                self.wake_home(p, m);
            } else if self.rest.claim_exactly(p.index()) {
                // SAFETY: 1. its bit was claimed, by the M that we are on while the guard lives: we
                // are its holder.
                let held = unsafe { Held::new(p) };
                held.free.flush(&self.free, guard);
                let timers = p.timers.when() != u64::MAX;
                if timers {
                    m.keep(p);
                }
                // Fences: a submitter that pushed and found no free P is seen below.
                self.rest.give_up(p.index());
                if timers && let Some(held) = m.p() {
                    m.arm(held.next_alarm());
                }
                any = true;
            }
        }
        if any && self.has_work(platform::now()) {
            self.wake_any(m);
        }
    }

    #[inline(never)]
    fn wake_home(&'static self, p: &P, by: &M) {
        let home = p.home.load(Ordering::Relaxed);
        if self.rest.is_idle_p(p.index()) && home < MAX && self.rest.claim_m(home) {
            self.wake(home, by);
        }
    }
}

/// Empties a P that was claimed to stay without an M. If timers are left, frees the P again, with
/// `m` as its home. Returns as [`empty`].
pub(crate) fn empty_or_keep(m: &M, p: &'static P, guard: &PreemptGuard) -> Result<bool, usize> {
    let emptied = empty(m, p, guard);
    if emptied != Ok(true) {
        m.keep(p);
        m.sched.rest.give_up(p.index());
        m.arm(m.held(guard).next_alarm());
    }
    emptied
}

/// Empties a P that was claimed to stay without an M. Of its timers, only a piece moves to the
/// caller's P. Returns true if none is left. Returns `Err` if the heap there must be larger.
fn empty(m: &M, p: &'static P, guard: &PreemptGuard) -> Result<bool, usize> {
    let (sched, own) = (m.sched, m.held(guard));
    // SAFETY: 1. its bit was claimed, by the M that we are on while the guard lives: we are its
    // holder.
    let p = unsafe { Held::new(p) };
    let any = to_global(m, &p, guard);
    p.free.flush(&sched.free, guard);
    let moved = p.timers.move_to(&own.timers, MOVED, guard);
    p.calm_down();
    p.forget_alarms();
    m.arm(own.next_alarm());
    if any {
        sched.wake_any(m);
    }
    moved
}
