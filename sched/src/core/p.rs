//! A P: the right to run G's, and everything a running core needs close by: its queue, its slot,
//! its timers, its free G's.
//!
//! The rest of the machine reaches a P in three ways, which the types tell apart. Any core may
//! steal through `&P`. The M that holds the P works through [`Held`]. An interrupt handler on its
//! core uses the atomics of the slot and of `attention`.
//!
//! # The slot (`runnext`)
//!
//! A G that a running G readies goes into the slot and runs next on this P, in the rest of the same
//! slice. So a ping-pong pair stays on one core with warm caches and wakes no M. Both ways to get
//! this wrong are known. If the slot is *not stealable*, its G starves: it waits for a long-running
//! G although cores are idle. If the slot is *stolen eagerly*, or each push wakes an M, a third of
//! the throughput goes into cores that come too late. So a push that finds no alarm set arms the
//! P's one-shot for [`SLOT_DELAY`]. When the alarm fires, the handler looks at the slot's sequence
//! number, which tells three cases apart:
//!
//! * unchanged since the alarm was set: the G has waited too long. The handler marks it *ripe*
//!   (thieves take ripe G's only) and wakes an M;
//! * changed: the pair is alive, and the handler sets the alarm again;
//! * the slot is empty: the alarm is off.
//!
//! # The slice
//!
//! A G that runs while others wait has a slice; a G that runs alone is never interrupted.
//! **INV-SLICE**: while a G runs and the ring or the slot holds another, the slot's or the slice's
//! alarm is set. A submitter that queues there sets the alarm ([`P::wants_slice`]), on the core
//! that owns the one-shot. So there is no race with the handler that turns the alarm off when no G
//! waits. A G may also wait in the *global* queue when no M could be woken for it. In that case the
//! slice's alarm of some P whose G runs is set. The submitter may then be another core;
//! `Sched::nudge` has the handshake. So no thread has to look, as Go's sysmon does for slices.
//!
//! No clock is read when G's switch among themselves. After a G came from the ring, `slice_start`
//! is 0, "unknown". An alarm that finds 0 there takes the present as the start. So a G gets between
//! one slice and two. Where the clock has been read anyway (on g0, when a G goes to sleep), the
//! start is exact.

use core::cell::Cell;
use core::ops::Deref;

use crate::core::handoff::OUTSIDE;
use crate::core::victims::Rng;
use crate::g::{COARSE_SHIFT, G, GRef};
use crate::machine::sync::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::measure::latency::Latency;
use crate::queue::free::LocalFree;
use crate::queue::ring::{Local, Runq};
use crate::timers::Timers;

/// The time that a G may wait in the slot before a thief may have it: 50 µs.
pub const SLOT_DELAY: u64 = 50_000;

/// About the time from a slice's last interrupt to the next G: 1 µs.
const MAKING_WAY: u64 = 1_000;

/// The most sleepers in a row that may go before the G's in the ring.
const AHEAD: u32 = 8;

/// The global queue goes first once in this many dispatches. Prime, so that it does not fall in
/// step with the rhythm of programs.
pub(crate) const FAIR_TICKS: u32 = 61;

/// `attention`: a timer is due.
pub(crate) const ATTEND_TIMER: u32 = 1;

/// `attention`: the platform has something to do on g0.
pub(crate) const ATTEND_PLATFORM: u32 = 2;

/// `attention`: the running G's slice is over.
pub(crate) const ATTEND_SLICE: u32 = 4;

/// `attention`: there are to be fewer P's, and this one is surplus.
pub(crate) const ATTEND_RETIRE: u32 = 8;

/// `attention`: the running G has promised not to leave; see [`M::hold_back`](crate::M::hold_back).
pub(crate) const ATTEND_HELD: u32 = 16;

/// A processor: the right to run G's.
#[derive(Debug)]
pub struct P {
    index: usize,

    // --- Shared.
    pub(crate) runq: Runq,
    runnext: AtomicPtr<G>,
    pub(crate) timers: Timers,
    /// The M that gave the P up last, and keeps its deadlines until another M holds it
    /// (INV-TIMER-HOME).
    pub(crate) home: AtomicUsize,

    // --- Written by the holder and by the handlers of its core.
    /// Not zero: g0 has something besides the next G to do. One load on the fast path.
    pub(crate) attention: AtomicU32,
    /// Counts pushes into the slot.
    slot_seq: AtomicU32,
    /// The value of `slot_seq` when the alarm was set.
    slot_alarm_seq: AtomicU32,
    /// The value of `slot_seq` that is ripe.
    slot_ripe: AtomicU32,
    /// The due time of the slot's alarm; `u64::MAX`: not set.
    slot_alarm: AtomicU64,
    /// True if a wake-up was put off until the alarm.
    deferred: AtomicBool,
    /// The due time of the slice's alarm; `u64::MAX`: not set, since no G waits.
    slice_alarm: AtomicU64,
    /// Start of the slice that `runnext` inherits; 0: not known yet.
    slice_start: AtomicU64,
    /// The end of the slice of a G that has not made way yet; 0: there is none.
    overdue: AtomicU64,
    /// The time of the last clock read here, in units of [`COARSE_SHIFT`]. The read is less than a
    /// slice ago while others wait (INV-SLICE). A core that goes to its g0 reads anew.
    pub(crate) coarse: AtomicU32,

    // --- Holder only.
    pub(crate) free: LocalFree,
    /// The last call to give free G's away that the P has followed; see
    /// [`Sched::trim`](crate::Sched::trim).
    pub(crate) trimmed: Cell<u32>,
    pub(crate) rng: Rng,
    /// Dispatches left before the global queue goes first.
    pub(crate) fair: Cell<u32>,
    /// Counts the sleepers in a row that went before the G's in the ring, and the dispatches of the
    /// M up to the last of them.
    pub(crate) ahead: Cell<(u32, u64)>,
    pub(crate) next_id: Cell<u64>,
    pub(crate) last_id: Cell<u64>,
    pub(crate) latency: Latency,
    /// Counts the G's begun and ended on this P. The difference of the sums is the number of live
    /// G's.
    pub(crate) begun: AtomicU64,
    pub(crate) ended: AtomicU64,
}

// SAFETY: the `Cell`s and `free` are touched only through `Held`, of which one M has one at a time;
// `Rest::claim_p` (Acquire) and `lie_down` (Release) order one holder after the other.
unsafe impl Sync for P {}

impl P {
    pub(crate) fn new(index: usize, seed: u64) -> Self {
        Self {
            index,
            runq: Runq::new(),
            runnext: AtomicPtr::new(core::ptr::null_mut()),
            timers: Timers::new(),
            home: AtomicUsize::new(usize::MAX),
            attention: AtomicU32::new(0),
            slot_seq: AtomicU32::new(0),
            slot_alarm_seq: AtomicU32::new(0),
            slot_ripe: AtomicU32::new(u32::MAX),
            slot_alarm: AtomicU64::new(u64::MAX),
            deferred: AtomicBool::new(false),
            slice_alarm: AtomicU64::new(u64::MAX),
            slice_start: AtomicU64::new(0),
            overdue: AtomicU64::new(0),
            coarse: AtomicU32::new(0),
            free: LocalFree::new(),
            trimmed: Cell::new(0),
            rng: Rng::new(seed),
            fair: Cell::new(FAIR_TICKS),
            ahead: Cell::new((0, 0)),
            next_id: Cell::new(0),
            last_id: Cell::new(0),
            latency: Latency::default(),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    /// Returns the P's number, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns true if the P is not one of the scheduler's, but an M's private P; see `core/handoff.rs`.
    #[inline(always)]
    pub(crate) fn is_outside(&self) -> bool {
        self.index == OUTSIDE
    }

    /// Returns how many G's wait in the ring. A guess for others.
    pub fn queued(&self) -> u32 {
        self.runq.len()
    }

    /// Returns how many G's wait here, the slot's included. A guess for others.
    pub fn waiting(&self) -> u32 {
        self.queued() + u32::from(!self.slot_is_empty())
    }

    /// Returns true if a thief could take a G here now.
    pub(crate) fn has_work(&self) -> bool {
        !self.runq.is_empty() || self.slot_is_ripe()
    }

    pub(crate) fn slot_is_empty(&self) -> bool {
        self.runnext.load(Ordering::Relaxed).is_null()
    }

    /// Returns true if no G waits here: for the holder.
    pub(crate) fn queues_are_empty(&self) -> bool {
        self.slot_is_empty() && self.runq.is_empty()
    }

    fn slot_is_ripe(&self) -> bool {
        // Acquire: pairs with the Release in `alarm`, which follows the handler's look at the slot.
        let ripe = self.slot_ripe.load(Ordering::Acquire);
        ripe == self.slot_seq.load(Ordering::Relaxed) && !self.slot_is_empty()
    }

    /// Takes the G in the slot if it has waited there too long.
    pub(crate) fn steal_slot(&self) -> Option<GRef> {
        if !self.slot_is_ripe() {
            return None;
        }
        let g = self.runnext.load(Ordering::Acquire);
        if g.is_null() {
            return None;
        }
        // AcqRel: Acquire pairs with the Release of `Held::put_slot`; a G that was put back
        // meanwhile is as good.
        self.runnext.compare_exchange(g, core::ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed).ok()?;
        // SAFETY: the slot holds `GRef`s only.
        Some(unsafe { &*g })
    }

    /// Handles the slot's alarm, in the timer interrupt of the P's core (or by its holder with
    /// preemption off). Returns true if the caller is to wake an M for waiting work.
    pub(crate) fn alarm(&self, now: u64, delay: u64) -> bool {
        if self.slot_alarm.load(Ordering::Relaxed) > now {
            return false;
        }
        // Both, always: the slot's part sets the alarm again or turns it off.
        let deferred = self.deferred.swap(false, Ordering::Relaxed);
        self.slot_alarm(now, delay) || deferred
    }

    /// Returns true if the G in the slot has waited too long: it is ripe then.
    fn slot_alarm(&self, now: u64, delay: u64) -> bool {
        let seq = self.slot_seq.load(Ordering::Relaxed);
        if self.slot_is_empty() {
            self.slot_alarm.store(u64::MAX, Ordering::Relaxed);
            false
        } else if seq == self.slot_alarm_seq.load(Ordering::Relaxed) {
            self.slot_alarm.store(u64::MAX, Ordering::Relaxed);
            // Release: pairs with the Acquire in `slot_is_ripe`.
            self.slot_ripe.store(seq, Ordering::Release);
            true
        } else {
            self.slot_alarm_seq.store(seq, Ordering::Relaxed);
            self.slot_alarm.store(now + delay, Ordering::Relaxed);
            false
        }
    }

    /// Returns true if a wake-up was put off.
    #[cfg(loom)]
    pub(crate) fn is_deferred(&self) -> bool {
        self.deferred.load(Ordering::Relaxed)
    }

    /// Turns all alarms off: for a P that no M holds, or that an M is about to hold.
    pub(crate) fn forget_alarms(&self) {
        self.slot_alarm.store(u64::MAX, Ordering::Relaxed);
        self.slice_alarm.store(u64::MAX, Ordering::Relaxed);
        self.deferred.store(false, Ordering::Relaxed);
    }

    /// Returns the time at which this P's core must be interrupted next.
    pub(crate) fn next_alarm(&self) -> u64 {
        self.timers.when().min(self.next_own_alarm())
    }

    /// Limits the wait for the slot's alarm to `at`, now that there is more than one P: the G in
    /// the slot waits for a thief. In an interrupt of the P's core.
    pub(crate) fn hasten_slot(&self, at: u64) {
        let set = self.slot_alarm.load(Ordering::Relaxed);
        if set != u64::MAX {
            self.slot_alarm.store(set.min(at), Ordering::Relaxed);
        }
    }

    /// Returns the next alarm without the timers.
    pub(crate) fn next_own_alarm(&self) -> u64 {
        self.slot_alarm.load(Ordering::Relaxed).min(self.slice_alarm.load(Ordering::Relaxed))
    }

    /// Returns true if the slice's alarm is off.
    #[inline(always)]
    pub(crate) fn wants_slice(&self) -> bool {
        self.slice_alarm.load(Ordering::Relaxed) == u64::MAX
    }

    /// Sets the slice's alarm, unless it is set for an earlier time. On the P's core.
    pub(crate) fn set_slice_alarm(&self, at: u64) {
        self.slice_alarm.store(self.slice_alarm.load(Ordering::Relaxed).min(at), Ordering::Relaxed);
    }

    /// Makes alarms that are set due at `at` at the latest. In an interrupt of the P's core.
    pub(crate) fn hasten(&self, at: u64) {
        for alarm in [&self.slot_alarm, &self.slice_alarm] {
            let set = alarm.load(Ordering::Relaxed);
            if set != u64::MAX {
                alarm.store(set.min(at), Ordering::Relaxed);
            }
        }
    }

    /// Notes the time of a clock read here. On the P's core.
    pub(crate) fn saw(&self, now: u64) {
        self.coarse.store((now >> COARSE_SHIFT) as u32, Ordering::Relaxed);
    }

    /// Records the delay of a G that has left the core, or leaves it in a moment. By the holder.
    pub(crate) fn made_way(&self, now: u64) {
        match self.overdue.swap(0, Ordering::Relaxed) {
            0 => {}
            end => self.latency.preempt.record(now.saturating_sub(end)),
        }
    }

    /// Sets the start of the running G's slice; 0: not known.
    #[inline(always)]
    pub(crate) fn begin_slice(&self, now: u64) {
        self.slice_start.store(now, Ordering::Relaxed);
    }

    /// Returns true if the start of the slice is not known.
    pub(crate) fn slice_is_unknown(&self) -> bool {
        self.slice_start.load(Ordering::Relaxed) == 0
    }

    /// Returns the start of the running G's slice. An unknown start becomes `now`.
    pub(crate) fn slice_started(&self, now: u64) -> u64 {
        match self.slice_start.load(Ordering::Relaxed) {
            0 => {
                self.slice_start.store(now, Ordering::Relaxed);
                now
            }
            start => start,
        }
    }

    /// Handles the slice's alarm, in an interrupt of the P's core. Returns true if the running G
    /// has used up `limit` while others wait.
    pub(crate) fn slice_over(&self, now: u64, waits: bool, limit: u64) -> bool {
        if self.slice_alarm.load(Ordering::Relaxed) > now {
            return false;
        }
        if !waits {
            self.slice_alarm.store(u64::MAX, Ordering::Relaxed);
            return false;
        }
        let end = self.slice_started(now).saturating_add(limit);
        // The next G's slice begins when that G runs: an alarm before its end would be needless.
        self.slice_alarm.store(if end <= now { now + MAKING_WAY + limit } else { end }, Ordering::Relaxed);
        if end <= now && self.overdue.load(Ordering::Relaxed) == 0 {
            self.overdue.store(end, Ordering::Relaxed);
        }
        end <= now
    }
}

/// A P in the hands of the M that holds it. Made by [`M::p`](crate::M::p), lives as long as
/// preemption is off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held<'a>(&'a P);

impl<'a> Held<'a> {
    /// # Safety
    /// 1. The current M holds `p`, and preemption is off for `'a`.
    pub(crate) unsafe fn new(p: &'a P) -> Self {
        Self(p)
    }

    /// Returns the owner's side of the ring.
    #[inline(always)]
    pub(crate) fn ring(&self) -> Local<'a> {
        // SAFETY: 1. the current M holds this P (that is what `Held` says) and preemption is off,
        // so nobody else is owner; callers use the `Local` within one expression.
        unsafe { self.0.runq.owner() }
    }

    /// Puts `g` into the slot. Returns the G that was there, for the ring.
    #[inline]
    pub(crate) fn put_slot(&self, g: GRef) -> Option<GRef> {
        let p = self.0;
        p.slot_seq.store(p.slot_seq.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        // AcqRel: Release pairs with the Acquire in `steal_slot`.
        let old = p.runnext.swap(core::ptr::from_ref(g).cast_mut(), Ordering::AcqRel);
        // SAFETY: the slot holds `GRef`s only.
        unsafe { old.as_ref() }
    }

    /// Takes the G in the slot.
    #[inline(always)]
    pub(crate) fn take_slot(&self) -> Option<GRef> {
        if self.0.slot_is_empty() {
            return None;
        }
        // Acquire is enough: only this core puts G's in, thieves only empty it.
        let g = self.0.runnext.swap(core::ptr::null_mut(), Ordering::Acquire);
        // SAFETY: as above.
        unsafe { g.as_ref() }
    }

    /// Returns true if a due sleeper may go before the G's in the ring, and counts it. At most
    /// [`AHEAD`] may go in a row, with `runs` dispatches of this M so far. (In a row: no G has been
    /// dispatched since the last of them.)
    pub(crate) fn may_go_ahead(&self, runs: u64) -> bool {
        let (row, at) = self.0.ahead.get();
        let row = if runs == at { row } else { 0 };
        if row < AHEAD {
            self.0.ahead.set((row + 1, runs + 1));
        }
        row < AHEAD
    }

    /// Returns true if [`AHEAD`] sleepers in a row have gone ahead.
    pub(crate) fn has_let_ahead(&self, runs: u64) -> bool {
        let (row, at) = self.0.ahead.get();
        runs == at && row >= AHEAD
    }

    /// Puts a wake-up off until the alarm.
    pub(crate) fn defer(&self) {
        self.0.deferred.store(true, Ordering::Relaxed);
    }

    /// Returns true if the slot's alarm has to be set, after a push into the slot.
    #[inline(always)]
    pub(crate) fn wants_alarm(&self) -> bool {
        self.0.slot_alarm.load(Ordering::Relaxed) == u64::MAX
    }

    /// Sets the slot's alarm.
    pub(crate) fn set_alarm(&self, now: u64, delay: u64) {
        let p = self.0;
        p.slot_alarm_seq.store(p.slot_seq.load(Ordering::Relaxed), Ordering::Relaxed);
        p.slot_alarm.store(now + delay, Ordering::Relaxed);
    }
}

impl Deref for Held<'_> {
    type Target = P;
    #[inline(always)]
    fn deref(&self) -> &P {
        self.0
    }
}
