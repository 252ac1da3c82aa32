//! Epochs: how long a page that was taken away may still be in use.
//!
//! A page of a parked G's stack is taken away by changing its page-table entry. Other cores may go
//! on using the old entry from their TLB, or hold a pointer into a page table that is about to be
//! freed. No core is interrupted for that. The page *waits* until every M has passed a point at
//! which it holds nothing and has flushed its TLB:
//!
// ANCHOR: epoch
//! ```text
//!      reclaimer                                M 1 (busy)            M 2 (resting)        M 3 (rises)
//!      entry → limbo                            uses old entry        seen = RESTING       seen = 0 (nothing passed)
//!      fence; now = 7 (was 6)                                                              fence
//!      over when all seen ≥ 7                   g0: now ≠ seen                             flush if now has changed
//!                                               flush, seen = 7                            seen = now
//!      all passed: entry → empty, frame free
//! ```
// ANCHOR_END: epoch
//!
//! **The hard race** is an M that rises while the reclaimer looks at it. The reclaimer changes the
//! entry, fences, reads `seen`; the M writes `seen`, fences, flushes. If the reclaimer still reads
//! RESTING, its change came before the M's flush, so the M can't have kept the old entry. If the
//! reclaimer reads anything else, it waits for the M.
//!
//! A resting M touches no window and holds no walk, so it counts as passed for as long as it likes.
//! So an idle machine ends its epochs at once. A laggard (a G that never comes to a scheduling
//! point) gets an interrupt whose handler passes for it. If the interrupted code has preemption
//! off, it may be in the middle of a walk: then its next scheduling point passes.
//!
//! Rejected: an interrupt to every core for every page. The cost of such shootdowns is the reason
//! for which few kernels shrink stacks. Rejected: a counter of passes a core and a snapshot of all
//! of them for each page (64 words a page).

use crate::machine::MAX;
use crate::machine::sync::{AtomicU64, Ordering, fence};

/// The most M's; few enough under loom that a look at all of them can be explored.
const MS: usize = if cfg!(loom) { 3 } else { MAX };

/// The M rests: it uses no page.
const RESTING: u64 = u64::MAX;
/// The M is on its way up: it has passed no epoch.
const RISING: u64 = 0;

/// The epoch, and the progress of each M.
#[derive(Debug)]
pub struct Epochs {
    now: AtomicU64,
    seen: [AtomicU64; MS],
}

impl Epochs {
    crate::const_unless_loom! {
        /// Begins the first epoch; every M rests.
        pub fn new() -> Self {
            #[cfg(not(loom))]
            return Self { now: AtomicU64::new(1), seen: [const { AtomicU64::new(RESTING) }; MS] };
            #[cfg(loom)]
            return Self { now: AtomicU64::new(1), seen: core::array::from_fn(|_| AtomicU64::new(RESTING)) };
        }
    }

    /// Returns true if M `m` has something to pass. One load and a compare where nothing is being
    /// taken away.
    #[inline(always)]
    pub fn is_behind(&self, m: usize) -> bool {
        self.now.load(Ordering::Relaxed) != self.seen[m].load(Ordering::Relaxed)
    }

    /// Passes the epoch for M `m`, which holds nothing. `flush` makes it forget every entry. From
    /// then on M `m` does not keep pages that were taken away before from being reused. On that M,
    /// with preemption off.
    #[inline]
    pub fn pass(&self, m: usize, flush: impl FnOnce()) {
        // Acquire: pairs with the Release in `begin`: the flush comes after the entries of that
        // epoch were changed.
        let now = self.now.load(Ordering::Acquire);
        flush();
        // Release: pairs with the Acquire in `is_over`: this M's use of the old entries is over.
        self.seen[m].store(now, Ordering::Release);
    }

    /// Begins a rest of M `m`, which touches nothing until it rises. Returns the argument for
    /// [`rise`](Self::rise).
    #[inline]
    pub fn rest(&self, m: usize) -> u64 {
        // Release: as in `pass`.
        self.seen[m].swap(RESTING, Ordering::Release)
    }

    /// Ends a rest of M `m` that began with `flushed`. If no epoch has begun since, the M has
    /// nothing to forget.
    #[inline]
    pub fn rise(&self, m: usize, flushed: u64, flush: impl FnOnce()) {
        self.seen[m].store(RISING, Ordering::Relaxed);
        // SeqCst: the hard race of the module's header; pairs with the fence in `begin`.
        fence(Ordering::SeqCst);
        // Acquire: as in `pass`.
        let now = self.now.load(Ordering::Acquire);
        if now != flushed {
            flush();
        }
        self.seen[m].store(now, Ordering::Release);
    }

    /// Begins an epoch. All that was taken away before this call may be reused once
    /// [`is_over`](Self::is_over) says so for the returned epoch.
    #[must_use]
    pub fn begin(&self) -> u64 {
        // AcqRel: Release pairs with the Acquire in `pass`.
        let epoch = self.now.fetch_add(1, Ordering::AcqRel) + 1;
        // SeqCst: between the changed entries and the looks at `seen`; pairs with the fence in
        // `rise`.
        fence(Ordering::SeqCst);
        epoch
    }

    /// Returns true if every M has passed `epoch`.
    pub fn is_over(&self, epoch: u64) -> bool {
        self.laggards(epoch).next().is_none()
    }

    /// Yields the M's that have not passed `epoch` yet.
    pub fn laggards(&self, epoch: u64) -> impl Iterator<Item = usize> {
        // Acquire: pairs with the Release in `pass` and `rest`.
        self.seen.iter().enumerate().filter(move |(_, seen)| seen.load(Ordering::Acquire) < epoch).map(|(m, _)| m)
    }
}

impl Default for Epochs {
    fn default() -> Self {
        Self::new()
    }
}
