//! An M: a core that runs G's. On its g0 the M finds work; with a P it may run G's.

use crate::core::slot::SLOT_DELAY;
pub use crate::machine::counter::Counter;
use core::cell::Cell;

use crate::core::haul::memory::Haul;
use crate::core::p::OUTSIDE;
use crate::core::p::{ATTEND_PLATFORM, Held, P};
use crate::core::shared::Sched;
use crate::core::trace::{self, Recorder};
use crate::g::{G, GRef};
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::machine::sync::{AtomicPtr, AtomicU64, Ordering, OwnU64, fence};
use crate::machine::token::Token;
use crate::queue::global::GlobQ;
use trefoil_trace::Kind;

/// In `news`: the M was woken and has not run a G since.
pub(crate) const WOKEN: u8 = 1;

/// A machine: one core.
#[derive(Debug)]
#[repr(C)]
pub struct M {
    // --- Shared.
    /// Set by the core that claimed this M's rest.
    pub token: Token,
    /// The totals of this M.
    pub counters: Counters,

    /// Ready G's that are pinned to this M: it takes them first, and no other M does.
    pub(crate) pinned_queue: GlobQ,
    /// A P that was handed to this M while it rested, before its token was set.
    pub(crate) handed_p: AtomicPtr<P>,

    // --- Written by this core alone, read by reports.
    /// The time at which it took part first.
    pub(crate) started_at: AtomicU64,
    /// The time at which its core began to rest; `u64::MAX`: the core does not rest.
    pub(crate) resting_since: AtomicU64,
    curg: AtomicPtr<G>,
    p: AtomicPtr<P>,

    // --- This core only.
    pub(crate) g0: G,
    pub(crate) sched: &'static Sched,
    index: usize,
    /// True while the M is counted as a spinner.
    pub(crate) spinning: Cell<bool>,
    /// Bits for the next G that g0 finds: [`WOKEN`], and the recorder's.
    pub(crate) news: Cell<u8>,
    pub(crate) trace: Recorder,
    pub(crate) haul: Haul,
    /// The P that the M held last: it comes back to that one if it can.
    pub(crate) last_p: Cell<Option<usize>>,
    /// A G whose turn came here, and that is pinned to another M: g0 sends it there.
    pub(crate) misrouted: Cell<Option<GRef>>,
    /// The private P that the M holds outside: see `core/handoff.rs`.
    pub(crate) outside: P,
    /// True if the M has been outside since it held one of the scheduler's P's.
    pub(crate) has_strays: Cell<bool>,
    /// The P's that the M gave up last, one bit each. While such a P has no M its deadlines are
    /// this M's (INV-TIMER-HOME). Bits may be out of date: see [`kept`](Self::kept). Read by the
    /// M's own handler.
    pub(crate) keeps: OwnU64,
    /// The alarm of its one-shot; its own handler writes it too.
    pub(crate) armed: OwnU64,
    /// The end of a pause, in which the one-shot does not ring for timers while others wait: it has
    /// just rung for due ones. Written by its own handler.
    pub(crate) calm: OwnU64,
}

// SAFETY: the `Cell`s are touched by the M's own core only, with preemption off (or by its own
// interrupt handlers, which touch none of them); others read atomics.
unsafe impl Sync for M {}

/// Totals of an M since it started. Counters of a running M may lag by an instruction or two.
#[derive(Debug, Default)]
pub struct Counters {
    /// G's dispatched.
    pub runs: Counter,
    /// G's taken from other P's.
    pub steals: Counter,
    /// G's that parked here.
    pub parks: Counter,
    /// Nanoseconds at rest.
    pub idle_ns: Counter,
    /// Wake-ups sent to other M's.
    pub wakes_sent: Counter,
    /// Wake-ups received.
    pub wakes_received: Counter,
    /// Wake-ups received that found nothing to run.
    pub wakes_useless: Counter,
    /// Timer interrupts taken.
    pub timer_interrupts: Counter,
    /// G's whose core was taken away from them.
    pub preemptions: Counter,
    /// Times that the M took G's from another P, one or many.
    pub hauls: Counter,
    /// Times that the M's one-shot was set.
    pub timer_writes: Counter,
    /// Nanoseconds that the M has waited for spin locks, but for those of the platform.
    pub lock_ns: Counter,
}

impl M {
    /// Makes M number `index` of `sched`, not started.
    pub fn new(index: usize, sched: &'static Sched) -> Self {
        Self {
            token: Token::new(),
            counters: Counters::default(),
            pinned_queue: GlobQ::new(),
            handed_p: AtomicPtr::new(core::ptr::null_mut()),
            started_at: AtomicU64::new(0),
            resting_since: AtomicU64::new(u64::MAX),
            curg: AtomicPtr::new(core::ptr::null_mut()),
            p: AtomicPtr::new(core::ptr::null_mut()),
            g0: G::new(),
            sched,
            index,
            spinning: Cell::new(false),
            news: Cell::new(0),
            trace: Recorder::new(),
            haul: Haul::new(),
            last_p: Cell::new(None),
            misrouted: Cell::new(None),
            outside: P::new(OUTSIDE, index as u64),
            has_strays: Cell::new(false),
            keeps: OwnU64::new(0),
            armed: OwnU64::new(u64::MAX),
            calm: OwnU64::new(0),
        }
    }

    /// Returns the M of this core, for as long as the guard keeps us on it.
    #[inline(always)]
    pub fn current(_preempt: &PreemptGuard) -> &M {
        // SAFETY: the platform returns this core's M, which lives for ever; the guard keeps the
        // caller on this core.
        unsafe { &*platform::current_m().cast::<Self>() }
    }

    /// Returns the M's number, from 0.
    #[inline]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns the M's scheduler.
    #[inline]
    pub fn sched(&self) -> &'static Sched {
        self.sched
    }

    /// Returns the G that runs on the M, or `None` while it is on its g0. A guess for all but the M
    /// itself.
    #[inline]
    pub fn running(&self) -> Option<GRef> {
        // SAFETY: the word is only ever set from a `GRef`.
        unsafe { self.curg.load(Ordering::Relaxed).as_ref() }
    }

    #[inline(always)]
    pub(crate) fn set_running(&self, g: Option<GRef>) {
        let p = g.map_or(core::ptr::null_mut(), |g| core::ptr::from_ref(g).cast_mut());
        self.curg.store(p, Ordering::Relaxed);
        // SAFETY: it is the record of a G, and records live for ever. The M of a g0 does, too.
        unsafe { platform::set_current(core::ptr::from_ref(g.unwrap_or(&self.g0)).cast()) };
    }

    /// Returns the G that calls, or ends the machine if none does.
    #[inline(always)]
    pub(crate) fn caller(&self) -> GRef {
        match self.running() {
            Some(g) => g,
            None => not_on_a_g(),
        }
    }

    /// Returns the P that the M holds, as any core may see it.
    #[inline(always)]
    pub fn p(&self) -> Option<&'static P> {
        // SAFETY: P's live as long as the scheduler, which is for ever.
        unsafe { self.p.load(Ordering::Relaxed).as_ref() }
    }

    /// Returns true if the M was woken and has not found anything to run yet. On this core.
    pub fn was_woken(&self) -> bool {
        self.news.get() & WOKEN != 0
    }

    /// Returns the saved stack pointer of g0: the stack below is free while a G runs. For the
    /// platform, on this core.
    pub fn g0_sp(&self) -> usize {
        self.g0.saved_sp()
    }

    /// Returns true if the M was woken and has not run a G since, and forgets it.
    pub(crate) fn take_woken(&self) -> bool {
        let news = self.news.get();
        self.news.set(news & !WOKEN);
        news & WOKEN != 0
    }

    /// Makes the next scheduling point of this core go through g0, where
    /// [`Platform::on_g0`](crate::Platform::on_g0) is called. For handlers that put something off.
    pub fn attend_platform(&self) {
        if let Some(p) = self.p() {
            p.attention.fetch_or(ATTEND_PLATFORM, Ordering::Relaxed);
        }
    }

    /// Does as [`attend_platform`](Self::attend_platform), unless others wait here: then this core
    /// comes by g0 anyway.
    pub fn attend_platform_if_alone(&self) {
        if self.p().is_some_and(P::queues_are_empty) {
            self.attend_platform();
        }
    }

    /// Takes hold of `p`, which this M has claimed or was given. The caller arms the one-shot
    /// (INV-TIMER-HOME).
    #[cold]
    #[inline(never)]
    pub(crate) fn hold(&self, p: &'static P) {
        self.set_p(Some(p));
        self.last_p.set(Some(p.index()));
        self.keeps.store(self.keeps.load(Ordering::Relaxed) & !(1 << p.index()), Ordering::Relaxed);
        // The first G has not run yet, even one that was next in the slot when the P was given up.
        p.slice.reset();
        self.come_in();
        // SeqCst: pairs with the fence in `nudge`: an M that lets a G run on this P without an
        // alarm looks at the global queue after this.
        fence(Ordering::SeqCst);
    }

    pub(crate) fn set_p(&self, p: Option<&'static P>) {
        let p = p.map_or(core::ptr::null_mut(), |p| core::ptr::from_ref(p).cast_mut());
        self.p.store(p, Ordering::Relaxed);
    }

    /// Puts a wake-up off until the alarm of the P that this M holds. On this core, with preemption
    /// off.
    #[cold]
    pub(crate) fn defer_wake(&self) {
        let guard = PreemptGuard::new();
        let p = self.held(&guard);
        if p.is_outside() {
            return self.sched.wake_now(self);
        }
        trace::note(self, Kind::Defer, 0, 0);
        p.slot.defer();
        if p.slot.alarm_is_off() {
            p.slot.arm(platform::now(), SLOT_DELAY);
            self.arm(p.next_alarm());
        }
    }

    /// Returns the P that the M holds, with the holder's rights.
    #[inline(always)]
    pub(crate) fn held<'a>(&'a self, _preempt: &'a PreemptGuard) -> Held<'a> {
        match self.p() {
            // SAFETY: 1. `self` is the current M (only `current` and `run_m` hand it out) and holds
            // `p`; the guard is alive.
            Some(p) => unsafe { Held::new(p) },
            None => no_p(),
        }
    }
}

/// Ends the machine. The ABI can't unwind, so callers have no landing pads for it.
#[cold]
#[inline(never)]
extern "C" fn not_on_a_g() -> ! {
    platform::fatal(platform::Fatal::Broken("an operation that parks or yields was called outside any G"))
}

/// Ends the machine, as above.
#[cold]
#[inline(never)]
extern "C" fn no_p() -> ! {
    platform::fatal(platform::Fatal::Broken("an M without a P called the scheduler"))
}
