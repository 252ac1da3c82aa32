//! The part of the scheduler that all M's share.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::core::idle::{IdleSets, NOBODY, Submit};
use crate::core::m::M;
use crate::core::p::P;
use crate::core::p::TIMER_RETRY;
use crate::core::rounds::Rounds;
use crate::core::trace;
use crate::g::dead::Deaths;
use crate::g::{Batch, GRef};
use crate::machine::MAX;
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::machine::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
use crate::queue::free::GlobalFree;
use crate::queue::global::GlobQ;
use crate::queue::inbox::Inbox;
use crate::queue::registry::{Cursor, Registry};
use trefoil_trace::{Kind, Place};

/// The parameters of a scheduler.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Number of P's, 1 to 64.
    pub max_procs: usize,
    /// The most P's that there may be later, 1 to 64; `max_procs` if that is more.
    pub limit: usize,
    /// Seeds every random choice.
    pub seed: u64,
    /// The nanoseconds that a G, or a chain of hand-overs through the slot, may hold a P while
    /// others wait.
    pub slice: u64,
    /// The same limit while a timer is due, or an interrupt has readied a G.
    pub wakeup: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_procs: 1, limit: 1, seed: 1, slice: 10_000_000, wakeup: 100_000 }
    }
}

/// Counts the M's that are outside, and those that were and have not held a P since.
#[derive(Debug)]
pub(crate) struct Strays {
    pub(crate) ms: AtomicU32,
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

/// The shared part of the scheduler.
#[derive(Debug)]
pub struct Sched {
    ps: Box<[P]>,
    ms: [AtomicPtr<M>; MAX],
    /// The global run queue.
    pub globq: GlobQ,
    /// The resting M's and free P's.
    pub rest: IdleSets,
    pub(crate) free: GlobalFree,
    pub(crate) registry: Registry,
    pub(crate) ids: AtomicU64,
    seed: u64,
    slice: AtomicU64,
    wakeup: AtomicU64,
    /// Counts the calls that told P's to give their free G's away.
    pub(crate) trims: AtomicU32,
    /// Counts the M's that hold a G still; see [`scan`](Self::scan).
    pub(crate) scanning: AtomicU32,
    pub(crate) strays: Strays,
    pub(crate) inbox: Inbox,
    /// The G's that ended where they stood.
    pub deaths: Deaths,
    pub(crate) rounds: Rounds,
}

impl Sched {
    /// Makes a scheduler with no M yet.
    ///
    /// # Panics
    /// If `max_procs` is 0 or above 64.
    pub fn new(config: &Config) -> Self {
        let rest = IdleSets::new(config.max_procs);
        let seed = |i: usize| config.seed.wrapping_add(i as u64).wrapping_mul(2).wrapping_add(1);
        Self {
            ps: (0..config.max_procs.max(config.limit).min(MAX))
                .map(|i| P::new(i, seed(i)))
                .collect::<Vec<_>>()
                .into_boxed_slice(),
            ms: core::array::from_fn(|_| AtomicPtr::new(core::ptr::null_mut())),
            globq: GlobQ::new(),
            rest,
            free: GlobalFree::new(),
            registry: Registry::new(),
            ids: AtomicU64::new(1),
            seed: config.seed,
            slice: AtomicU64::new(config.slice),
            wakeup: AtomicU64::new(config.wakeup),
            trims: AtomicU32::new(0),
            scanning: AtomicU32::new(0),
            strays: Strays::new(),
            inbox: Inbox::new(),
            deaths: Deaths::new(),
            rounds: Rounds::new(),
        }
    }

    /// Returns the seed of every random choice.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the P's, those beyond [`num_ps`](Self::num_ps) included.
    pub fn ps(&'static self) -> &'static [P] {
        &self.ps
    }

    /// Returns how many P's may run G's.
    #[inline(always)]
    pub fn num_ps(&self) -> usize {
        self.rest.num_ps()
    }

    /// Returns how many of them have no M (a snapshot).
    pub fn num_idle_ps(&self) -> usize {
        self.rest.idle_p_count() as usize
    }

    /// Returns true if there is one P only: no M to wake, no P to steal from. A caller that raises
    /// the number makes an M that has just read this look again (`Sched::end_single`).
    #[inline(always)]
    pub(crate) fn is_single(&self) -> bool {
        self.num_ps() == 1
    }

    /// Returns the M's that have started.
    pub fn ms(&'static self) -> impl Iterator<Item = &'static M> {
        // Acquire: pairs with the Release in `start_m`. M's live for ever.
        self.ms.iter().filter_map(|m| unsafe_ref(m.load(Ordering::Acquire)))
    }

    /// Returns M number `index`, if it has started.
    pub(crate) fn m(&'static self, index: usize) -> Option<&'static M> {
        self.ms.get(index).and_then(|m| unsafe_ref(m.load(Ordering::Acquire)))
    }

    /// Makes `m` take part, and gives it a P if one is free. On its own core, with preemption off,
    /// once.
    pub fn start_m(&'static self, m: &'static M) {
        // Release: pairs with the Acquire in `ms`.
        self.ms[m.index()].store(core::ptr::from_ref(m).cast_mut(), Ordering::Release);
        m.started_at.store(platform::now(), Ordering::Relaxed);
        trace::begins(m);
        self.rest.start(m.index());
        self.take_p(m);
    }

    /// Gives `m` a free P, the last one that it held if that is free.
    pub(crate) fn take_p(&'static self, m: &M) -> bool {
        self.claim_p(m).is_some_and(|p| {
            // INV-TIMER-HOME: the P's timers are ours to keep now.
            m.arm(p.next_alarm());
            true
        })
    }

    /// Gives a free P to an M that goes on to look for work. The M runs the due timers itself, so
    /// its one-shot does not ring for them at once. The one-shot rings a little later, in case a
    /// thief is faster, and does not know of later timers.
    pub(crate) fn take_p_to_look(&'static self, m: &M) -> bool {
        self.claim_p(m).is_some_and(|p| {
            let (at, now) = (p.next_alarm(), platform::now());
            m.arm(if at <= now { now + TIMER_RETRY } else { at });
            true
        })
    }

    fn claim_p(&'static self, m: &M) -> Option<&'static P> {
        let p = self.rest.claim_p(m.last_p.get())?;
        let p = &self.ps[p];
        m.hold(p);
        trace::note(m, Kind::Hold, 0, 0);
        Some(p)
    }

    /// Wakes one M if one should be, after a push that others may take. Wakes it now or (see the
    /// budget in `core/idle.rs`) by this P's alarm. By the P's holder, with preemption off.
    #[inline]
    pub(crate) fn wake_one(&'static self, by: &M) {
        if !self.is_single() && self.rest.any_rests() {
            self.wake_resting(by);
        }
    }

    /// Wakes a resting M. Out of line, so that pushing saves no registers for it.
    #[cold]
    #[inline(never)]
    fn wake_resting(&'static self, by: &M) {
        match self.rest.claim_one(true, NOBODY) {
            Submit::Done => {}
            Submit::Wake(m) => self.wake(m, by),
            Submit::Defer => by.defer_wake(),
        }
    }

    /// Wakes as `wake_one` does, without a budget. Callable in an interrupt handler.
    pub(crate) fn wake_now(&self, by: &M) {
        if let Submit::Wake(m) = self.rest.submit(false) {
            self.wake(m, by);
        }
    }

    #[cold]
    pub(crate) fn wake(&self, m: usize, by: &M) {
        by.counters.wakes_sent.add_shared();
        if trace::BUILT {
            trace::note_all(by, Kind::Wake, u8::from(platform::in_handler()), Place::Nowhere, 0, m as u64, 0);
        }
        if let Some(m) = unsafe_ref(self.ms[m].load(Ordering::Acquire)) {
            m.token.set();
        }
        // Our own core is about to look at the token: a handler has interrupted its rest.
        if m != by.index() {
            platform::wake_m(m);
        }
    }

    /// Returns true if any queue holds something that an M without work could run at `now`.
    #[inline(never)]
    pub(crate) fn has_work(&'static self, now: u64) -> bool {
        self.has_work_but(false, now)
    }

    /// Looks as [`has_work`](Self::has_work) does, but not at rings and slots if they are
    /// `watched`.
    #[inline(always)]
    pub(crate) fn has_work_but(&'static self, watched: bool, now: u64) -> bool {
        !self.globq.is_empty()
            || !self.inbox.is_empty()
            || self.ps.iter().any(|p| !watched && p.has_work() || p.timers.when() <= now)
            || self.strays_due(now)
            || self.rounds.wants_hand()
    }

    /// Returns true if a G waits in any slot, ripe or not.
    pub(crate) fn has_slots(&self) -> bool {
        self.ps.iter().any(|p| !p.slot.is_empty())
    }

    /// Returns true if any timer is pending.
    #[inline(never)]
    pub(crate) fn has_timers(&'static self) -> bool {
        self.all_ps().any(|p| p.timers.when() != u64::MAX)
    }

    /// Returns the P's, and those that M's have [outside](crate::core::handoff).
    pub(crate) fn all_ps(&'static self) -> impl Iterator<Item = &'static P> {
        self.ps.iter().chain(self.ms().map(|m| &m.outside))
    }

    /// Returns how many G's and alarms wait in timers (without chores of the platform).
    pub fn num_timers(&'static self) -> usize {
        self.all_ps().map(|p| p.timers.len()).sum()
    }

    /// Returns the blocks of memory that P's keep for timers, each with its bytes.
    pub fn timer_bytes(&'static self) -> impl Iterator<Item = usize> {
        self.all_ps().flat_map(|p| p.timers.bytes(&PreemptGuard::new()))
    }

    /// Returns how many changes of [`timer_bytes`](Self::timer_bytes) are over, failed growths
    /// included. Returns `None` during a growth.
    pub fn timer_growths(&'static self) -> Option<u32> {
        self.all_ps().try_fold(0u32, |sum, p| Some(sum.wrapping_add(p.timers.growths()?)))
    }

    /// Returns how many G's live (a snapshot).
    #[inline(never)]
    pub fn num_goroutines(&'static self) -> u64 {
        // Acquire: pairs with the Release in `after_exit`.
        let ended: u64 = self.all_ps().map(|p| p.ended.load(Ordering::Acquire)).sum();
        let begun: u64 = self.all_ps().map(|p| p.begun.load(Ordering::Relaxed)).sum();
        begun.saturating_sub(ended)
    }

    /// Returns how many G records wait for their next life (a snapshot).
    pub fn num_free(&'static self) -> usize {
        self.free.len() + self.all_ps().map(|p| p.free.len()).sum::<usize>()
    }

    /// Returns how long a G may run while others wait, in nanoseconds.
    #[inline]
    pub fn slice(&self) -> u64 {
        self.slice.load(Ordering::Relaxed)
    }

    /// Sets the slice, for running G's as well: every core is interrupted, and sets its alarm anew.
    pub fn set_slice(&'static self, ns: u64) {
        self.slice.store(ns, Ordering::Relaxed);
        self.ms().filter(|m| m.p().is_some()).for_each(|m| platform::wake_m(m.index()));
    }

    /// Returns how long a G may run while a timer is due, or an interrupt has readied a G, in
    /// nanoseconds.
    #[inline]
    pub fn wakeup(&self) -> u64 {
        self.wakeup.load(Ordering::Relaxed)
    }

    /// Sets that time.
    pub fn set_wakeup(&self, ns: u64) {
        self.wakeup.store(ns, Ordering::Relaxed);
    }

    /// Interrupts one core whose G runs alone, after a push to the global queue from outside all
    /// P's when every P is busy. Such a core has no alarm, and
    /// [`wake_interrupt`](crate::wake_interrupt) sets it.
    ///
    /// An M that turns an alarm off, or takes a P, fences and looks at the queue *after* that.
    /// Either that M sees the push, or we see that the alarm is off, or the P held (INV-SLICE).
    #[cold]
    pub(crate) fn nudge(&'static self) {
        // SeqCst: pairs with the fences in `M::hold` and in `timer_interrupt`. (A caller that has
        // tried to wake an M has fenced already; not all have.)
        fence(Ordering::SeqCst);
        if self.rest.can_wake() {
            return;
        }
        let mut started = self.ms().take(self.rest.started_end());
        if let Some(m) = started.find(|m| m.p().is_some_and(|p| p.slice.alarm_is_off() && !p.is_outside())) {
            platform::wake_m(m.index());
        }
    }

    /// Returns true if some M, which may be a resting one, holds a G still. A held G may be
    /// runnable although no queue has it.
    pub(crate) fn is_scanning(&self) -> bool {
        self.scanning.load(Ordering::Acquire) != 0
    }

    /// Returns true if a round after a death is under way or asked for.
    #[doc(hidden)]
    pub fn is_round_pending(&self) -> bool {
        self.rounds.is_pending()
    }

    /// Returns how many G's wait for an interrupt (a snapshot).
    pub fn num_expected(&self) -> u32 {
        self.inbox.expected.load(Ordering::Relaxed)
    }

    /// Tells every P to give its free G's to the global list, at its next scheduling point.
    /// [`trim_resting`](Self::trim_resting) serves the P's without an M.
    pub fn trim(&self) {
        self.trims.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives the free G's of this M's P to the global list, at once.
    pub fn trim_own(&self, guard: &PreemptGuard) {
        M::current(guard).held(guard).free.flush(&self.free, guard);
    }

    /// Returns how many free G's of the global list still have memory.
    pub fn num_warm(&self) -> usize {
        self.free.warm_len()
    }

    /// Takes up to `n` of them. The caller strips their windows and gives them back by
    /// [`give_bare`](Self::give_bare).
    pub fn take_warm(&self, guard: &PreemptGuard, n: usize) -> Batch {
        self.free.take(guard, n)
    }

    /// Takes back a free G whose window has no memory.
    pub fn give_bare(&self, guard: &PreemptGuard, g: GRef) {
        self.free.push_bare(g, guard);
    }

    /// Runs `f` on the next `n` G records or a few more, from where `cursor` stands. Returns true
    /// when the cursor has come round.
    pub fn walk_gs(&self, cursor: &mut Cursor, n: usize, f: impl FnMut(GRef)) -> bool {
        self.registry.walk(cursor, n, f)
    }

    /// Returns how many G records were ever made, and the bytes of heap that they take for good.
    pub fn records(&self) -> (usize, usize) {
        self.registry.size()
    }

    /// Runs `f` on every G record, in no order, without a lock; for reports.
    pub fn for_each_g(&self, f: impl FnMut(GRef)) {
        self.registry.for_each(f);
    }

    /// Runs `f` with the locks of the global free lists held: for tests of the code that needs
    /// them.
    #[doc(hidden)]
    pub fn with_free_locked<R>(&self, f: impl FnOnce() -> R) -> R {
        let guard = PreemptGuard::new();
        self.free.with_locked(&guard, f)
    }

    /// Runs `f` with the global queue's lock held: for tests of the report path.
    #[doc(hidden)]
    pub fn with_globq_locked<R>(&self, f: impl FnOnce() -> R) -> R {
        let guard = PreemptGuard::new();
        self.globq.with_locked(&guard, f)
    }
}

/// Returns the M behind a pointer of `Sched::ms`.
fn unsafe_ref(m: *mut M) -> Option<&'static M> {
    // SAFETY: only `start_m` stores there, and from `&'static M`.
    unsafe { m.as_ref() }
}
