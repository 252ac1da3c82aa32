//! The slice: how long a G may run while others wait.
//!
//! A G that runs while others wait has a slice; a G that runs alone is never interrupted.
//! **INV-SLICE**: while a G runs and the ring or the slot holds another, the slot's or the slice's
//! alarm is set. A submitter that queues there sets the alarm ([`Slice::alarm_is_off`]), on the
//! core that owns the one-shot. So there is no race with the handler that turns the alarm off when
//! no G waits. A G may also wait in the *global* queue when no M could be woken for it. In that
//! case the slice's alarm of some P whose G runs is set. The submitter may then be another core;
//! `Sched::nudge` has the handshake. So no thread has to look, as Go's sysmon does for slices.
//!
//! No clock is read when G's switch among themselves. After a G came from the ring, its start
//! is 0, "unknown". An alarm that finds 0 there takes the present as the start. So a G gets between
//! one slice and two. Where the clock has been read anyway (on g0, when a G goes to sleep), the
//! start is exact.
//!
//! **A chain.** A G in the slot inherits the slice of the G that readied it. So a pair that
//! readies each other could keep the ring waiting for ever. The fast path does not read the clock.
//! Instead every G from the ring resets the start to "unknown", and the 61st dispatch looks. An
//! unknown start becomes now. If a known start is older than a slice, the G in the slot goes to the
//! end of the ring (step 2). The ring's first G runs instead. The same happens when the slice's
//! alarm has found preemption off: a pair that readies each other is in the scheduler most of the
//! time.

use crate::core::m::M;
use crate::core::p::{Held, P};
use crate::machine::platform;
use crate::machine::sync::{AtomicU64, Ordering};

/// About the time from a slice's last interrupt to the next G: 1 µs.
const MAKING_WAY: u64 = 1_000;

/// The slice of the G that runs on a P. Written by the holder and by the handlers of its core.
#[derive(Debug)]
pub(crate) struct Slice {
    /// The due time of the alarm; `u64::MAX`: not set, since no G waits.
    alarm: AtomicU64,
    /// Start of the slice that the slot inherits; 0: not known yet.
    start: AtomicU64,
    /// The end of the slice of a G that has not made way yet; 0: there is none.
    overdue: AtomicU64,
}

impl Slice {
    pub(crate) fn new() -> Self {
        Self { alarm: AtomicU64::new(u64::MAX), start: AtomicU64::new(0), overdue: AtomicU64::new(0) }
    }

    /// Begins a slice whose start is not known.
    #[inline(always)]
    pub(crate) fn reset(&self) {
        self.begin(0);
    }

    /// Begins a slice at `now`.
    #[inline(always)]
    pub(crate) fn begin(&self, now: u64) {
        self.start.store(now, Ordering::Relaxed);
    }

    /// Returns true if the start is not known.
    pub(crate) fn is_unknown(&self) -> bool {
        self.start.load(Ordering::Relaxed) == 0
    }

    /// Returns the start. An unknown start becomes `now`.
    pub(crate) fn start_or_begin(&self, now: u64) -> u64 {
        match self.start.load(Ordering::Relaxed) {
            0 => {
                self.start.store(now, Ordering::Relaxed);
                now
            }
            start => start,
        }
    }

    /// Returns the due time of the alarm; `u64::MAX`: off.
    #[inline(always)]
    pub(crate) fn alarm(&self) -> u64 {
        self.alarm.load(Ordering::Relaxed)
    }

    /// Returns true if the alarm is off.
    #[inline(always)]
    pub(crate) fn alarm_is_off(&self) -> bool {
        self.alarm() == u64::MAX
    }

    /// Sets the alarm, unless it is set for an earlier time. On the P's core.
    pub(crate) fn arm(&self, at: u64) {
        self.alarm.store(self.alarm().min(at), Ordering::Relaxed);
    }

    /// Makes an alarm that is set due at `at` at the latest. In an interrupt of the P's core.
    pub(crate) fn hasten(&self, at: u64) {
        if !self.alarm_is_off() {
            self.arm(at);
        }
    }

    /// Turns the alarm off.
    pub(crate) fn forget(&self) {
        self.alarm.store(u64::MAX, Ordering::Relaxed);
    }

    /// Handles the alarm, in an interrupt of the P's core. Returns true if the running G has used
    /// up `limit` while others wait. Sets the alarm anew, or turns it off if nobody waits.
    pub(crate) fn over(&self, now: u64, waits: bool, limit: u64) -> bool {
        if self.alarm() > now {
            return false;
        }
        if !waits {
            self.forget();
            return false;
        }
        let end = self.start_or_begin(now).saturating_add(limit);
        // The next G's slice begins when that G runs: an alarm before its end would be needless.
        self.alarm.store(if end <= now { now + MAKING_WAY + limit } else { end }, Ordering::Relaxed);
        if end <= now && self.overdue.load(Ordering::Relaxed) == 0 {
            self.overdue.store(end, Ordering::Relaxed);
        }
        end <= now
    }

    /// Returns the end of the slice of a G that has now left the core, or leaves it in a moment, if
    /// it ran longer. By the holder.
    pub(crate) fn made_way(&self) -> Option<u64> {
        match self.overdue.swap(0, Ordering::Relaxed) {
            0 => None,
            end => Some(end),
        }
    }
}

/// Arms the slice alarm if others wait.
///
/// A chain of hand-overs through the slot passes by here every 61st time, and whenever this P has
/// something to attend to. Such a G continues its chain's slice. Every other source has already
/// reset the start, or has called [`goes_first`].
pub(crate) fn arm_if_others_wait(m: &M, p: &Held<'_>) {
    if !p.slice.alarm_is_off() {
        p.slice.start_or_begin(platform::now());
    } else if !p.queues_are_empty()
        || !m.sched.globq.is_empty()
        || !m.sched.inbox.is_empty()
        || !m.pinned_queue.is_empty()
    {
        // Pinned ones, too: a submitter of the second, while this M had no P, interrupted nobody.
        arm_slice(m, p);
    }
}

/// Sets the slice of a G that runs before the slot. With an empty slot, a new slice begins.
/// Otherwise the G has the rest of the chain's slice: G's that come again and again would renew it.
#[inline(always)]
pub(crate) fn goes_first(p: &Held<'_>) {
    if p.slot.is_empty() {
        p.slice.reset();
    }
}

/// Sets the slice's alarm: a G waits behind the one that runs.
#[cold]
#[inline(never)]
pub(crate) fn arm_slice(m: &M, p: &P) {
    if p.is_outside() {
        return m.hand_out();
    }
    let now = platform::now();
    p.saw(now);
    p.slice.arm(now + m.sched.slice());
    m.arm(p.next_alarm());
}
