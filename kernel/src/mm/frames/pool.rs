//! The pool of free frames: free runs, loose single frames, and the lock; `frames.rs` has the
//! rules.

use core::ops::{Deref, DerefMut};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU64, Ordering};

use trefoil_runs::{Ground, Runs, Word};

use super::{BATCH, FRAME};
use crate::arch::lock::{Guard, Lock};
use crate::arch::percpu;
use crate::mm::phys_to_virt;
use crate::mm::record;

/// Loose frames that join the free runs while the lock is held once.
const JOIN: usize = 32;

/// The share of memory that the heap leaves in the pool.
pub(super) const HEAP_LEAVES: u64 = 64;

/// Frames that packing leaves in the pool, for fault reserves.
const PACKING_LEAVES: u64 = 64;

/// Memory beyond this address is left alone: 1 TiB. The heap's arenas number their granules in 32
/// bits.
pub(super) const END: u64 = 1 << 40;

/// Rows for runs up to [`END`].
pub(super) const ROWS: usize = 26;

const _: () = assert!(END / FRAME <= 4 << ROWS);

/// The frames, as the [`Ground`] of [`Runs`].
pub(super) struct Frames {
    /// A bit for each frame. Read only where it was written before (INV-EDGE).
    pub(super) edges: *mut u64,
}

// SAFETY: the bits belong to the pool, and are reached under its lock only.
unsafe impl Send for Frames {}

impl Frames {
    #[inline(always)]
    fn word(&self, frame: u32, word: Word) -> *mut u32 {
        phys_to_virt(u64::from(frame) * FRAME).cast::<u32>().wrapping_add(word as usize)
    }

    #[inline(always)]
    fn edges(&self, frame: u32) -> (*mut u64, u64) {
        (self.edges.wrapping_add(frame as usize / 64), 1 << (frame % 64))
    }
}

impl Ground for Frames {
    #[inline(always)]
    fn load(&self, frame: u32, word: Word) -> u32 {
        // SAFETY: a free frame is the pool's, and the physical map covers it.
        unsafe { self.word(frame, word).read() }
    }

    #[inline(always)]
    fn store(&mut self, frame: u32, word: Word, value: u32) {
        // SAFETY: a free frame is the pool's, and the physical map covers it.
        unsafe { self.word(frame, word).write(value) }
    }

    #[inline(always)]
    fn is_edge(&self, frame: u32) -> bool {
        let (at, bit) = self.edges(frame);
        // SAFETY: `init` made room for a bit of each frame, and of one more.
        unsafe { at.read() & bit != 0 }
    }

    #[inline(always)]
    fn set_edge(&mut self, frame: u32, edge: bool) {
        let (at, bit) = self.edges(frame);
        // SAFETY: `init` made room for a bit of each frame, and of one more.
        unsafe { at.write(if edge { at.read() | bit } else { at.read() & !bit }) }
    }

    #[inline(always)]
    fn clear_edges(&mut self, first: u32, len: u32) {
        let (mut first, end) = (first, first + len);
        while first < end {
            let bits = (end - first).min(64 - first % 64);
            let mask = (u64::MAX >> (64 - bits)) << (first % 64);
            let (at, _) = self.edges(first);
            // SAFETY: `init` made room for a bit of each frame, and the mask ends within this word.
            unsafe { at.write(at.read() & !mask) };
            first += bits;
        }
    }
}

pub(super) struct Pool {
    pub(super) runs: Runs<Frames, ROWS>,
    /// Single frames that came back, linked through their first word; 0: none.
    loose: u64,
}

pub(super) static POOL: Lock<Pool> = Lock::new(Pool { runs: Runs::new(Frames { edges: null_mut() }), loose: 0 });

pub(super) static TOTAL: AtomicU64 = AtomicU64::new(0);

/// Frames in the pool, not counting the cores' caches. Written under the pool's lock.
pub(super) static POOLED: AtomicU64 = AtomicU64::new(0);

/// The pool, locked.
pub(super) struct Locked(Option<Guard<'static, Pool>>);

/// Locks the pool. A #PF handler may call this over code at depth 0 only; no other handler may.
pub(super) fn pool() -> Locked {
    percpu::preempt_off();
    // Relaxed, as below: only the #PF handler of this core reads the mark.
    record::current().in_pool.store(true, Ordering::Relaxed);
    Locked(Some(POOL.lock()))
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.0 = None;
        record::current().in_pool.store(false, Ordering::Relaxed);
        percpu::preempt_on();
    }
}

impl Deref for Locked {
    type Target = Pool;
    fn deref(&self) -> &Pool {
        self.0.as_ref().expect("the pool is locked until this is dropped")
    }
}

impl DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut Pool {
        self.0.as_mut().expect("the pool is locked until this is dropped")
    }
}

impl Pool {
    /// Takes free frames until `keep` returns false or `most` frames are taken. Returns false if no
    /// more frames are free.
    #[inline(always)]
    pub(super) fn take_while(&mut self, most: usize, mut keep: impl FnMut(u64) -> bool) -> bool {
        let (mut taken, mut full) = (0, false);
        while taken < most
            && !full
            && let Some(frame) = self.take_loose()
        {
            full = !keep(frame);
            if full {
                self.give(frame);
            } else {
                taken += 1;
            }
        }
        while taken < most && !full {
            let Some((first, len)) = self.runs.take_some((most - taken).min(BATCH) as u32) else { break };
            let kept = (first..first + len).position(|frame| !keep(u64::from(frame) * FRAME)).unwrap_or(len as usize);
            if kept < len as usize {
                self.runs.give(first + kept as u32, len - kept as u32);
                full = true;
            }
            taken += kept;
        }
        count(-(taken as i64));
        full || taken == most
    }

    #[inline(always)]
    fn take_loose(&mut self) -> Option<u64> {
        let frame = self.loose;
        (frame != 0).then(|| {
            // SAFETY: a loose frame belongs to the pool; its first word is the link that `give`
            // wrote.
            self.loose = unsafe { phys_to_virt(frame).cast::<u64>().read() };
            frame
        })
    }

    #[inline(always)]
    pub(super) fn give(&mut self, frame: u64) {
        // SAFETY: the frame is the pool's from here on, and the physical map covers it.
        unsafe { phys_to_virt(frame).cast::<u64>().write(self.loose) };
        self.loose = frame;
    }

    /// Turns some of the loose frames into free runs. Returns false if there are no loose frames.
    pub(super) fn join(&mut self) -> bool {
        let (mut first, mut end) = (0, 0);
        for _ in 0..JOIN {
            let Some(frame) = self.take_loose().map(number) else { break };
            // Neighbours in the list are often neighbours in memory.
            if frame == end {
                end += 1;
            } else if frame + 1 == first {
                first = frame;
            } else {
                if end > first {
                    self.runs.give(first, end - first);
                }
                (first, end) = (frame, frame + 1);
            }
        }
        if end > first {
            self.runs.give(first, end - first);
        }
        end > first
    }

    /// Returns true if the heap may have `frames` more frames.
    pub(super) fn has_room(&self, frames: u64) -> bool {
        let leave =
            if record::current().packs.get() { PACKING_LEAVES } else { TOTAL.load(Ordering::Relaxed) / HEAP_LEAVES };
        POOLED.load(Ordering::Relaxed) >= frames.saturating_add(leave)
    }
}

/// Adds `frames` to the count of pooled frames. Under the pool's lock.
#[inline(always)]
pub(super) fn count(frames: i64) {
    POOLED.store(POOLED.load(Ordering::Relaxed).wrapping_add_signed(frames), Ordering::Relaxed);
}

#[inline(always)]
pub(super) fn number(frame: u64) -> u32 {
    (frame / FRAME) as u32
}
