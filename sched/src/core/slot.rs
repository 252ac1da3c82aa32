//! The slot (`runnext`): the G that runs next on its P.
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

use crate::core::m::M;
use crate::core::p::Held;
use crate::g::{G, GRef};
use crate::machine::platform;
use crate::machine::sync::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// The time that a G may wait in the slot before a thief may have it: 50 µs.
pub const SLOT_DELAY: u64 = 50_000;

/// The slot of a P. Written by the holder, by the handlers of its core, and by thieves that take
/// the G out.
#[derive(Debug)]
pub(crate) struct Slot {
    next: AtomicPtr<G>,
    /// Counts pushes.
    seq: AtomicU32,
    /// The value of `seq` when the alarm was set.
    alarm_seq: AtomicU32,
    /// The value of `seq` that is ripe.
    ripe: AtomicU32,
    /// The due time of the alarm; `u64::MAX`: not set.
    alarm: AtomicU64,
    /// True if a wake-up was put off until the alarm.
    deferred: AtomicBool,
}

impl Slot {
    pub(crate) fn new() -> Self {
        Self {
            next: AtomicPtr::new(core::ptr::null_mut()),
            seq: AtomicU32::new(0),
            alarm_seq: AtomicU32::new(0),
            ripe: AtomicU32::new(u32::MAX),
            alarm: AtomicU64::new(u64::MAX),
            deferred: AtomicBool::new(false),
        }
    }

    /// Returns the number of the G in the slot. By the P's holder.
    #[cfg(feature = "trace")]
    pub(crate) fn id(&self) -> Option<u64> {
        // SAFETY: the slot holds `GRef`s only.
        unsafe { self.next.load(Ordering::Relaxed).as_ref() }.map(G::id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next.load(Ordering::Relaxed).is_null()
    }

    /// Returns true if a thief may take the G in the slot.
    pub(crate) fn is_ripe(&self) -> bool {
        // Acquire: pairs with the Release in `look`, which follows the handler's look at the slot.
        let ripe = self.ripe.load(Ordering::Acquire);
        ripe == self.seq.load(Ordering::Relaxed) && !self.is_empty()
    }

    /// Takes the G in the slot if it has waited there too long.
    pub(crate) fn steal(&self) -> Option<GRef> {
        if !self.is_ripe() {
            return None;
        }
        let g = self.next.load(Ordering::Acquire);
        if g.is_null() {
            return None;
        }
        // AcqRel: Acquire pairs with the Release of `Held::put_slot`; a G that was put back
        // meanwhile is as good.
        self.next.compare_exchange(g, core::ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed).ok()?;
        // SAFETY: the slot holds `GRef`s only.
        Some(unsafe { &*g })
    }

    /// Handles the slot's alarm, in the timer interrupt of the P's core, or by its holder with
    /// preemption off. Returns true if the caller is to wake an M for waiting work.
    pub(crate) fn on_alarm(&self, now: u64, delay: u64) -> bool {
        if self.alarm.load(Ordering::Relaxed) > now {
            return false;
        }
        // Both, always: the slot's part sets the alarm again or turns it off.
        let deferred = self.deferred.swap(false, Ordering::Relaxed);
        self.look(now, delay) || deferred
    }

    /// Returns true if the G in the slot has waited too long: it is ripe then.
    fn look(&self, now: u64, delay: u64) -> bool {
        let seq = self.seq.load(Ordering::Relaxed);
        if self.is_empty() {
            self.alarm.store(u64::MAX, Ordering::Relaxed);
            false
        } else if seq == self.alarm_seq.load(Ordering::Relaxed) {
            self.alarm.store(u64::MAX, Ordering::Relaxed);
            // Release: pairs with the Acquire in `is_ripe`.
            self.ripe.store(seq, Ordering::Release);
            true
        } else {
            self.alarm_seq.store(seq, Ordering::Relaxed);
            self.alarm.store(now + delay, Ordering::Relaxed);
            false
        }
    }

    /// Returns true if a wake-up was put off.
    #[cfg(loom)]
    pub(crate) fn is_deferred(&self) -> bool {
        self.deferred.load(Ordering::Relaxed)
    }

    /// Limits the wait for the slot's alarm to `at`, now that there is more than one P: the G in
    /// the slot waits for a thief. In an interrupt of the P's core.
    pub(crate) fn hasten(&self, at: u64) {
        let set = self.alarm.load(Ordering::Relaxed);
        if set != u64::MAX {
            self.alarm.store(set.min(at), Ordering::Relaxed);
        }
    }

    /// Puts a wake-up off until the alarm. By the holder.
    pub(crate) fn defer(&self) {
        self.deferred.store(true, Ordering::Relaxed);
    }

    /// Returns true if the alarm is off. After a push, the holder sets it then.
    #[inline(always)]
    pub(crate) fn alarm_is_off(&self) -> bool {
        self.alarm() == u64::MAX
    }

    /// Returns the due time of the alarm; `u64::MAX`: off.
    #[inline(always)]
    pub(crate) fn alarm(&self) -> u64 {
        self.alarm.load(Ordering::Relaxed)
    }

    /// Sets the alarm. By the holder.
    pub(crate) fn arm(&self, now: u64, delay: u64) {
        self.alarm_seq.store(self.seq.load(Ordering::Relaxed), Ordering::Relaxed);
        self.alarm.store(now + delay, Ordering::Relaxed);
    }

    /// Turns the alarm off.
    pub(crate) fn forget(&self) {
        self.alarm.store(u64::MAX, Ordering::Relaxed);
        self.deferred.store(false, Ordering::Relaxed);
    }
}

impl Held<'_> {
    /// Puts `g` into the slot. Returns the G that was there, for the ring.
    #[inline]
    pub(crate) fn put_slot(&self, g: GRef) -> Option<GRef> {
        let slot = &self.slot;
        slot.seq.store(slot.seq.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        // AcqRel: Release pairs with the Acquire in `steal`.
        let old = slot.next.swap(core::ptr::from_ref(g).cast_mut(), Ordering::AcqRel);
        // SAFETY: the slot holds `GRef`s only.
        unsafe { old.as_ref() }
    }

    /// Takes the G in the slot.
    #[inline(always)]
    pub(crate) fn take_slot(&self) -> Option<GRef> {
        if self.slot.is_empty() {
            return None;
        }
        // Acquire is enough: only this core puts G's in, thieves only empty it.
        let g = self.slot.next.swap(core::ptr::null_mut(), Ordering::Acquire);
        // SAFETY: the slot holds `GRef`s only.
        unsafe { g.as_ref() }
    }
}

/// Sets the slot's alarm: a G may wait there too long for a thief, or with one P, for the end of
/// the slice.
#[cold]
#[inline(never)]
pub(crate) fn arm_slot(m: &M, p: &Held<'_>, g: GRef) {
    if p.is_outside() {
        return m.hand_out();
    }
    let now = platform::now();
    p.saw(now);
    // No thief takes the G before the alarm has rung.
    g.time_ready(now);
    p.slot.arm(now, if m.sched.is_single() { m.sched.slice() } else { SLOT_DELAY });
    m.arm(p.next_alarm());
}
