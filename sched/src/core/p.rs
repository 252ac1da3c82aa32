//! A P: the right to run G's, and everything a running core needs close by: its queue, its slot,
//! its timers, its free G's.
//!
//! The rest of the machine reaches a P in three ways, which the types tell apart. Any core may
//! steal through `&P`. The M that holds the P works through [`Held`]. An interrupt handler on its
//! core uses the atomics of the slot and of `attention`.
//!
//! The slot and the slice have rooms of their own: `slot.rs`, `slice.rs`.

use core::cell::Cell;
use core::ops::Deref;

use crate::core::slice::Slice;
use crate::core::slot::Slot;
use crate::core::trace::ATTEND_TRACE;
use crate::core::victims::Rng;
use crate::g::COARSE_SHIFT;
use crate::machine::sync::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::measure::latency::Latency;
use crate::queue::free::LocalFree;
use crate::queue::ring::{RingOwner, Runq};
use crate::timers::Timers;

/// The number of a private P, which is none of the scheduler's.
pub(crate) const OUTSIDE: usize = usize::MAX;

/// The delay after which the handler looks again at a P with a due timer that its G keeps from
/// running: 100 µs. Also the shortest distance of two interrupts for due timers, so that a storm of
/// deadlines cannot take the core.
pub(crate) const TIMER_RETRY: u64 = 100_000;

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
    /// The number as word 1 of a record has it.
    #[cfg(feature = "trace")]
    pub(crate) mark: u64,

    // --- Shared.
    pub(crate) runq: Runq,
    pub(crate) timers: Timers,
    /// The M that gave the P up last, and keeps its deadlines until another M holds it
    /// (INV-TIMER-HOME).
    pub(crate) home: AtomicUsize,

    // --- Written by the holder and by the handlers of its core.
    /// Not zero: g0 has something besides the next G to do. One load on the fast path.
    pub(crate) attention: AtomicU32,
    pub(crate) slot: Slot,
    pub(crate) slice: Slice,
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
// `IdleSets::claim_p` (Acquire) and `lie_down` (Release) order one holder after the other.
unsafe impl Sync for P {}

impl P {
    pub(crate) fn new(index: usize, seed: u64) -> Self {
        Self {
            index,
            #[cfg(feature = "trace")]
            mark: u64::from(index as u8) << 8,
            runq: Runq::new(),
            timers: Timers::new(),
            home: AtomicUsize::new(usize::MAX),
            attention: AtomicU32::new(0),
            slot: Slot::new(),
            slice: Slice::new(),
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

    /// Returns true if the P is not one of the scheduler's, but an M's private P; see
    /// `core/handoff.rs`.
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
        self.queued() + u32::from(!self.slot.is_empty())
    }

    /// Returns true if a thief could take a G here now.
    pub(crate) fn has_work(&self) -> bool {
        !self.runq.is_empty() || self.slot.is_ripe()
    }

    /// Returns true if no G waits here: for the holder.
    pub(crate) fn queues_are_empty(&self) -> bool {
        self.slot.is_empty() && self.runq.is_empty()
    }

    /// Returns the time at which this P's core must be interrupted next.
    pub(crate) fn next_alarm(&self) -> u64 {
        self.timers.when().min(self.next_own_alarm())
    }

    /// Takes note of all that `attention` asks for, but for the recorder's bit, which stays.
    #[inline(always)]
    pub(crate) fn calm_down(&self) {
        self.attention.store(self.attention.load(Ordering::Relaxed) & ATTEND_TRACE, Ordering::Relaxed);
    }

    /// Notes the time of a clock read here. On the P's core.
    pub(crate) fn saw(&self, now: u64) {
        self.coarse.store((now >> COARSE_SHIFT) as u32, Ordering::Relaxed);
    }

    /// Turns all alarms off: for a P that no M holds, or that an M is about to hold.
    pub(crate) fn forget_alarms(&self) {
        self.slot.forget();
        self.slice.forget();
    }

    /// Returns the next alarm without the timers.
    pub(crate) fn next_own_alarm(&self) -> u64 {
        self.slot.alarm().min(self.slice.alarm())
    }

    /// Makes alarms that are set due at `at` at the latest. In an interrupt of the P's core.
    pub(crate) fn hasten(&self, at: u64) {
        self.slot.hasten(at);
        self.slice.hasten(at);
    }

    /// Records the delay of a G that has left the core, or leaves it in a moment. By the holder.
    pub(crate) fn made_way(&self, now: u64) {
        if let Some(end) = self.slice.made_way() {
            self.latency.preempt.record(now.saturating_sub(end));
        }
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
    pub(crate) fn ring(&self) -> RingOwner<'a> {
        // SAFETY: 1. the current M holds this P (that is what `Held` says) and preemption is off,
        // so nobody else is owner; callers use the `RingOwner` within one expression.
        unsafe { self.0.runq.owner() }
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
}

impl Deref for Held<'_> {
    type Target = P;
    #[inline(always)]
    fn deref(&self) -> &P {
        self.0
    }
}
