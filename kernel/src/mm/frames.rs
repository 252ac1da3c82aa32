//! Physical frames of 4 KiB, one by one or in runs.
//!
//! All free memory is one structure of free runs (crate `trefoil-runs`). The words of that
//! structure lie in the free frames themselves, reached by the physical map. The edge bits, one a
//! frame, lie in front of the first region that has room. Boot adds each region as one run and
//! clears nothing. Boot touches two frames of each region, for any size of memory; other frames are
//! touched on first use.
//!
// ANCHOR: ends
//! ```text
//!   a region   │ bits │ run of the heap │ free … … … … … … … … … … … │ frames of stacks, tables │
//!                       ───▶ runs from the front, a good fit         ◀─── single frames from the end
//!
//!   loose      single frames that came back; the next single frames are these
//!              no run is long enough? `JOIN` of them join the free runs, and again: alloc_run
//! ```
// ANCHOR_END: ends
//!
//! Runs and single frames come from both ends of the free memory. So long-lived allocations on one
//! side leave no holes in the other. A freed run joins its neighbours at once. A freed single frame
//! joins them only when a run is wanted. Most single frames go from stack to stack, and joining and
//! splitting each costs three times as much as a list. So memory that the heap has held is good for
//! stacks, and the other way round.
//!
//! The pool ranks its users when memory runs short, so that users that can free memory still get
//! frames:
//!
//! ```text
//!   free frames   0 ─────────── floor of packing ─────── floor of the heap ─── floor of new stacks ─── low ──────────▶
//!                 only stacks that           the heap grows for          the heap              new stacks     the scavenger
//!                 grow or are unpacked       what is being packed        grows                 have theirs    is pressed
//! ```
//!
//! A program that has filled the heap can still start goroutines. When most of memory is on the
//! heap (packed stacks and records aside), new stacks may go half-way below the heap's floor.
//!
//! Each core keeps up to `CACHE` frames of its own, used with preemption off. Frames move between
//! this cache and the common pool by `BATCH`, so 32 operations take the lock once.
//!
//! The #PF handler may take frames from the pool as well. Over code at depth 0 the handler uses the
//! pool and the cache like any other code. Over code at depth > 0 the handler calls `in_fault`.
//!
//! A core sets its `in_pool` mark before it asks for the lock, and clears the mark after it has
//! left the lock. So the handler knows whether its own core is in the pool, and waits for other
//! cores only. Other cores leave the lock after a few instructions: no code under the lock waits,
//! and the reserve of that core serves a fault under the lock.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use trefoil_runs::Ground;

use super::{heap, phys_to_virt, refusal, stack};
use crate::arch::phys::PAGE;
use crate::arch::{percpu, tlb};
use crate::mm::record;
use pool::{END, HEAP_LEAVES, POOL, POOLED, TOTAL, count, number, pool};

mod pool;

/// Bytes of a frame.
pub const FRAME: u64 = PAGE;

/// Frames that a core's cache holds at most.
const CACHE: usize = 64;
/// Frames that move between a cache and the pool at once.
pub(super) const BATCH: usize = 32;
/// Calls of `Pool::join` at most, for a caller that has preemption off.
const JOINS: usize = 2;
/// The share of memory that new stacks leave in the pool, on top of the heap's share; at least
/// [`STACKS_LEAVE_LEAST`] frames. Room for some growths of the heap.
const STACKS_LEAVE: u64 = 128;
const STACKS_LEAVE_LEAST: u64 = 256;
/// Memory is short when the pool has less than this share of memory…
const LOW_SHARE: u64 = 32;
/// … or fewer frames than this.
const LOW_LEAST: u64 = 1024;

/// Memory is short while the pool has fewer frames than this.
static LOW: AtomicU64 = AtomicU64::new(0);

/// One core's cache of free frames.
pub struct FrameCache {
    /// Written by this core alone; [`stats`] reads it from any.
    len: AtomicUsize,
    frames: UnsafeCell<[u64; CACHE]>,
}

impl FrameCache {
    /// Creates an empty cache.
    pub const fn new() -> Self {
        Self { len: AtomicUsize::new(0), frames: UnsafeCell::new([0; CACHE]) }
    }

    #[inline]
    fn pop(&self) -> Option<u64> {
        let len = self.len.load(Ordering::Relaxed).checked_sub(1)?;
        self.len.store(len, Ordering::Relaxed);
        // SAFETY: only this core touches the array, and its users run with preemption off (depth >
        // 0). The #PF handler uses the cache only over code at depth 0, so never inside such a use.
        Some(unsafe { (*self.frames.get())[len] })
    }

    #[inline]
    fn push(&self, frame: u64) {
        let len = self.len.load(Ordering::Relaxed);
        // SAFETY: only this core touches the array, with preemption off or in its #PF handler over
        // code at depth 0. `free` keeps `len` below CACHE.
        unsafe { (*self.frames.get())[len] = frame };
        self.len.store(len + 1, Ordering::Relaxed);
    }
}

impl Default for FrameCache {
    fn default() -> Self {
        Self::new()
    }
}

/// Presses the scavenger if memory is short. With preemption off.
#[inline(always)]
fn look_if_low() {
    if is_low() {
        stack::scavenge::press();
    }
}

/// Takes over the usable regions of the memory map.
pub(super) fn init(map: &[MemoryRegion]) {
    // Frame 0 stays out: 0 ends a list.
    let usable = || {
        let frames =
            |r: &MemoryRegion| (number(r.start.min(END).next_multiple_of(FRAME)).max(1), number(r.end.min(END)));
        map.iter().filter(|r| r.kind == MemoryRegionKind::Usable).map(frames).filter(|(first, end)| first < end)
    };
    let Some(end) = usable().map(|(_, end)| end).max() else { return };
    let bits = u64::from(end / 64 + 1) * size_of::<u64>() as u64;
    let frames = bits.div_ceil(FRAME) as u32;
    let Some((home, _)) = usable().find(|(first, end)| end - first > frames) else { return };
    let usable = || usable().map(|(first, end)| (if first == home { home + frames } else { first }, end));
    let mut pool = pool();
    let runs = &mut pool.runs;
    runs.ground().edges = phys_to_virt(u64::from(home) * FRAME).cast();
    // Frames beside a region are not free. If another region lies there, the loop below adds it.
    for (first, end) in usable() {
        runs.ground().set_edge(first - 1, false);
        runs.ground().set_edge(first, false);
        runs.ground().set_edge(end, false);
    }
    let mut total = 0;
    for (first, end) in usable() {
        runs.give(first, end - first);
        total += u64::from(end - first);
    }
    TOTAL.store(total, Ordering::Relaxed);
    LOW.store((total / LOW_SHARE).max(LOW_LEAST), Ordering::Relaxed);
    POOLED.store(total, Ordering::Relaxed);
}

/// Allocates a frame, not cleared. Returns `None` if memory is used up. A #PF handler may call this
/// over code at depth 0 only (`fill_reserve`); no other handler may.
pub fn alloc() -> Option<u64> {
    if refusal::denies_frame() {
        return None;
    }
    percpu::preempt_off();
    let cache = &record::current().frames;
    let mut frame = cache.pop();
    if frame.is_none() {
        let mut pool = pool();
        let mut taken = 0;
        pool.take_while(BATCH, |frame| {
            cache.push(frame);
            taken += 1;
            true
        });
        drop(pool);
        tlb::taken(taken);
        look_if_low();
        frame = cache.pop();
    }
    percpu::preempt_on();
    frame
}

/// Takes frames straight from the pool for as long as `keep` returns true. Returns false if memory
/// is used up. A #PF handler may call this over code at depth 0 only.
pub fn alloc_while(keep: impl FnMut(u64) -> bool) -> bool {
    percpu::preempt_off();
    let mut pool = pool();
    let full = pool.take_while(usize::MAX, keep);
    drop(pool);
    look_if_low();
    percpu::preempt_on();
    full
}

/// How often [`in_fault`] looks whether the lock is free. The lock's holder needs a few hundred
/// instructions. If the host has stopped that core, the next fault tries again.
const PATIENCE: usize = 10_000;

/// Takes frames as [`alloc_while`] does, in the #PF handler, over code at any depth. Returns false
/// as well if this core is using the pool itself, or if another core does not leave the lock.
#[cold]
pub(super) fn in_fault(keep: impl FnMut(u64) -> bool) -> bool {
    let mine = record::current().in_pool.load(Ordering::Relaxed);
    let mut pool = None;
    for _ in 0..if mine { 0 } else { PATIENCE } {
        pool = POOL.try_lock();
        if pool.is_some() {
            break;
        }
        core::hint::spin_loop();
    }
    pool.is_some_and(|mut pool| pool.take_while(usize::MAX, keep))
}

/// Allocates a run of `frames` frames for the heap, whose first address is a multiple of `align`
/// frames. Returns `None` if no free run is so long, or if the rest is reserved for other users.
///
/// Calls `taken` before preemption is on again: a G that dies has counted the run, or has none.
pub(super) fn alloc_run(frames: u64, align: u64, taken: impl Fn()) -> Option<u64> {
    let (len, align) = (u32::try_from(frames).ok()?, u32::try_from(align).ok()?);
    let mut joins = if percpu::depth() == 0 { usize::MAX } else { JOINS };
    loop {
        percpu::preempt_off();
        let mut pool = pool();
        let first = if pool.has_room(frames) { pool.runs.take(len, align) } else { None };
        let again = first.is_none() && joins > 0 && pool.has_room(frames) && pool.join();
        if first.is_some() {
            count(-(frames as i64));
            taken();
        }
        drop(pool);
        tlb::taken_by_heap(if first.is_some() { frames } else { 0 });
        look_if_low();
        percpu::preempt_on();
        if !again {
            return first.map(|first| u64::from(first) * FRAME);
        }
        joins -= 1;
    }
}

/// Makes a run longer by `more` frames, in place. Returns false if the frames behind the run are in
/// use, or reserved for other users. Calls `taken` as [`alloc_run`] does.
///
/// # Safety
/// 1. `frame` is the first of `frames` frames that [`alloc_run`] or this function gave.
pub(super) unsafe fn grow_run(frame: u64, frames: u64, more: u64, taken: impl FnOnce()) -> bool {
    percpu::preempt_off();
    let mut pool = pool();
    let grown = pool.has_room(more) && pool.runs.grow(number(frame), frames as u32, more as u32);
    if grown {
        count(-(more as i64));
        taken();
    }
    drop(pool);
    tlb::taken_by_heap(if grown { more } else { 0 });
    look_if_low();
    percpu::preempt_on();
    grown
}

/// Takes the end of a run back: `keep` frames stay, or none. Calls `given` before preemption is on
/// again.
///
/// # Safety
/// 1. As [`grow_run`].
/// 2. Nothing uses the end any more.
pub(super) unsafe fn shrink_run(frame: u64, frames: u64, keep: u64, given: impl FnOnce()) {
    let mut pool = pool();
    if keep == 0 {
        pool.runs.give(number(frame), frames as u32);
    } else {
        pool.runs.shrink(number(frame), frames as u32, keep as u32);
    }
    count((frames - keep) as i64);
    given();
}

/// Guesses, without the lock, whether the pool has `frames` frames for the heap.
pub(super) fn heap_may_have(frames: u64) -> bool {
    frames <= POOLED.load(Ordering::Relaxed)
}

/// Takes up to [`BATCH`] frames for the heap, which wants `wanted` in all. Returns how many frames
/// were taken; 0 if the heap may not have `wanted` frames.
pub(super) fn alloc_some(wanted: u64, mut keep: impl FnMut(u64)) -> u64 {
    percpu::preempt_off();
    let mut taken = 0;
    let mut pool = pool();
    if pool.has_room(wanted) {
        pool.take_while((BATCH as u64).min(wanted) as usize, |frame| {
            keep(frame);
            taken += 1;
            true
        });
    }
    drop(pool);
    tlb::taken_by_heap(taken);
    percpu::preempt_on();
    taken
}

/// Gives a frame back.
///
/// # Safety
/// 1. `frame` came from [`alloc`], and no page table maps the frame and no code uses it any more.
pub unsafe fn free(frame: u64) {
    percpu::preempt_off();
    let cache = &record::current().frames;
    if cache.len.load(Ordering::Relaxed) == CACHE {
        let mut pool = pool();
        for _ in 0..BATCH {
            if let Some(frame) = cache.pop() {
                pool.give(frame);
            }
        }
        count(BATCH as i64);
    }
    cache.push(frame);
    percpu::preempt_on();
}

fn cached_at_most() -> u64 {
    (CACHE * percpu::all().count()) as u64
}

/// Returns true if a new stack must not have a frame: the rest is for live stacks, and for the heap
/// that packs them.
#[inline(always)]
pub fn is_scarce() -> bool {
    is_low() && is_below_stacks()
}

#[cold]
#[optimize(size)]
fn is_below_stacks() -> bool {
    let total = TOTAL.load(Ordering::Relaxed);
    let leave = if heap::mapped().saturating_sub(stack::stats().packed_bytes) > total / 2 * FRAME {
        total / HEAP_LEAVES / 2
    } else {
        // The fault reserves may fill up from the rest, even when other users need frames.
        let reserves = (stack::RESERVE * percpu::all().count()) as u64;
        total / HEAP_LEAVES + (total / STACKS_LEAVE).max(STACKS_LEAVE_LEAST) + reserves
    };
    stats().free < cached_at_most() + leave
}

/// Returns true if memory is short.
#[inline(always)]
pub fn is_low() -> bool {
    POOLED.load(Ordering::Relaxed) < LOW.load(Ordering::Relaxed)
}

/// Returns true if the pool is empty.
pub fn is_used_up() -> bool {
    POOLED.load(Ordering::Relaxed) == 0
}

/// Counts of all frames and of free frames (a snapshot, without a lock).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameStats {
    /// All usable frames.
    pub total: u64,
    /// Free frames.
    pub free: u64,
}

/// Counts frames. Exact when the other cores are quiet.
pub fn stats() -> FrameStats {
    let cached: u64 = record::all().map(|core| core.frames.len.load(Ordering::Relaxed) as u64).sum();
    FrameStats { total: TOTAL.load(Ordering::Relaxed), free: POOLED.load(Ordering::Relaxed) + cached }
}

/// Runs `f` with the pool's lock held: for tests of the report path.
#[doc(hidden)]
pub fn with_locked<R>(f: impl FnOnce() -> R) -> R {
    let _pool = pool();
    f()
}
