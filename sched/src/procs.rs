//! P's change hands: a core that waits for slow hardware gives its P away, and the number of P's changes while everybody runs.
//!
//! ```text
//!   block_in_place(f)    M a ── P 1 ──▶ free ──▶ M b, which was woken for it, runs what waited
//!                        │ outside
//!                        f()   what it readies or starts goes to the global queue; its timers stay with M a
//!                        │
//!                        P 1 if nobody has it · any free P · none: the G goes to the global queue, M a rests
//!
//!   set_max_procs(2)     num_ps = 2        P's 2 and up are not claimed any more
//!                        for each of them: free ──▶ claimed for good, emptied
//!                                          held ──▶ its M is asked (`ATTEND_RETIRE`, an interrupt), gives it up on g0, and it is free
//! ```
//!
//! **Outside.** An M that has given its P away still holds one: its own, which is none of the scheduler's, so that `go`, `ready` and the rest find what they
//! always find. Nobody steals from it, so nothing may stay in it: what is put there goes to the global queue at once ([`M::hand_out`]), which
//! costs the ordinary way nothing, since an alarm that is never set leads to the out-of-line part each time. G's that park outside leave by g0, as
//! always, where the M gives that P up and looks for a real one.
//!
//! **The rule for short blocks.** The P is free from the first moment, but nobody is woken for it unless work waits: a short `f` with nothing queued costs two
//! atomic operations and finds its P again. Who finds work later and wakes an M gives it that P. So there is no time after which a P is retaken: no
//! wait is needed to find out whether the block is short.
//!
//! **INV-STRAY.** Timers of a P that is free since its M is outside, and timers started outside, have that M's one-shot. Its handler can't run them, nor is
//! it an M that could be woken: it wakes a resting one, or has a busy core interrupted, which runs them on g0. All look for them while
//! [`Strays`] are counted, and only then.
//!
//! **The hard race** is a P that is one too many and claimed at the same moment by an M that has read the old number. Nobody waits for that M's word: each M
//! looks at the number of its P whenever it comes to g0, and gives up one that is too many, as often as it happens; and whoever lowered the number comes
//! back until it has claimed each of them itself. A P is one bit, so it has one owner at any time.
//!
//! Rejected: stopping the world for it. A change of the number moves the queues of those P's that go, whose owner is known without it; it would
//! have stopped those that stay. Go's sysmon rule (retake after 20 µs): needs a core that looks.

use crate::g::{Batch, G};
use crate::idle::MAX;
use crate::m::M;
use crate::p::{ATTEND_RETIRE, Held, P};
use crate::park::{leave, run_next, set_slice_alarm, yield_now};
use crate::platform;
use crate::preempt::PreemptGuard;
use crate::sched::Sched;
use crate::sync::{AtomicBool, AtomicU32, Ordering, fence, spin_loop};

/// The number of a P that is none of the scheduler's.
pub(crate) const OUTSIDE: usize = usize::MAX;

/// An M that does not give up its P is interrupted again after so many looks.
const PATIENCE: u32 = if cfg!(loom) { 1 } else { 1000 };

/// How many M's are outside, or have been and have not held a P since; and the lock of [`set_max_procs`].
#[derive(Debug)]
pub(crate) struct Strays {
    ms: AtomicU32,
    changing: AtomicBool,
}

impl Strays {
    pub(crate) fn new() -> Self {
        Self { ms: AtomicU32::new(0), changing: AtomicBool::new(false) }
    }

    #[inline(always)]
    pub(crate) fn none(&self) -> bool {
        self.ms.load(Ordering::Relaxed) == 0
    }
}

/// Runs `f`, which may keep this core busy for long without needing it (slow hardware, a polled device), and lets another core run the G's that wait for
/// this one. `f` runs here and now, on the caller's stack; it is not preempted. If it parks, it goes on as any G does, and the rest of it keeps its core.
/// Inside itself it just runs `f`. Afterwards the G may have to wait for its turn, if all P's are taken.
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

/// Until it is dropped the caller's M is outside, unless the G parks. False: it was before, and whoever took it there brings it back.
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

/// The G waits with all others, for whichever P comes first.
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

/// Empties the queue and the slot of `p` into the global queue. True: there was something.
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
    /// Gives the P away. False: it is none of the scheduler's.
    pub(crate) fn go_outside(&self, guard: &PreemptGuard) -> bool {
        let (sched, p) = (self.sched, self.held(guard));
        let Some(outside) = sched.m(self.index()).map(|m| &m.outside) else { return false };
        if p.is_outside() {
            return false;
        }
        to_global(sched, &p, guard);
        self.strays.set(true);
        // Before the P is free: whoever sees it so sees this, too.
        sched.strays.ms.fetch_add(1, Ordering::Relaxed);
        p.home.store(self.index(), Ordering::Relaxed);
        self.lent.store(p.index(), Ordering::Relaxed);
        self.set_p(Some(outside));
        sched.rest.give_up(p.index());
        if sched.has_work(0) {
            sched.wake_any(self);
        }
        // From here on only for the timers.
        self.rearm(p.timers.when());
        true
    }

    /// The block is over: takes its P back, or another one. Who waits does not wait for the caller's end: the P they were woken for is taken.
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

    /// What has been put into this M's own P goes where others find it.
    pub(crate) fn hand_out(&self) {
        let guard = PreemptGuard::new();
        if to_global(self.sched, &self.held(&guard), &guard) {
            self.sched.wake_any(self);
        }
        self.arm(self.outside.timers.when().min(self.armed.load(Ordering::Relaxed)));
    }

    /// It has a P of the scheduler's: what is left of its time outside goes there.
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
        self.lent.store(usize::MAX, Ordering::Relaxed);
        self.outside.attention.store(0, Ordering::Relaxed);
        self.outside.free.flush(&sched.free, &guard);
        if let Err(larger) = self.outside.timers.move_to(&p.timers, &guard) {
            // Until there is room they are where they were, and found as strays.
            p.timers.grow(larger);
            if self.outside.timers.move_to(&p.timers, &guard).is_err() {
                return;
            }
        }
        self.strays.set(false);
        // Release: whoever counts no strays finds their timers where we have put them.
        sched.strays.ms.fetch_sub(1, Ordering::Release);
    }

    /// On g0 with a P that is one too many, or with its own: gives it up, and takes another if one is free.
    #[cold]
    pub(crate) fn surrender(&'static self, guard: &PreemptGuard) {
        let (sched, p) = (self.sched, self.held(guard));
        let any = to_global(sched, &p, guard);
        self.set_p(None);
        if !p.is_outside() {
            p.home.store(self.index(), Ordering::Relaxed);
            sched.rest.give_up(p.index());
        }
        if !sched.take_p(self) && any {
            sched.wake_any(self);
        }
    }
}

impl Sched {
    /// After a push to the global queue: wakes an M if there is a P for it, or sees to it that a busy one takes turns.
    pub(crate) fn wake_any(&'static self, by: &M) {
        self.wake_now(by);
        self.nudge();
    }

    /// The P's whose timers may have no core that runs them in time.
    pub(crate) fn stray_ps(&'static self) -> impl Iterator<Item = &'static P> {
        let free = self.ps().iter().filter(|p| self.rest.is_idle_p(p.index()));
        self.ms().map(|m| &m.outside).chain(free)
    }

    /// Whether one of those is due.
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

/// Changes the number of P's, that is, how many G's may run at the same time, and returns what it was. Nothing is lost, and nobody who goes on running
/// notices. When it returns, no more than `n` run. May park.
///
/// # Panics
/// If `n` is 0, or more than the scheduler was made for (the number of cores, or `maxprocs` if that was more).
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
    // Acquire and Release below: one change after the other.
    while sched.strays.changing.swap(true, Ordering::Acquire) {
        yield_now();
        spin_loop();
    }
    let before = sched.num_ps();
    sched.rest.set_num_ps(n);
    if n > before {
        let guard = PreemptGuard::new();
        (before..n).for_each(|p| sched.rest.give_up(p));
        if sched.has_work(0) {
            sched.wake_now(M::current(&guard));
        }
    } else {
        (n..before).for_each(|p| retire(sched, p));
    }
    sched.strays.changing.store(false, Ordering::Release);
    before
}

/// Claims P `at`, which nobody else claims any more, whoever holds it now, and empties it.
pub(crate) fn retire(sched: &'static Sched, at: usize) {
    let p = &sched.ps()[at];
    let mut looks = 0;
    loop {
        let guard = PreemptGuard::new();
        let m = M::current(&guard);
        if sched.rest.claim_exactly(at) {
            return empty(m, p, &guard);
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
        // Not a yield: the caller would wait for a slice. Whoever has it comes to g0 without our doing.
        spin_loop();
    }
}

impl Sched {
    /// P's that have no M give their free G's to the global list, by our hand. For when memory is short.
    ///
    /// Each is ours for a moment, in which others may look for a free P and find none: so afterwards we look for what they have left. A P with timers is not
    /// taken from the M that is its home and keeps their time; that M gets up instead, takes it, and does what [`trim`](Self::trim) has told it.
    #[cold]
    #[inline(never)]
    pub fn trim_resting(&'static self, guard: &PreemptGuard) {
        let (m, mut any) = (M::current(guard), false);
        for p in self.ps().iter().filter(|p| p.free.len() > 0) {
            if p.timers.when() != u64::MAX {
                self.wake_home(p, m);
            } else if self.rest.claim_exactly(p.index()) {
                // SAFETY: 1. its bit was claimed, by the M that we are on while the guard lives: we are its holder.
                let held = unsafe { Held::new(p) };
                held.free.flush(&self.free, guard);
                let timers = p.timers.when() != u64::MAX;
                self.rest.give_up(p.index());
                if timers {
                    // It was another's, between the look and the claim, and that M may have gone to rest without them.
                    self.wake_home(p, m);
                }
                any = true;
            }
        }
        // SeqCst: as R4 of the sleep protocol; pairs with S2. Who pushed and found no free P is seen here.
        fence(Ordering::SeqCst);
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

/// A P that was claimed to stay without an M leaves nothing behind.
fn empty(m: &M, p: &'static P, guard: &PreemptGuard) {
    let (sched, own) = (m.sched, m.held(guard));
    // SAFETY: 1. its bit was claimed, by the M that we are on while the guard lives: we are its holder.
    let p = unsafe { Held::new(p) };
    let any = to_global(sched, &p, guard);
    p.free.flush(&sched.free, guard);
    while let Err(larger) = p.timers.move_to(&own.timers, guard) {
        if !own.timers.grow(larger) {
            platform::reclaim();
        }
    }
    p.attention.store(0, Ordering::Relaxed);
    p.forget_alarms();
    m.arm(own.next_alarm());
    if any {
        sched.wake_any(m);
    }
}
