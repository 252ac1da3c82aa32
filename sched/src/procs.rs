//! P's change hands: a core that waits for slow hardware gives its P away, and the number of P's
//! changes while everybody runs.
//!
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
//!
//! **Outside.** An M that has given its P away still holds one: its own, which is none of the
//! scheduler's, so that `go`, `ready` and the rest find what they always find. Nobody steals from
//! it, so nothing may stay in it: what is put there goes to the global queue at once
//! ([`M::hand_out`]), which costs the ordinary way nothing, since an alarm that is never set leads
//! to the out-of-line part each time. G's that park outside leave by g0, as always, where the M
//! gives that P up and looks for a real one.
//!
//! **The rule for short blocks.** The P is free from the first moment, but nobody is woken for it
//! unless work waits: a short `f` with nothing queued costs two atomic operations and finds its P
//! again. Who finds work later and wakes an M gives it that P. So there is no time after which a P
//! is retaken: no wait is needed to find out whether the block is short.
//!
//! **INV-STRAY.** Timers of a P that is free since its M is outside, and timers started outside,
//! have that M's one-shot. Its handler can't run them, nor is it an M that could be woken: it wakes
//! a resting one, or has a busy core interrupted, which runs them on g0. All look for them while
//! [`Strays`] are counted, and only then.
//!
//! **Nobody owns a change.** The number and the bits of those that are gone say what there is to
//! do, and each step is whole with preemption off: so a G that dies in the middle of a change (its
//! stack is at its end, memory is short) leaves less to do and nothing locked. Those beyond the
//! number that are not gone yet are claimed by nobody, and their M's give them up at their next
//! turn on g0; the next change takes them away. Two that change the number at once help each other;
//! each step looks at the number once more after it (`Rest::bury`, `Rest::give_back`), so that the
//! last one to write it has its way.
//!
//! **A P's timers go in pieces**, with preemption on in between. After each piece the P is free
//! again, though nobody claims it to run, and the M that has moved the piece is its home. So a
//! timer that becomes due meanwhile is found as those of any free P are.
//!
//! INV-TIMER-HOME: Who gives a P up is its home, and keeps its deadlines: at rest by the rest's
//! end, else by the one-shot ([`M::arm`]), also while it holds another P. Until there is an M that
//! holds the P, or another home.
//!
//! **The hard race** is a P that is one too many and claimed at the same moment by an M that has
//! read the old number. Nobody waits for that M's word: each M looks at the number of its P
//! whenever it comes to g0, and gives up one that is too many, as often as it happens; and whoever
//! lowered the number comes back until it has claimed each of them itself. A P is one bit, so it
//! has one owner at any time.
//!
//! Rejected: stopping the world for it. A change of the number moves the queues of those P's that
//! go, whose owner is known without it; it would have stopped those that stay. Go's sysmon rule
//! (retake after 20 µs): needs a core that looks.

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

/// The number of a P that is none of the scheduler's.
pub(crate) const OUTSIDE: usize = usize::MAX;

/// An M that does not give up its P is interrupted again after so many looks.
const PATIENCE: u32 = if cfg!(loom) { 1 } else { 1000 };

/// How many M's are outside, or have been and have not held a P since.
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
/// device), and lets another core run the G's that wait for this one. `f` runs here and now, on the
/// caller's stack; it is not preempted. If it parks, it goes on as any G does, and the rest of it
/// keeps its core. Inside itself it just runs `f`. Afterwards the G may have to wait for its turn,
/// if all P's are taken.
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

/// Until it is dropped the caller's M is outside, unless the G parks. False: it was before, and
/// whoever took it there brings it back.
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
        // Before the P is free.
        self.stray();
        self.keep(&p);
        self.set_p(Some(outside));
        // Fences: who queues something while the P is held finds nobody to wake, and we see it
        // here.
        sched.rest.give_up(p.index());
        if sched.has_work(0) {
            sched.wake_any(self);
        }
        // From here on only for the timers.
        self.rearm(self.kept_until());
        true
    }

    /// This M keeps the deadlines of `p`, which it holds and is about to give up.
    pub(crate) fn keep(&self, p: &P) {
        p.home.store(self.index(), Ordering::Relaxed);
        self.keeps.store(self.keeps.load(Ordering::Relaxed) | 1 << p.index(), Ordering::Relaxed);
    }

    /// Whether it keeps the deadlines of any P that has no M: a guess.
    #[inline(always)]
    pub(crate) fn keeps_any(&self) -> bool {
        self.keeps.load(Ordering::Relaxed) != 0
    }

    /// The P's without an M whose deadlines it keeps. On its core.
    fn kept(&self) -> impl Iterator<Item = &'static P> {
        let (sched, keeps) = (self.sched, self.keeps.load(Ordering::Relaxed));
        // Whoever holds one, for a moment or longer, is its home when it is free again.
        let is_mine = |p: &P| p.home.load(Ordering::Relaxed) == self.index() && sched.rest.is_idle_p(p.index());
        sched.ps().iter().filter(move |p| keeps >> p.index() & 1 == 1 && is_mine(p))
    }

    /// The earliest of those deadlines. On its core, also in its handlers.
    #[inline(always)]
    pub(crate) fn kept_until(&self) -> u64 {
        if self.keeps_any() { self.first_kept() } else { u64::MAX }
    }

    #[cold]
    #[inline(never)]
    fn first_kept(&self) -> u64 {
        self.kept().map(|p| p.timers.when()).min().unwrap_or(u64::MAX)
    }

    /// Those that it does not keep any more it need not look at again. On its g0.
    pub(crate) fn forget_kept(&self) {
        let keeps = self.kept().fold(0, |bits, p| bits | 1 << p.index());
        self.keeps.store(keeps, Ordering::Relaxed);
    }

    /// The block is over: takes its P back, or another one. Who waits does not wait for the
    /// caller's end: the P they were woken for is taken.
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
    #[optimize(size)]
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
        self.outside.attention.store(0, Ordering::Relaxed);
        self.outside.free.flush(&sched.free, &guard);
        // All at once: in this heap, only the timers that were started in a block can be.
        if let Err(larger) = self.outside.timers.move_to(&p.timers, usize::MAX, &guard) {
            // Until there is room they are where they were, and found as strays.
            p.timers.grow(larger);
            if self.outside.timers.move_to(&p.timers, usize::MAX, &guard).is_err() {
                return;
            }
        }
        self.strays.set(false);
        // Release: whoever counts no strays finds their timers where we have put them.
        sched.strays.ms.fetch_sub(1, Ordering::Release);
    }

    /// On g0 with a P that is one too many, or with its own: gives it up, and takes another if one
    /// is free.
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

    /// From now on its timers, and those of the P's that it keeps, are looked for by others until
    /// it holds a P.
    pub(crate) fn stray(&self) {
        if !self.strays.replace(true) {
            // Relaxed: who sees one of its P's free, or is interrupted by it, sees this.
            self.sched.strays.ms.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Deadlines that this M keeps have come, and it has no P to run them with: wakes a resting M,
    /// or if there is no P for one, interrupts a busy core, which runs them on g0.
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
    /// After a push to the global queue: wakes an M if there is a P for it, or sees to it that a
    /// busy one takes turns.
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

/// Changes the number of P's, that is, how many G's may run at the same time, and returns what it
/// was. Nothing is lost, and nobody who goes on running notices. When it returns, no more than `n`
/// run. May park.
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
    /// From now on there are `n` P's: those that were gone are back when this returns. Those that
    /// are too many are not [gone](retire) yet, but nobody claims them any more. Returns how many
    /// there were.
    pub(crate) fn set_number(&'static self, n: usize, by: &M) -> usize {
        let before = self.rest.set_num_ps(n);
        let mut look = n > before;
        for p in (0..n).filter(|&p| self.rest.is_gone(p)) {
            // One that is one too many again is for the caller that has lowered the number
            // meanwhile, or if it sees this too early, for the next one.
            let _ = self.rest.give_back(p);
            look = true;
        }
        // Also without one that was gone: an M that has given up one that was to go may have looked
        // for it too early. And also if another caller has raised the number: it has looked before
        // our P was free.
        if look && self.has_work(0) {
            self.wake_now(by);
        }
        if before == 1 && n > 1 {
            self.end_single(by);
        }
        before
    }

    /// There was one P. Its M has not looked whether anybody rests when it queued something, nor
    /// fenced ([`is_single`](Self::is_single)). So we ask it to look now: its
    /// [handler](crate::wake_interrupt) sees what was queued before it, and what is queued after it
    /// is queued by one who sees the new number.
    #[cold]
    fn end_single(&'static self, by: &M) {
        let holds = |m: &&M| m.index() != by.index() && m.p().is_some_and(|p| !p.is_outside());
        self.ms().filter(holds).for_each(|m| platform::wake_m(m.index()));
    }
}

/// If P `at` is one too many, claims it for good, whoever holds it now, and empties it. Any number
/// of callers may do so at once.
pub(crate) fn retire(sched: &'static Sched, at: usize) {
    let p = &sched.ps()[at];
    let mut looks = 0;
    // In this order: who sees that it is back sees the number for which it came.
    while !sched.rest.is_gone(at) && at >= sched.num_ps() {
        let guard = PreemptGuard::new();
        let m = M::current(&guard);
        if sched.rest.claim_exactly(at) {
            // To the end without a scheduling point: the caller may be ended at the next.
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
                // Meanwhile there are to be more: it was nobody's for a moment, in which others may
                // have looked for it.
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
        // Not a yield: the caller would wait for a slice. Whoever has it comes to g0 without our
        // doing.
        spin_loop();
    }
}

impl Sched {
    /// P's that have no M give their free G's to the global list, by our hand. For when memory is
    /// short.
    ///
    /// Each is ours for a moment, in which others may look for a free P and find none: so
    /// afterwards we look for what they have left. A P with timers is not taken from the M that is
    /// its home and keeps their time; that M gets up instead, takes it, and does what
    /// [`trim`](Self::trim) has told it. One that has got timers between the look and the claim is
    /// ours to keep: its home may have gone to rest without them, or be up again and hold another
    /// P.
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
                // Fences: who pushed and found no free P is seen below.
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

/// Empties a P that was claimed to stay without an M. If timers are left, the P is free again, and
/// `m` is its home. Returns as [`empty`].
pub(crate) fn empty_or_keep(m: &M, p: &'static P, guard: &PreemptGuard) -> Result<bool, usize> {
    let emptied = empty(m, p, guard);
    if emptied != Ok(true) {
        m.keep(p);
        m.sched.rest.give_up(p.index());
        m.arm(m.held(guard).next_alarm());
    }
    emptied
}

/// Empties a P that was claimed to stay without an M, but for its timers: of those, a piece moves
/// to the caller's P. Returns true if none is left. Returns `Err` if the heap there must be larger.
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
