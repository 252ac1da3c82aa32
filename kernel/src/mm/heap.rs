//! The heap: per-core size-class magazines over slabs, over whole pages. Each block finds its way
//! back to its slab.
//!
//! ```text
//!   alloc(≤ 2048)   this core's magazine ──empty──▶ the class's slabs ──none──▶ a slab of a chunk ─┐  slab.rs
//!   free            this core's magazine ──full───▶ each block to its own slab ──all home──▶ chunk ┤  chunks.rs
//!                                                                                                  │
//!   a larger block that would waste more than an eighth of its pages ───▶ granules of an arena ────┤  arena.rs
//!   any other                                                                                      ├▶ pages.rs
//!                                                  a run of frames, by the physical map ◀──────────┤  frames.rs
//!                                   none so long: frames mapped side by side, bounded pieces ◀─────┘  scattered.rs
//! ```
//!
//! A magazine is a list through free blocks. Only its core touches it, with preemption off: spawn
//! and channels meet neither a lock nor a search. A magazine may hold blocks of any slab: a block
//! freed on another core goes into that core's magazine, and home from there.
//!
//! **Trips.** Between the magazines and the slabs blocks move many at a time, under the class's
//! lock. Cores that build and drop trees would meet at that lock all the time. So trips are few,
//! and hold the lock for a short time:
//!
//! * A magazine keeps 64 blocks at first (16 of the larger ones). Each trip doubles that, up to 16
//!   KiB or 512 blocks. A trip moves half of what the magazine keeps.
//! * A slab's whole list leaves as it stands, if it is long enough and the magazine has room for
//!   it.
//! * On the way home, the blocks are sorted into runs of neighbours before the lock is taken. Under
//!   it, a run moves as one piece (`slab.rs`).
//! * [`HeapStats::trips`] counts the trips. A million blocks of trees take 4,400 trips, and would
//!   take 51,000 with 64 blocks kept.
//!
//! **Back.** When memory is short, a magazine that has grown gives its blocks back, and begins
//! small again ([`trim`]). The core that needs memory empties its own magazines, and those of the
//! cores at rest. A core that goes to rest opens its magazines to others, and takes them back when
//! it rises. A busy core keeps its blocks: 0.5 MiB at most, if it has used all sizes.
//!
//! Granules and frames are free runs (crate `trefoil-runs`). So a block above 2 KiB comes and goes
//! in constant time, for any number of holes. No lock is held while a page is mapped. Most large
//! blocks map no page, since they are runs of frames. So frames that the heap frees are at once
//! free for stacks.
//!
//! * **INV-LIVE**: blocks that are out of their slabs are handed out or in a magazine. Both ends
//!   are counted where blocks move anyway. So the heap knows the bytes in use to the byte, and a
//!   small allocation counts nothing for that ([`stats`]).
//! * Used up: an allocation returns null only after two attempts to get memory back. First the
//!   magazines of this core and of the cores at rest send their blocks home. Then, if the caller is
//!   a goroutine that may wait so long, the parked stacks give back the pages that they don't need.
//!   `handle_alloc_error` then panics in the goroutine that asked (`panic.rs`). While that
//!   goroutine unwinds, small blocks come from a reserve.
//! * The heap leaves frames for others (`frames.rs`). A heap that took the last frame would take
//!   the stack from the goroutine that must unwind because the heap is used up. A request that
//!   would go below that floor maps nothing at all.
//! * The heap never clears memory ahead of use: `alloc_zeroed` clears where its caller runs, with
//!   preemption on. `realloc` of a large block extends it if the memory behind it is free; else
//!   `realloc` copies the same way.
//!
//! **The hard race** is between two cores that find a class empty: each brings a slab, one more
//! than needed. The class's lock is not held for that, since the locks of the chunks and the frames
//! come with it. The extra slab goes back when its blocks are home.
//!
//! Rejected: a counter of live bytes on each core, which costs an instruction with a memory operand
//! on each alloc and free; two lengths tell the same. Also rejected: a depot of full magazines a
//! class. Its blocks belong to no slab, so no slab ever goes back, and a tree of 2 MiB passes the
//! depot by.
//!
//! Rejected, for large blocks: a region of addresses that is mapped as it grows. Each page that
//! goes back takes a page-table entry and a flush, and mapping 600 MiB takes 15 million
//! instructions. Also rejected: `linked_list_allocator` there, which searches all holes, 1.5 ms a
//! free at 20,000. (Boot has no use for it either: frames and runs are there first.) `rlsf`,
//! `talc`, `buddy_system_allocator`: see `trefoil-runs`.
//!
//! Handlers never allocate.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;
use core::sync::atomic::Ordering;

use super::refusal;
use super::stack::scavenge;
use crate::arch::percpu;
use crate::mm::record;

mod arena;
mod chunks;
mod large;
mod magazine;
mod pages;
mod scattered;
mod sizes;
mod slab;

use large::{alloc_large, free_large, resize_large};
pub use magazine::Magazines;
use magazine::{Magazine, first_keep, sum};
use sizes::{SIZES, class};
use slab::{Class, Gone};

static CLASSES: [Class; SIZES.len()] = [const { Class::new() }; SIZES.len()];

pub(super) fn init() {
    chunks::init();
}

struct KernelHeap;

#[global_allocator]
static HEAP: KernelHeap = KernelHeap;

// SAFETY: blocks come from slabs, arenas or pages, each to one owner at a time; sizes and alignment
// as `class` says.
unsafe impl GlobalAlloc for KernelHeap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if refusal::denies_block() {
            return null_mut();
        }
        debug_assert!(!percpu::in_handler(), "a handler allocates");
        let Some(class) = class(layout) else {
            return alloc_large(layout);
        };
        percpu::preempt_off();
        match record::current().magazines.all[class].pop() {
            Some(block) => {
                percpu::preempt_on();
                block
            }
            None => alloc_cold(class),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        debug_assert!(!percpu::in_handler(), "a handler frees");
        let Some(class) = class(layout) else {
            // SAFETY: 1. the caller's: it came from `alloc` with this layout.
            unsafe { free_large(block, layout) };
            return;
        };
        percpu::preempt_off();
        let magazine = &record::current().magazines.all[class];
        // SAFETY: 1. the caller's: the block is free from here on, and `class` is where it came
        // from.
        unsafe { magazine.push(block) };
        if magazine.len() > magazine.keep.get() {
            spill(magazine, class);
        }
        percpu::preempt_on();
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's: the size, rounded up to the alignment, is at most `isize::MAX`.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let stays = match (class(layout), class(new)) {
            (Some(class), Some(new)) => class == new,
            // SAFETY: 1. the caller's: the block came from `alloc` with `layout`, and is used as a
            // block of `new` from here on, if it stays.
            (None, None) => unsafe { resize_large(block, layout, new) },
            _ => false,
        };
        if stays {
            return block;
        }
        // SAFETY: the caller's: `new` has a size, and the block came from `alloc` with `layout`.
        unsafe {
            let to = self.alloc(new);
            if !to.is_null() {
                to.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            to
        }
    }
}

/// Copies `len` bytes of a block that may be free by now, and its page gone. For the #PF handler.
///
/// # Safety
/// 1. `from` is, or was, a block of `len` bytes, and `to` has room for them.
#[inline(always)]
pub(super) unsafe fn read(from: *const u8, to: *mut u8, len: usize) {
    if (from as u64) < scattered::BASE {
        // SAFETY: 1. the physical map covers it, for any owner of the frame.
        unsafe { to.copy_from_nonoverlapping(from, len) }
    } else {
        // SAFETY: 1. the caller's: `from` is, or was, a block of `len` bytes, and `to` has room for
        // them.
        unsafe { scattered::read(from, to, len) }
    }
}

/// Allocates a block of a class whose magazine is empty. With preemption off, one level deeper than
/// in the caller.
#[cold]
#[inline(never)]
fn alloc_cold(class: usize) -> *mut u8 {
    let mut block = refill(&record::current().magazines.all[class], class);
    percpu::preempt_on();
    if block.is_null() {
        trim();
        block = refill_again(class);
    }
    if block.is_null() {
        block = reserve(class);
    }
    if block.is_null() && scavenge::for_the_heap() {
        block = refill_again(class);
    }
    block
}

/// Allocates the block later, when there may be memory.
fn refill_again(class: usize) -> *mut u8 {
    percpu::preempt_off();
    // The magazine may be another core's now. Blocks may also have come into this core's magazine
    // from G's that ran here and from unpacked stacks.
    let magazine = &record::current().magazines.all[class];
    let block = magazine.pop().unwrap_or_else(|| refill(magazine, class));
    percpu::preempt_on();
    block
}

/// Fills an empty magazine, and returns one of the blocks. Null: no memory.
#[cold]
#[inline(never)]
fn refill(magazine: &Magazine, class: usize) -> *mut u8 {
    debug_assert_eq!(magazine.len(), 0, "what is in the magazine would be lost");
    let size = usize::from(SIZES[class]);
    let most = magazine.keep.get();
    let want = magazine.trip(class);
    let mut chain = CLASSES[class].take(size, want, most);
    if chain.1 == 0 {
        let slab = chunks::alloc_slab(slab::bytes(size));
        if slab.is_null() {
            return slab;
        }
        // SAFETY: 1. it was just allocated for this class.
        chain = unsafe { CLASSES[class].take_new(slab, size, want) };
    }
    magazine.head.set(chain.0);
    magazine.len.store(chain.1, Ordering::Relaxed);
    magazine.pop().unwrap_or(null_mut())
}

/// Returns a block of the reserve to a goroutine that unwinds, when there is no memory. Null for
/// others.
#[cold]
fn reserve(class: usize) -> *mut u8 {
    let size = usize::from(SIZES[class]);
    if slab::bytes(size) != slab::SMALL || !trefoil_sched::panic::panicking() {
        return null_mut();
    }
    CLASSES[class].take_reserve(size, chunks::alloc_reserve)
}

/// Sends a part of a magazine home, or all of it if it holds less.
#[cold]
#[inline(never)]
fn spill(magazine: &Magazine, class: usize) {
    let size = usize::from(SIZES[class]);
    let most = magazine.len().min(magazine.trip(class));
    // SAFETY: 1. blocks in a magazine are free, of its class, and out, and `len` counts them.
    let (n, rest, gone) = unsafe { CLASSES[class].give(size, magazine.head.get(), most) };
    magazine.head.set(rest);
    magazine.len.store(magazine.len() - n, Ordering::Relaxed);
    release(gone, size);
}

/// Gives slabs back to their chunks. Holds no class's lock.
fn release(gone: Gone, size: usize) {
    for slab in gone {
        // SAFETY: 1. all its blocks are home, and it stands in no list; `Gone` read its header
        // before.
        unsafe { chunks::free_slab(slab, slab::bytes(size)) };
    }
}

/// Makes one trip of a magazine that is to be empty. Returns true if the magazine has more. With
/// preemption off, on the magazine's core or on behalf of that core.
fn trim_some(magazines: &Magazines, class: usize) -> bool {
    let magazine = &magazines.all[class];
    if magazine.len() > 0 {
        spill(magazine, class);
    }
    let more = magazine.len() > 0;
    if !more {
        magazine.keep.set(first_keep(SIZES[class]));
    }
    more
}

/// Sends home the blocks in the magazines of this core and of cores at rest. Gives back the slabs
/// that have no block out.
///
/// Call this when memory is short, and before counting slabs: a block in a magazine keeps its slab.
#[optimize(size)]
pub fn trim() {
    for class in 0..SIZES.len() {
        let mut more = true;
        while more {
            percpu::preempt_off();
            // After a trip this may be another core's record: the goroutine may be preempted.
            more = trim_some(&record::current().magazines, class);
            percpu::preempt_on();
        }
        for core in record::all() {
            more = core.magazines.all[class].len() > 0;
            while more {
                percpu::preempt_off();
                more = core.magazines.with_resting(|magazines| trim_some(magazines, class));
                percpu::preempt_on();
            }
        }
    }
    for (class, lists) in CLASSES.iter().enumerate() {
        release(lists.give_spare(), usize::from(SIZES[class]));
    }
    chunks::trim();
    arena::trim();
}

/// Counts of the heap's memory by use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeapStats {
    /// Bytes allocated and not yet freed. Whole blocks count if a class serves the layout.
    pub live_bytes: u64,
    /// Bytes of free blocks in the cores' magazines.
    pub cached_bytes: u64,
    /// Bytes of all slabs, free blocks included.
    pub slab_bytes: u64,
    /// Bytes of the frames that the heap has, for slabs, large blocks, and the room between them.
    pub mapped_bytes: u64,
    /// How often a core took free blocks from the shared slabs, or returned some to them, since
    /// boot.
    pub trips: u64,
}

/// Counts the heap, without a lock. Exact when the other cores are quiet.
pub fn stats() -> HeapStats {
    let (large, trips) = (sum(|core| &core.large), sum(|core| &core.trips));
    let mut stats = HeapStats { live_bytes: large, cached_bytes: 0, slab_bytes: 0, mapped_bytes: mapped(), trips };
    for (class, (lists, size)) in CLASSES.iter().zip(SIZES).enumerate() {
        let (out, slabs) = lists.counts();
        let cached: u64 = record::all().map(|core| u64::from(core.magazines.all[class].len())).sum();
        // While others move blocks, the two need not fit together.
        stats.live_bytes += out.saturating_sub(cached) * u64::from(size);
        stats.cached_bytes += cached * u64::from(size);
        stats.slab_bytes += slabs * slab::bytes(usize::from(size)) as u64;
    }
    stats
}

/// Returns how much a block of `bytes` bytes, aligned to 16 at most, adds to
/// [`HeapStats::live_bytes`].
pub fn counted(bytes: usize) -> u64 {
    if bytes == 0 {
        return 0;
    }
    match Layout::from_size_align(bytes, 8).ok().and_then(class) {
        Some(class) => u64::from(SIZES[class]),
        None => bytes as u64,
    }
}

/// Returns the bytes of memory that the heap has.
#[inline(never)]
pub fn mapped() -> u64 {
    pages::mapped()
}

/// Runs `f` with the locks of all classes and of the arenas held: for tests of lock use and of the
/// report path.
#[doc(hidden)]
pub fn with_locked<R>(f: impl FnOnce() -> R) -> R {
    let _classes = CLASSES.each_ref().map(Class::lock);
    arena::with_locked(f)
}
