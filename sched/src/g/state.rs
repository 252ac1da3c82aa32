//! The state word of a G. No other file writes it.
//!
// ANCHOR: states
//! ```text
//!           spawn             dispatch                    park
//!   Idle ───────────▶ Runnable ──────▶ Running ──────────────────────▶ Parking
//!    ▲                 ▲  ▲  ▲            │ │                            │   │ ready() before the registers
//!    │                 │  │  └── yield ───┘ │ exit                       │   │ were known to be saved
//!    │ recycle         │  │                 ▼                            │   ▼
//!    └───────────────── Dead                                             │  ParkingReady
//!                      │  └────────────── requeued by `after` ───────────┼───┘
//!                      ├───── ready() ─── Waiting ◀── finish_park ───────┘
//!                      │                   │ begin_scan
//!                      │                   ▼          finish_scan
//!                      │                  Scan ◀───────────────────▶ Cold ── ready() ──▶ Runnable
//!                      │ finish_scan       │ ready()   begin_scan
//!                      └────────────────── ScanReady
//! ```
// ANCHOR_END: states
//!
//! | state | who owns the stack | where the G stands |
//! |---|---|---|
//! | Idle | its free list | a P's list of free G's or the global one |
//! | Runnable | nobody runs on it | one run queue slot, or on its way into one |
//! | Running | its M | the `curg` of its M |
//! | Parking | its M until `after` has run | its object's waiter list, or about to be |
//! | ParkingReady | as Parking | claimed by its waker; `after` requeues it |
//! | Waiting | nobody runs on it | its object's waiter list |
//! | Cold | as Waiting | as Waiting; a scan has seen it there before |
//! | Scan | the scanning core: it may look, shrink and pack, not run | as Waiting |
//! | ScanReady | as Scan | claimed by its waker; the scanning core requeues it |
//! | Dead | its M until `after` has run | about to enter a list of free G's |
//!
//! **The hard race** is `ready` against a G that is still saving itself. The waker may hold the G
//! as soon as the object's lock is free, which is before `after` has written `Waiting`. The waker
//! must not enqueue the G then (two places at once). So the waker leaves a mark, and `finish_park`
//! sees the mark. Each side is one read-modify-write on this word, and the loser learns it from the
//! verdict.
//!
//! A **scan** of a parked G's stack meets `ready` in the same way. The waker never waits for the
//! scan: it leaves a mark, and the scan's end finds the mark. A G that has been scanned is Cold
//! instead of Waiting. So the next scan knows that the G has been parked ever since. A G that is
//! never scanned pays nothing.
//!
//! Rejected: spinning in `ready` until the G is Waiting. A waker in an interrupt would wait for the
//! code that it interrupted. Tokio and Go avoid it for the same reason.

use crate::machine::platform::{self, Fatal};
use crate::machine::sync::{AtomicU32, Ordering};

/// The states, as numbers in the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// On a free list.
    Idle = 0,
    /// In a run queue.
    Runnable = 1,
    /// On an M.
    Running = 2,
    /// Leaving its M to wait.
    Parking = 3,
    /// Leaving its M to wait, and already readied.
    ParkingReady = 4,
    /// Waiting for a `ready`.
    Waiting = 5,
    /// Ended; leaving its M for a free list.
    Dead = 6,
    /// Waiting since before the last scan.
    Cold = 7,
    /// Waiting, and its stack is being looked at.
    Scan = 8,
    /// As `Scan`, and already readied.
    ScanReady = 9,
}

impl State {
    /// Returns true if the G is parked and has not been readied: then its stack lies still.
    pub fn is_parked(self) -> bool {
        matches!(self, Self::Waiting | Self::Cold | Self::Scan)
    }

    fn from_word(word: u32) -> Self {
        match word & !TRACED {
            0 => Self::Idle,
            1 => Self::Runnable,
            2 => Self::Running,
            3 => Self::Parking,
            4 => Self::ParkingReady,
            5 => Self::Waiting,
            6 => Self::Dead,
            7 => Self::Cold,
            8 => Self::Scan,
            _ => Self::ScanReady,
        }
    }
}

/// In the word, beside Parking or Waiting: the G's park was recorded, and its waker is to record,
/// too. No compare-and-swap of the hot paths expects it, so they take their rare way.
const TRACED: u32 = 16;

/// The caller's next step after [`GState::finish_park`] or [`GState::finish_scan`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Finish {
    /// The G waits; its waker will enqueue it.
    Parked,
    /// A waker readied the G meanwhile: the caller enqueues it now.
    Requeue,
}

/// The caller's next step after [`GState::ready`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Ready {
    /// The caller owns the G now and enqueues it.
    Enqueue,
    /// The G is still leaving its M, or its stack is being looked at. The M that finishes that
    /// enqueues the G.
    Marked,
}

/// A G's state word.
#[derive(Debug)]
pub struct GState(AtomicU32);

impl GState {
    crate::const_unless_loom! {
        /// Makes the state of a G that has never run.
        pub fn new() -> Self {
            Self(AtomicU32::new(State::Idle as u32))
        }
    }

    /// Returns the state right now; only the owner can rely on it.
    pub fn get(&self) -> State {
        State::from_word(self.0.load(Ordering::Relaxed))
    }

    /// Takes a step that only the G's owner can take. No other code writes the word in `from`, so a
    /// store is enough. Relaxed: the queue that hands the G on carries the ordering. Debug builds
    /// check the table.
    #[inline(always)]
    fn owned_step(&self, from: State, to: State) {
        if cfg!(debug_assertions) {
            let was = self.0.swap(to as u32, Ordering::Relaxed);
            if was & !TRACED != from as u32 {
                broken(State::from_word(was), to);
            }
        } else {
            self.0.store(to as u32, Ordering::Relaxed);
        }
    }

    /// Goes from Idle to Runnable: a new life, about to be queued.
    #[inline(always)]
    pub fn spawn(&self) {
        self.owned_step(State::Idle, State::Runnable);
    }

    /// Goes from Runnable to Running: an M took the G from a queue.
    #[inline(always)]
    pub fn dispatch(&self) {
        self.owned_step(State::Runnable, State::Running);
    }

    /// Goes from Running to Runnable, in the `after` of a yield.
    #[inline(always)]
    pub fn requeue(&self) {
        self.owned_step(State::Running, State::Runnable);
    }

    /// Goes from Running to Parking: from here on `ready` is legal.
    #[inline(always)]
    pub fn begin_park(&self) {
        self.owned_step(State::Running, State::Parking);
    }

    /// Goes from Parking to Runnable: the reason to wait has gone before anyone saw the G.
    #[inline(always)]
    pub fn abandon_park(&self) {
        self.owned_step(State::Parking, State::Runnable);
    }

    /// Goes from Parking to Waiting, or from ParkingReady to Runnable; in `after`, with the
    /// registers saved.
    #[inline]
    pub fn finish_park(&self) -> Finish {
        // AcqRel: Release publishes the saved registers to the Acquire in `ready`. On failure
        // Acquire pairs with the Release of the mark, so the G that we requeue sees the waker's
        // writes.
        match self.0.compare_exchange(State::Parking as u32, State::Waiting as u32, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => Finish::Parked,
            Err(was) if cfg!(feature = "trace") && was & TRACED != 0 => self.finish_traced(),
            Err(_) => {
                self.owned_step(State::ParkingReady, State::Runnable);
                Finish::Requeue
            }
        }
    }

    #[cfg(feature = "trace")]
    /// Marks a G that is Parking: its park was recorded. Before any other core can see the G.
    pub(crate) fn trace_park(&self) {
        self.0.store(State::Parking as u32 | TRACED, Ordering::Relaxed);
    }

    /// Goes from Waiting to Runnable, for a G whose park was recorded. Returns false if it is in
    /// another state, or was not recorded.
    #[cfg(feature = "trace")]
    #[inline(always)]
    pub(crate) fn ready_traced(&self) -> bool {
        // AcqRel, Acquire: as in `ready_waiting`.
        let (from, to) = (State::Waiting as u32 | TRACED, State::Runnable as u32);
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Finishes the park of a G with that mark.
    #[cold]
    fn finish_traced(&self) -> Finish {
        let (from, to) = (State::Parking as u32 | TRACED, State::Waiting as u32 | TRACED);
        // AcqRel, Acquire: as in `finish_park`.
        match self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Finish::Parked,
            Err(_) => {
                self.owned_step(State::ParkingReady, State::Runnable);
                Finish::Requeue
            }
        }
    }

    /// Goes from Waiting or Cold to Runnable, from Parking to ParkingReady, from Scan to ScanReady.
    /// Exactly once a park.
    #[inline]
    pub fn ready(&self) -> Ready {
        self.ready_after(|| ())
    }

    /// Readies as `ready` does, and calls `note` before it marks the G: a G that is marked may run
    /// on at once. If the G waits when the mark is tried, the verdict after a note is to enqueue
    /// it.
    #[inline]
    pub(crate) fn ready_after(&self, note: impl FnOnce()) -> Ready {
        if self.ready_waiting() { Ready::Enqueue } else { self.ready_early(note) }
    }

    /// Takes the first step of [`ready`](Self::ready), which is mostly the only one. Returns false
    /// if `ready_early` has to do the rest.
    #[inline(always)]
    pub(crate) fn ready_waiting(&self) -> bool {
        // AcqRel, both: Acquire pairs with `finish_park` (saved registers), Release with its
        // failure path (our writes).
        self.0
            .compare_exchange(State::Waiting as u32, State::Runnable as u32, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Readies a G in any state but Waiting. Calls `note` as [`ready_after`](Self::ready_after)
    /// does.
    #[cold]
    pub(crate) fn ready_early(&self, note: impl FnOnce()) -> Ready {
        let mut note = Some(note);
        let mut was = self.0.load(Ordering::Relaxed);
        loop {
            let (to, verdict) = match State::from_word(was) {
                State::Parking => (State::ParkingReady, Ready::Marked),
                State::Scan => (State::ScanReady, Ready::Marked),
                State::Waiting | State::Cold => (State::Runnable, Ready::Enqueue),
                was => broken(was, State::Runnable),
            };
            if verdict == Ready::Marked
                && let Some(note) = note.take()
            {
                note();
            }
            // AcqRel: as in `ready`. There is only one `ready` a park: only `finish_park` or a scan
            // changes the word meanwhile.
            match self.0.compare_exchange(was, to as u32, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return verdict,
                Err(now) => was = now,
            }
        }
    }

    /// Goes from Waiting or Cold to Scan: the caller may look at the stack until
    /// [`finish_scan`](Self::finish_scan). Returns `Some(true)` if the G was Cold, and `None` if it
    /// does not wait.
    pub fn begin_scan(&self) -> Option<bool> {
        let was = self.0.load(Ordering::Relaxed);
        let cold = match State::from_word(was) {
            State::Waiting => false,
            State::Cold => true,
            _ => return None,
        };
        // Acquire: pairs with the Release in `finish_park`: the saved registers and the stack's
        // contents are seen.
        self.0.compare_exchange(was, State::Scan as u32, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(cold)
    }

    /// Goes from Scan to Cold, or from ScanReady to Runnable.
    pub fn finish_scan(&self) -> Finish {
        // AcqRel: Release hands the stack back to the waker of the G. On failure Acquire pairs with
        // the Release of the mark.
        match self.0.compare_exchange(State::Scan as u32, State::Cold as u32, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Finish::Parked,
            Err(_) => {
                self.owned_step(State::ScanReady, State::Runnable);
                Finish::Requeue
            }
        }
    }

    /// Goes from Running to Dead: the G's last switch is next.
    #[inline(always)]
    pub fn die(&self) {
        self.owned_step(State::Running, State::Dead);
    }

    /// Goes from Dead to Idle: onto a free list, in `after`.
    #[inline(always)]
    pub fn recycle(&self) {
        self.owned_step(State::Dead, State::Idle);
    }
}

impl Default for GState {
    fn default() -> Self {
        Self::new()
    }
}

/// Ends the machine after a transition outside the table. The scheduler itself is wrong, and going
/// on would lose or double a G.
#[cold]
#[inline(never)]
fn broken(was: State, to: State) -> ! {
    let _ = (was, to);
    platform::fatal(Fatal::Broken(match (was, to) {
        (State::Running, State::Runnable) => "G state: ready() on a running G",
        (State::Runnable, State::Runnable) => "G state: ready() on a runnable G (readied twice?)",
        (State::ParkingReady, State::Runnable) => "G state: ready() twice while parking",
        (State::ScanReady, State::Runnable) => "G state: ready() twice while its stack is looked at",
        (State::Idle | State::Dead, State::Runnable) => "G state: ready() on a G that has ended",
        _ => "G state: a transition outside the table",
    }))
}
