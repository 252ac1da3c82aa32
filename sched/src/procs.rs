//! P's change hands: a core that waits for slow hardware gives its P away, and the number of P's
//! changes while G's run.
//!
// ANCHOR: handoff
//! ```text
//!   block_in_place(f)    M a ── P 1 ──▶ free ──▶ M b, which was woken for it, runs what waited
//!                        │ outside
//!                        f()   what it readies or starts goes to the global queue; its timers stay with M a
//!                        │
//!                        P 1 if nobody has it · any free P · none: the G goes to the global queue, M a rests
//!
//!   set_max_procs(2)     num_ps = 2        P's 2 and up are not claimed any more
//!                        for each of them: free ──▶ claimed for good, emptied: gone
//!                                          held ──▶ its M is asked (`ATTEND_RETIRE`, an interrupt), gives it up on g0, and it is free
//!   set_max_procs(4)     num_ps = 4
//!                        for each that is gone: free
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
//! **Nobody owns a change.** The number of P's and the bits of the gone P's say what remains to be
//! done. Each step runs to its end with preemption off. So a G that dies in the middle of a change
//! (stack overflow, out of memory) leaves no lock held, and its finished steps stand. P's at or
//! beyond the number that are not gone yet are not claimed to run. Their M's give them up at their
//! next turn on g0, and the next change takes them away. Two callers that change the number at once
//! help each other. Each step looks at the number once more afterwards (`Rest::bury`,
//! `Rest::give_back`), so the last writer's number prevails.
//!
//! **A P's timers go in pieces**, with preemption on in between. After each piece the P is free
//! again, though no M claims it to run. The M that moved the piece becomes the P's home. So a timer
//! that becomes due meanwhile is found as the timers of any free P are.
//!
//! INV-TIMER-HOME: The M that gives a P up becomes its home, and keeps its deadlines. A resting M
//! keeps them by the end of its rest, any other M by its one-shot ([`M::arm`]), even while it holds
//! another P. The duty ends when another M holds the P or becomes its home.
//!
//! **The hard race** is a surplus P that is claimed at the same moment by an M that has read the
//! old number. Nobody waits for that M to confirm. Each M checks its P against the number whenever
//! it comes to g0, and gives a surplus P up each time. The caller that lowered the number retries
//! until it has claimed each surplus P itself. A P is one bit, so it has one owner at any time.
//!
//! Rejected: stopping the world. A change of the number moves the queues of the P's that go, and
//! their owners are known without a stop. A stop would also have halted the P's that stay.
//! Rejected: Go's sysmon rule (retake after 20 µs), which needs a core that looks.

use crate::g::{Batch, G};
use crate::idle::MAX;
use crate::m::M;
use crate::p::{ATTEND_RETIRE, Held, P};
use crate::park::{leave, run_next, set_slice_alarm};
use crate::platform;
use crate::preempt::PreemptGuard;
use crate::sched::Sched;
use crate::sync::{AtomicU32, Ordering, spin_loop};
use crate::timers::MOVED;

/// The number of a private P, which is none of the scheduler's.
pub(crate) const OUTSIDE: usize = usize::MAX;

/// Looks after which an M that does not give up its P is interrupted again.
const PATIENCE: u32 = if cfg!(loom) { 1 } else { 1000 };

/// Counts the M's that are outside, and those that were and have not held a P since.
#[derive(Debug)]
pub(crate) struct Strays {
    ms: AtomicU32,
}

impl Strays {
    pub(crate) fn new() -> Self {
        Self { ms: AtomicU32::new(0) }
    }

    #[inline(always)]
    pub(crate) fn none(&self) -> bool {
        self.ms.load(Ordering::Relaxed) == 0
    }
}

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
    if !m.held(&guard).is_outside() || m.retake(&guard) && m.own.is_empty() {
        return;
    }
    let g = m.caller();
    let g0 = run_next(m, None);
    // SAFETY: 1. `after_global` queues it. 2. it needs no argument. 3. right above.
    drop(unsafe { leave(guard, g, g0, after_global, core::ptr::null_mut()) });
}

/// Queues the G globally, where it waits for the first P that is free.
unsafe extern "C" fn after_global(g: *mut (), _: *mut ()) {
    // SAFETY: `leave` passes the G it left.
    let g = unsafe { &*g.cast::<G>() };
    g.state.requeue();
    // SAFETY: 1. a switch runs `after` with one level of preemption off; borrowed here.
    let guard = unsafe { PreemptGuard::adopt() };
    let m = M::current(&guard);
    m.sched.globq.push_one(&guard, g);
    m.sched.wake_any(m);
    guard.release();
}

/// Moves the G's in the queue and the slot of `p` to the global queue. Returns true if there were
/// any.
pub(crate) fn to_global(sched: &Sched, p: &Held<'_>, guard: &PreemptGuard) -> bool {
    let mut all = Batch::new();
    if let Some(g) = p.take_slot() {
        all.push(g);
    }
    while let Some(g) = p.ring().pop() {
        all.push(g);
    }
    let any = !all.is_empty();
    if any {
        sched.globq.push(guard, all);
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
        to_global(sched, &p, guard);
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
        p.begin_slice(0);
        if p.wants_slice() && !self.sched.globq.is_empty() {
            set_slice_alarm(self, &p);
        }
        true
    }

    /// Moves the G's in this M's private P to the global queue, where others find them.
    #[optimize(size)]
    pub(crate) fn hand_out(&self) {
        let guard = PreemptGuard::new();
        if to_global(self.sched, &self.held(&guard), &guard) {
            self.sched.wake_any(self);
        }
        self.arm(self.outside.timers.when().min(self.armed.load(Ordering::Relaxed)));
    }

    /// Moves the rest of this M's time outside to the P of the scheduler that it now holds.
    #[inline(always)]
    pub(crate) fn come_in(&self) {
        if self.strays.get() {
            self.settle();
        }
    }

    #[cold]
    fn settle(&self) {
        let guard = PreemptGuard::new();
        let (sched, p) = (self.sched, self.held(&guard));
        self.outside.attention.store(0, Ordering::Relaxed);
        self.outside.free.flush(&sched.free, &guard);
        // All at once: this heap holds only the timers that were started in a block.
        if let Err(larger) = self.outside.timers.move_to(&p.timers, usize::MAX, &guard) {
            // Until there is room the timers stay where they are, and are found as strays.
            p.timers.grow(larger);
            if self.outside.timers.move_to(&p.timers, usize::MAX, &guard).is_err() {
                return;
            }
        }
        self.strays.set(false);
        // Release: an M that counts no strays finds their timers where we have put them.
        sched.strays.ms.fetch_sub(1, Ordering::Release);
    }

    /// Gives up a surplus or private P, and takes another if one is free. On g0.
    #[cold]
    #[optimize(size)]
    pub(crate) fn surrender(&'static self, guard: &PreemptGuard) {
        let (sched, p) = (self.sched, self.held(guard));
        let any = to_global(sched, &p, guard);
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
        if !self.strays.replace(true) {
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
    (0..most).for_each(|p| retire(sched, p));
    before
}

impl Sched {
    /// Sets the number of P's to `n`: those that were gone are back when this returns. Surplus P's
    /// are not [gone](retire) yet, but no M claims them any more. Returns the number that it was.
    pub(crate) fn set_number(&'static self, n: usize, by: &M) -> usize {
        let before = self.rest.set_num_ps(n);
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
pub(crate) fn retire(sched: &'static Sched, at: usize) {
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
            let g0 = run_next(m, None);
            // SAFETY: 1. `after_global` queues it. 2. it needs no argument. 3. right above.
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
    let any = to_global(sched, &p, guard);
    p.free.flush(&sched.free, guard);
    let moved = p.timers.move_to(&own.timers, MOVED, guard);
    p.attention.store(0, Ordering::Relaxed);
    p.forget_alarms();
    m.arm(own.next_alarm());
    if any {
        sched.wake_any(m);
    }
    moved
}
