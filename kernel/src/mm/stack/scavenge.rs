//! The scavenger gives memory back: pages that a parked G's stack does not need, stacks that stay
//! parked, and windows without a G.
//!
//! ```text
//!   one round    collect   pages → limbo      from: ended G's windows · warm free G's nobody wants · parked G's (under Scan)
//!                begin     an epoch           tables that the last round has left without pages → limbo, too
//!                … everybody passes …         rounds are never waited for: the next call looks whether it is over
//!                finish    limbo → empty, or packed; frames go back
//!   one pass     as many rounds as it takes to look at every G record once
//! ```
//!
//! Passes come with three degrees of urgency. *Idle*: one every `round::PERIOD`, if any G has
//! parked since the last one. An idle pass shrinks parked stacks, and strips free windows beyond a
//! few. An idle pass also packs stacks that were parked through the whole period (Cold, see
//! `sched/src/g/state.rs`). *Pressed*: free memory has fallen below a watermark. Then nothing
//! counts as too recent, and rounds follow one another. *Forced*: a caller asks for everything
//! ([`run`]): `runtime::scavenge()`, or a spawn that found no memory.
//!
//! The scavenger runs on g0 between two G's, a bounded piece at a time (`round::LOOKS` records), on
//! any core that finds the lock free. Forced passes also run on the caller's stack. There is one
//! round at a time on the whole machine, so only one core takes pages to limbo (see
//! `sched/src/stack/page.rs`).

mod round;
mod stale;

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use trefoil_sched::internals::epoch::Epochs;
use trefoil_sched::internals::recorder::{BUILT, note};
use trefoil_sched::{M, PreemptGuard};
use trefoil_trace::Kind;

use super::Window;
use crate::arch::lock::Lock;
use crate::arch::tlb::flush_tlb;
use crate::arch::{clock, percpu};
use crate::mm::frames;
use crate::mm::record;
use crate::scheduler;
use round::{DESPAIR, ROUND_IDLE, Round, Urgency};

static ROUND_STATE: Lock<Round> = Lock::new(Round::new());

/// The time of the next piece of work, in ticks, for `poll`. Relaxed: a core that sees an old value
/// looks a little later.
static NEXT: AtomicU64 = AtomicU64::new(0);
/// The same in nanoseconds.
static NEXT_NS: AtomicU64 = AtomicU64::new(0);
/// Free memory has fallen below the watermark.
static PRESSED: AtomicBool = AtomicBool::new(false);

/// No core tries to [make room](make_room) again before this time, in nanoseconds since boot.
static HOPELESS_UNTIL: AtomicU64 = AtomicU64::new(0);

/// The epochs that each core has passed.
pub static EPOCHS: Epochs = Epochs::new();

/// Counted, never reset: for `runtime::stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ScavengeStats {
    /// Passes over all G's.
    pub passes: u64,
    /// Bytes given back, ever.
    pub freed: u64,
}

/// Returns the counts.
pub fn stats() -> ScavengeStats {
    let round = ROUND_STATE.lock();
    ScavengeStats { passes: round.passes, freed: round.freed }
}

/// Adds a window that no G lives on.
///
/// # Safety
/// 1. As [`super::free`].
pub(super) unsafe fn put_stale(window: Window, low: u64, retired: bool) {
    // SAFETY: 1. the caller's: the window came from `alloc`, no G runs on it, and nothing alive
    // points into it, unless it is retired.
    if unsafe { stale::put(window, low, retired) } == ROUND_IDLE {
        NEXT.store(0, Ordering::Relaxed);
    }
}

/// Presses the passes until memory is no longer short. Called where the pool hands out frames, with
/// preemption off.
#[cold]
#[inline(never)]
pub fn press() {
    if !PRESSED.load(Ordering::Relaxed) {
        PRESSED.store(true, Ordering::Relaxed);
        NEXT.store(0, Ordering::Relaxed);
    }
    if clock::ticks() >= NEXT.load(Ordering::Relaxed)
        && let Some(m) = percpu::current().m()
    {
        m.attend_platform_if_alone();
    }
}

/// Passes epochs, and does a piece of work if one is due. On g0. Returns true if it did a piece.
#[inline(always)]
pub fn poll(m: &M) -> bool {
    if EPOCHS.is_behind(m.index()) {
        pass(m.index());
    }
    // A core that was just woken has work to do: that work comes first.
    let due = clock::ticks() >= NEXT.load(Ordering::Relaxed) && !m.was_woken();
    due && work()
}

#[cold]
fn pass(m: usize) {
    EPOCHS.pass(m, flush_tlb);
}

/// Handles the interrupt that asks a laggard to pass. The interrupted code had preemption off
/// `depth` deep: at 0 it holds nothing.
pub fn on_interrupt(depth: u32) {
    let core = percpu::current();
    let Some(m) = core.m() else { return };
    if depth == 0 && EPOCHS.is_behind(m.index()) {
        pass(m.index());
    } else {
        m.attend_platform();
    }
}

/// Pieces that a core works in one go at most, when memory is scarce: about half a millisecond.
const PIECES_IN_NEED: u32 = 100;

/// Does a piece of work. Returns false if another core holds the lock.
#[cold]
#[optimize(size)]
fn work() -> bool {
    let guard = PreemptGuard::new();
    let Some(sched) = scheduler::try_sched() else { return false };
    let Some(mut round) = ROUND_STATE.try_lock() else { return false };
    let urgency = if frames::is_low() {
        Urgency::Pressed
    } else {
        PRESSED.store(false, Ordering::Relaxed);
        Urgency::Idle
    };
    let mut wait = round.step(sched, &guard, urgency);
    // Where memory is scarce, the next goroutine that grows may die of it. So pieces follow each
    // other here, and this core comes back before each goroutine that it runs.
    let mut pieces = 1;
    while wait == 0 && pieces < PIECES_IN_NEED && frames::is_scarce() {
        wait = round.step(sched, &guard, urgency);
        pieces += 1;
    }
    if wait == 0 {
        let m = M::current(&guard);
        if pieces > 1 { m.attend_platform() } else { m.attend_platform_if_alone() }
    }
    let next = if wait == 0 { 0 } else { clock::now() + wait };
    NEXT_NS.store(next, Ordering::Relaxed);
    NEXT.store(if wait == 0 { 0 } else { clock::ticks_at(next) }, Ordering::Relaxed);
    true
}

/// The resting core that wakes up for the next piece of work; `usize::MAX`: no core does.
static KEEPER: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Returns when the next piece of work is due, in nanoseconds since boot. A resting core wakes up
/// for it. `u64::MAX`: no G has parked since the last pass, so there is nothing to look for.
fn next_due() -> u64 {
    let Some(round) = ROUND_STATE.try_lock() else { return u64::MAX };
    if round.is_quiet() && !round.in_pass && !round.busy && round.parks == parks() + 1 && stale::is_empty() {
        return u64::MAX;
    }
    NEXT_NS.load(Ordering::Relaxed)
}

/// Returns how often G's have parked or ended.
fn parks() -> u64 {
    scheduler::try_sched().map_or(0, |sched| sched.ms().map(|m| m.counters.parks.get()).sum())
}

/// Packs and strips until the pool or this core's fault reserve has frames. Both are empty, so the
/// next G may not even be unpacked. On g0.
#[cold]
pub fn make_room() {
    let Some(sched) = scheduler::try_sched() else { return };
    let guard = PreemptGuard::new();
    if clock::now() < HOPELESS_UNTIL.load(Ordering::Relaxed) {
        return;
    }
    sched.trim();
    sched.trim_resting(&guard);
    sched.trim_own(&guard);
    let m = M::current(&guard).index();
    let mut passes = None;
    loop {
        if EPOCHS.is_behind(m) {
            pass(m);
        }
        if let Some(mut round) = ROUND_STATE.try_lock() {
            // One pass under way, and one from its beginning to its end.
            let target = *passes.get_or_insert(round.passes + 2);
            if round.passes >= target && round.is_quiet() {
                HOPELESS_UNTIL.store(clock::now() + DESPAIR, Ordering::Relaxed);
                return;
            }
            round.step(sched, &guard, Urgency::Forced);
        }
        super::free_deferred();
        super::fill_reserve();
        if !record::current().reserve.is_low() {
            return;
        }
        core::hint::spin_loop();
    }
}

/// Gives back all memory that can be given back, and returns how many bytes. Not in a handler, with
/// none of the locks of this module held.
pub fn run() -> u64 {
    let Some(sched) = scheduler::try_sched() else { return 0 };
    if BUILT {
        let guard = PreemptGuard::new();
        note(M::current(&guard), Kind::Pressure, 0, 0);
    }
    let before = ROUND_STATE.lock().freed;
    // Caches for reuse are emptied first, so that this pass finds their contents.
    sched.trim();
    {
        let guard = PreemptGuard::new();
        sched.trim_resting(&guard);
        sched.trim_own(&guard);
    }
    // A pass under way may have missed memory that it has already passed, so the next pass counts.
    // Tables follow their pages by a round.
    let target = {
        let mut round = ROUND_STATE.lock();
        round.force_next = true;
        round.passes + if round.in_pass { 2 } else { 1 }
    };
    loop {
        let guard = PreemptGuard::new();
        let m = M::current(&guard).index();
        if EPOCHS.is_behind(m) {
            // A good scheduling point: `run` holds nothing here.
            pass(m);
        }
        if let Some(mut round) = ROUND_STATE.try_lock() {
            if round.passes >= target && round.is_quiet() && round.next_tables.is_empty() {
                return round.freed - before;
            }
            round.step(sched, &guard, Urgency::Forced);
        }
        super::free_deferred();
        drop(guard);
        core::hint::spin_loop();
    }
}

/// Runs `f` with the round's lock held, so that no core scavenges meanwhile: for tests of the use
/// of the other locks.
#[doc(hidden)]
pub fn with_locked<R>(f: impl FnOnce() -> R) -> R {
    let _round = ROUND_STATE.lock();
    f()
}

/// Tries [`run`] when the heap has no frames. Returns true if the heap may look again. For a
/// goroutine that holds nothing; repeated calls do not run in vain again and again.
#[cold]
pub fn for_the_heap() -> bool {
    if percpu::depth() > 0 || percpu::in_handler() || percpu::current_g().is_none() {
        return false;
    }
    if clock::now() < HOPELESS_UNTIL.load(Ordering::Relaxed) {
        return false;
    }
    if run() == 0 {
        HOPELESS_UNTIL.store(clock::now() + DESPAIR, Ordering::Relaxed);
    }
    true
}
/// Prepares the core's rest until `until`: finds the time to wake up, and the core holds nothing
/// from here on. Returns the values for [`rise`]. `None`: there was work to do, so look for work
/// again.
pub fn rest(m: &M, until: u64) -> Option<(u64, u64)> {
    if poll(m) {
        return None;
    }
    let mut until = until;
    if KEEPER.load(Ordering::Relaxed) == usize::MAX {
        let due = next_due();
        if due < until && KEEPER.compare_exchange(usize::MAX, m.index(), Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            until = due;
        }
    }
    Some((until, EPOCHS.rest(m.index())))
}

/// Ends the rest.
pub fn rise(m: &M, flushed: u64) {
    EPOCHS.rise(m.index(), flushed, flush_tlb);
    if KEEPER.load(Ordering::Relaxed) == m.index() {
        KEEPER.store(usize::MAX, Ordering::Relaxed);
    }
}
