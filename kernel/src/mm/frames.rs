//! Physical frames of 4 KiB.
//!
//! Free memory is two things: what was never used (a cursor that walks through the memory map's regions) and what came back
//! (a list through the frames themselves, reached by the physical map). So nothing is built or cleared at boot, whatever the
//! size of memory, and a frame is first touched when somebody wants it.
//!
//! What runs short is given out by rank, so that those who could free memory still get theirs:
//!
//! ```text
//!   free frames   0 ─────────── floor of packing ─────── floor of the heap ─── floor of new stacks ─── low ──────────▶
//!                 only stacks that           the heap grows for          the heap              new stacks     the scavenger
//!                 grow or are unpacked       what is being packed        grows                 have theirs    is pressed
//!
//! A program that has filled the heap can still start goroutines: when most of memory is on the heap (packed stacks and records aside), new stacks may go
//! half-way below the heap's floor.
//! ```
//!
//! Each core keeps up to [`CACHE`] frames of its own, used with preemption off; they move from and to the common pool by
//! [`BATCH`], so the lock is met once in 32 operations.

use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicU64, Ordering};

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};

use super::lock::Lock;
use super::phys_to_virt;
use super::{heap, inject, window};
use crate::arch::{percpu, tlb};

/// Bytes of a frame.
pub const FRAME: u64 = 4096;

/// Frames that a core keeps at most.
const CACHE: usize = 64;
/// How many move at once.
const BATCH: usize = 32;
/// The heap leaves this share of memory, and what may sit in the cores' caches, where nobody else can reach it.
const HEAP_LEAVES: u64 = 64;
/// New stacks leave that and this share more, and at least so many frames: some growths of the heap.
const STACKS_LEAVE: u64 = 128;
const STACKS_LEAVE_LEAST: u64 = 256;
/// Memory is short when less than this share of it is in the pool…
const LOW_SHARE: u64 = 32;
/// … or fewer frames than this.
const LOW_LEAST: u64 = 1024;
/// Regions of usable memory; what boot leaves fits.
const REGIONS: usize = 64;

struct Pool {
    /// Usable regions; the first that is not empty is being used up.
    regions: [(u64, u64); REGIONS],
    /// How many there are, and which one the cursor is in.
    count: usize,
    at: usize,
    /// Frames that came back, linked through their first word; 0: none.
    returned: u64,
}

static POOL: Lock<Pool> = Lock::new(Pool { regions: [(0, 0); REGIONS], count: 0, at: 0, returned: 0 });
static TOTAL: AtomicU64 = AtomicU64::new(0);
/// Fewer frames than this in the pool: memory is short.
static LOW: AtomicU64 = AtomicU64::new(0);
/// Frames in the pool, not counting the cores' caches.
static POOLED: AtomicU64 = AtomicU64::new(0);

/// A core's own frames.
pub struct FrameCache {
    len: Cell<usize>,
    frames: UnsafeCell<[u64; CACHE]>,
}

impl FrameCache {
    /// None.
    pub const fn new() -> Self {
        Self { len: Cell::new(0), frames: UnsafeCell::new([0; CACHE]) }
    }

    #[inline]
    fn pop(&self) -> Option<u64> {
        let len = self.len.get().checked_sub(1)?;
        self.len.set(len);
        // SAFETY: this core only, with preemption off, and no handler uses the cache: nobody else touches the array.
        Some(unsafe { (*self.frames.get())[len] })
    }

    #[inline]
    fn push(&self, frame: u64) {
        let len = self.len.get();
        // SAFETY: as in `pop`; `free` keeps `len` below CACHE.
        unsafe { (*self.frames.get())[len] = frame };
        self.len.set(len + 1);
    }
}

impl Default for FrameCache {
    fn default() -> Self {
        Self::new()
    }
}

impl Pool {
    fn take(&mut self) -> Option<u64> {
        if self.returned != 0 {
            let frame = self.returned;
            // SAFETY: a returned frame belongs to the pool; its first word is the link that `give` wrote.
            self.returned = unsafe { phys_to_virt(frame).cast::<u64>().read() };
            return Some(frame);
        }
        while self.at < self.count {
            let (next, end) = &mut self.regions[self.at];
            if *next < *end {
                *next += FRAME;
                return Some(*next - FRAME);
            }
            self.at += 1;
        }
        None
    }

    fn give(&mut self, frame: u64) {
        // SAFETY: the frame is the pool's from here on, and the physical map covers it.
        unsafe { phys_to_virt(frame).cast::<u64>().write(self.returned) };
        self.returned = frame;
    }
}

/// Takes over the usable regions of the memory map.
pub(super) fn init(map: &[MemoryRegion]) {
    let mut pool = POOL.lock();
    let mut total = 0;
    for region in map.iter().filter(|r| r.kind == MemoryRegionKind::Usable) {
        // Frame 0 stays out: 0 ends the list.
        let (start, end) = (region.start.next_multiple_of(FRAME).max(FRAME), region.end & !(FRAME - 1));
        if start < end && pool.count < REGIONS {
            let at = pool.count;
            pool.regions[at] = (start, end);
            pool.count += 1;
            total += (end - start) / FRAME;
        }
    }
    TOTAL.store(total, Ordering::Relaxed);
    LOW.store((total / LOW_SHARE).max(LOW_LEAST), Ordering::Relaxed);
    POOLED.store(total, Ordering::Relaxed);
}

/// A frame, not cleared. None: memory is used up. Not in a handler.
pub fn alloc() -> Option<u64> {
    if inject::denies_frame() {
        return None;
    }
    percpu::preempt_off();
    let cache = &percpu::current().frames;
    let mut frame = cache.pop();
    if frame.is_none() {
        let mut pool = POOL.lock();
        let mut taken = 0;
        while taken < BATCH {
            let Some(frame) = pool.take() else { break };
            cache.push(frame);
            taken += 1;
        }
        POOLED.fetch_sub(taken as u64, Ordering::Relaxed);
        drop(pool);
        tlb::taken(taken as u64);
        if is_low() {
            super::window::scavenge::press();
        }
        frame = cache.pop();
    }
    percpu::preempt_on();
    frame
}

/// Frames straight from the pool, for as long as `keep` takes them; false: memory is used up. Not in a handler over code that has preemption off.
pub fn alloc_while(mut keep: impl FnMut(u64) -> bool) -> bool {
    percpu::preempt_off();
    let mut pool = POOL.lock();
    let mut taken = 0;
    let full = loop {
        let Some(frame) = pool.take() else { break false };
        if !keep(frame) {
            pool.give(frame);
            break true;
        }
        taken += 1;
    };
    POOLED.fetch_sub(taken, Ordering::Relaxed);
    drop(pool);
    if is_low() {
        super::window::scavenge::press();
    }
    percpu::preempt_on();
    full
}

/// Gives a frame back.
///
/// # Safety
/// 1. It came from [`alloc`], and nothing maps or uses it any more.
pub unsafe fn free(frame: u64) {
    percpu::preempt_off();
    let cache = &percpu::current().frames;
    if cache.len.get() == CACHE {
        let mut pool = POOL.lock();
        for _ in 0..BATCH {
            if let Some(frame) = cache.pop() {
                pool.give(frame);
            }
        }
        POOLED.fetch_add(BATCH as u64, Ordering::Relaxed);
    }
    cache.push(frame);
    percpu::preempt_on();
}

/// Fewer free frames than this, and the heap does not grow. With preemption off.
pub fn heap_floor() -> u64 {
    // Whoever packs gives back more than it takes.
    let leaves = if percpu::current().packs.get() { 0 } else { TOTAL.load(Ordering::Relaxed) / HEAP_LEAVES };
    leaves + cached_at_most()
}

fn cached_at_most() -> u64 {
    (CACHE * percpu::all().count()) as u64
}

/// Whether a new stack must not have a frame: what is left is for those that live, and for the heap that packs them.
#[inline(always)]
pub fn is_scarce() -> bool {
    is_low() && is_below_stacks()
}

#[cold]
fn is_below_stacks() -> bool {
    let total = TOTAL.load(Ordering::Relaxed);
    let leave = if heap::mapped().saturating_sub(window::stats().packed_bytes) > total / 2 * FRAME {
        total / HEAP_LEAVES / 2
    } else {
        // The fault reserves may fill up from what is left, whoever else needs it.
        let reserves = (window::RESERVE * percpu::all().count()) as u64;
        total / HEAP_LEAVES + (total / STACKS_LEAVE).max(STACKS_LEAVE_LEAST) + reserves
    };
    stats().free < cached_at_most() + leave
}

/// Whether memory is short.
#[inline(always)]
pub fn is_low() -> bool {
    POOLED.load(Ordering::Relaxed) < LOW.load(Ordering::Relaxed)
}

/// Whether the pool is empty.
pub fn is_used_up() -> bool {
    POOLED.load(Ordering::Relaxed) == 0
}

/// Frames there are, and how many are free (a snapshot, without a lock).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameStats {
    /// All usable frames.
    pub total: u64,
    /// Those that nobody uses.
    pub free: u64,
}

/// Counts frames. Exact when the other cores are quiet.
pub fn stats() -> FrameStats {
    let cached: u64 = percpu::all().map(|core| core.frames.len.get() as u64).sum();
    FrameStats { total: TOTAL.load(Ordering::Relaxed), free: POOLED.load(Ordering::Relaxed) + cached }
}

/// Runs `f` with the pool's lock held: for tests of the report path.
#[doc(hidden)]
pub fn with_locked<R>(f: impl FnOnce() -> R) -> R {
    let _pool = POOL.lock();
    f()
}
