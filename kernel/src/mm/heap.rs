//! The heap: size-class magazines a core, over slabs that every block finds its way back to, over a list allocator for the rest.
//!
//! ```text
//!   alloc(≤ 2048)   this core's magazine ──empty──▶ the class's slabs ──none──▶ a slab of a chunk ─┐
//!   free            this core's magazine ──full───▶ each block to its own slab ──all home──▶ chunk ┤   slab.rs
//!   alloc(larger)                                                                                  └─▶ the region, which grows: region.rs
//! ```
//!
//! A magazine is a list through free blocks, touched by its core alone with preemption off: spawn and channels meet neither a lock nor a
//! search. It may hold blocks of any slab: a block freed on another core goes into that core's magazine, and home from there.
//!
//! * INV-LIVE: blocks that are out of their slabs are handed out or in a magazine, and both ends are counted where they move anyway: so
//!   the bytes in use are known to the byte, and no allocation counts anything for it ([`stats`]).
//! * Used up: a block that can't be had is null, after what this core keeps has gone home, and, for a goroutine that may wait so long, after
//!   the parked stacks have given back what they don't need. `handle_alloc_error` then panics in the
//!   goroutine that asked (`panic.rs`); while it unwinds, small blocks come from a reserve.
//!
//! **The hard race** is between two cores that find a class empty: each brings a slab, one more than needed. The lock is
//! not held for that, since the chunks' lock, the region's and the page tables' come with it; the slab goes back when its blocks are home.
//!
//! Rejected: a counter of live bytes on each core (an instruction with a memory operand on each alloc and free, for what two
//! lengths tell); a depot of full magazines a class (its blocks belong to no slab, so none ever goes back).
//!
//! Handlers never allocate.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicU32, Ordering};

use super::inject;
use super::window::scavenge;
use crate::arch::percpu;
use crate::panic;

mod region;
mod slab;

use slab::{Block, Class, Gone};

/// Where it begins.
pub(super) const BASE: u64 = 0xffff_e000_0000_0000;

/// Block sizes of the classes.
const SIZES: [u16; 26] = [
    16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640, 704, 768, 832, 896, 1024, 1280,
    1536, 2048,
];
const LARGEST: usize = 2048;

/// The class of each size, by 16-byte steps.
const CLASS: [u8; LARGEST / 16 + 1] = {
    let mut table = [0; LARGEST / 16 + 1];
    let (mut step, mut class) = (0, 0);
    while step < table.len() {
        if step * 16 > SIZES[class] as usize {
            class += 1;
        }
        table[step] = class as u8;
        step += 1;
    }
    table
};

// `class` rounds a size up to a multiple of its alignment: the class of that is a multiple too.
const _: () = {
    let mut align = 16;
    while align <= LARGEST {
        let mut size = align;
        while size <= LARGEST {
            assert!((SIZES[CLASS[size / 16] as usize] as usize).is_multiple_of(align));
            size += align;
        }
        align *= 2;
    }
};

/// A magazine keeps at most this many blocks, half as many bytes of the larger ones; half of them go home at once.
const KEEP: [u32; SIZES.len()] = {
    let mut keep = [64; SIZES.len()];
    let mut class = 0;
    while class < SIZES.len() {
        if SIZES[class] > 512 {
            keep[class] = 16;
        }
        class += 1;
    }
    keep
};

/// A core's free blocks of one class.
struct Magazine {
    /// This core with preemption off.
    head: Cell<*mut Block>,
    /// Its length. Written by this core with preemption off, never by two at once; others read it to count.
    len: AtomicU32,
}

impl Magazine {
    const fn new() -> Self {
        Self { head: Cell::new(null_mut()), len: AtomicU32::new(0) }
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.len.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn pop(&self) -> Option<*mut u8> {
        let block = self.head.get();
        if block.is_null() {
            return None;
        }
        // SAFETY: blocks in a list are free memory of at least 16 bytes whose first word is the link.
        self.head.set(unsafe { (*block).next });
        self.len.store(self.len() - 1, Ordering::Relaxed);
        Some(block.cast())
    }

    /// # Safety
    /// 1. `block` is free memory of this class that stands in no list.
    #[inline(always)]
    unsafe fn push(&self, block: *mut u8) {
        let block = block.cast::<Block>();
        // SAFETY: 1.
        unsafe { (*block).next = self.head.get() };
        self.head.set(block);
        self.len.store(self.len() + 1, Ordering::Relaxed);
    }
}

/// A core's magazines.
pub struct Magazines([Magazine; SIZES.len()]);

impl Magazines {
    /// Empty ones.
    pub const fn new() -> Self {
        Self([const { Magazine::new() }; SIZES.len()])
    }
}

impl Default for Magazines {
    fn default() -> Self {
        Self::new()
    }
}

static CLASSES: [Class; SIZES.len()] = [const { Class::new() }; SIZES.len()];

pub(super) fn init() {
    region::init();
}

struct KernelHeap;

#[global_allocator]
static HEAP: KernelHeap = KernelHeap;

/// The class that serves `layout`, if one does: blocks are aligned to the largest power of two that divides their size.
#[inline(always)]
fn class(layout: Layout) -> Option<usize> {
    // No overflow: a layout's size, rounded up to its alignment, is at most `isize::MAX`.
    let size = (layout.size() + (layout.align() - 1)) & !(layout.align() - 1);
    (size <= LARGEST).then(|| CLASS[size.div_ceil(16)] as usize)
}

// SAFETY: blocks come from slabs or from the region, each to one owner at a time; sizes and alignment as `class` says.
unsafe impl GlobalAlloc for KernelHeap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if inject::denies_block() {
            return null_mut();
        }
        debug_assert!(!percpu::in_handler(), "a handler allocates");
        let Some(class) = class(layout) else {
            return alloc_large(layout);
        };
        percpu::preempt_off();
        match percpu::current().magazines.0[class].pop() {
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
            if let Some(block) = NonNull::new(block) {
                // SAFETY: 1. the caller's: it came from `alloc` with this layout, hence from the region.
                unsafe { region::free(block, layout) };
            }
            return;
        };
        percpu::preempt_off();
        let magazine = &percpu::current().magazines.0[class];
        // SAFETY: 1. the caller's: the block is free from here on, and `class` is where it came from.
        unsafe { magazine.push(block) };
        if magazine.len() > KEEP[class] {
            spill(magazine, class);
        }
        percpu::preempt_on();
    }
}

#[cold]
#[inline(never)]
fn alloc_large(layout: Layout) -> *mut u8 {
    let block = region::alloc(layout);
    if !block.is_null() {
        return block;
    }
    trim();
    let block = region::alloc(layout);
    if block.is_null() && scavenge::for_the_heap() {
        return region::alloc(layout);
    }
    block
}

/// A block of a class whose magazine is empty. With preemption off, once more than the caller had it.
#[cold]
#[inline(never)]
fn alloc_cold(class: usize) -> *mut u8 {
    let mut block = refill(&percpu::current().magazines.0[class], class);
    percpu::preempt_on();
    if block.is_null() && scavenge::for_the_heap() {
        percpu::preempt_off();
        // Another core's, maybe; and blocks may have come into this one's, from whoever ran here and from unpacked stacks.
        let magazine = &percpu::current().magazines.0[class];
        block = magazine.pop().unwrap_or_else(|| refill(magazine, class));
        percpu::preempt_on();
    }
    block
}

/// A block for an empty magazine, which is filled on the way. Null: no memory.
#[cold]
#[inline(never)]
fn refill(magazine: &Magazine, class: usize) -> *mut u8 {
    debug_assert_eq!(magazine.len(), 0, "what is in the magazine would be lost");
    let (size, want) = (usize::from(SIZES[class]), KEEP[class] / 2);
    let mut chain = CLASSES[class].take(want);
    if chain.1 == 0 {
        let mut slab = region::alloc_slab(slab::bytes(size));
        if slab.is_null() {
            trim();
            slab = region::alloc_slab(slab::bytes(size));
        }
        if slab.is_null() {
            return reserve(class);
        }
        // SAFETY: 1. it was just allocated for this class.
        chain = unsafe { CLASSES[class].take_new(slab, size, want) };
    }
    magazine.head.set(chain.0);
    magazine.len.store(chain.1, Ordering::Relaxed);
    magazine.pop().unwrap_or(null_mut())
}

/// There is no memory: a block for a goroutine that unwinds. Null for others.
#[cold]
fn reserve(class: usize) -> *mut u8 {
    let size = usize::from(SIZES[class]);
    if slab::bytes(size) != slab::SMALL || !panic::panicking() {
        return null_mut();
    }
    CLASSES[class].take_reserve(size, region::alloc_reserve)
}

/// Sends half a magazine home, or what there is of it.
#[cold]
#[inline(never)]
fn spill(magazine: &Magazine, class: usize) {
    let size = usize::from(SIZES[class]);
    let n = magazine.len().min(KEEP[class] / 2);
    // SAFETY: 1. blocks in a magazine are free, of its class, and out, and `len` counts them.
    let (rest, gone) = unsafe { CLASSES[class].give(size, magazine.head.get(), n) };
    magazine.head.set(rest);
    magazine.len.store(magazine.len() - n, Ordering::Relaxed);
    release(gone, size);
}

/// Gives slabs back to the region. With no class's lock held.
fn release(gone: Gone, size: usize) {
    for slab in gone {
        // SAFETY: 1. all its blocks are home, and it stands in no list; `Gone` read its header before.
        unsafe { region::free_slab(slab, slab::bytes(size)) };
    }
}

/// Sends home what this core's magazines hold, and gives the slabs back that nobody uses.
///
/// For when memory is short; and before counting slabs, since a block in a magazine keeps its slab.
pub fn trim() {
    for class in 0..SIZES.len() {
        percpu::preempt_off();
        let magazine = &percpu::current().magazines.0[class];
        while magazine.len() > 0 {
            spill(magazine, class);
        }
        release(CLASSES[class].give_spare(), usize::from(SIZES[class]));
        percpu::preempt_on();
    }
    region::trim();
}

/// What the heap's memory is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeapStats {
    /// Bytes allocated and not yet freed: of whole blocks, where a class serves the layout.
    pub live_bytes: u64,
    /// Bytes of free blocks in the cores' magazines.
    pub cached_bytes: u64,
    /// Bytes of all slabs, with what lies free in them.
    pub slab_bytes: u64,
    /// Bytes taken from the frames, for slabs, large blocks, and the room between them.
    pub mapped_bytes: u64,
}

/// Counts the heap, without a lock. Exact when the other cores are quiet.
pub fn stats() -> HeapStats {
    let (mapped_bytes, large) = region::counts();
    let mut stats = HeapStats { live_bytes: large, cached_bytes: 0, slab_bytes: 0, mapped_bytes };
    for (class, (lists, size)) in CLASSES.iter().zip(SIZES).enumerate() {
        let (out, slabs) = lists.counts();
        let cached: u64 = percpu::all().map(|core| u64::from(core.magazines.0[class].len())).sum();
        // While others move blocks, the two need not fit together.
        stats.live_bytes += out.saturating_sub(cached) * u64::from(size);
        stats.cached_bytes += cached * u64::from(size);
        stats.slab_bytes += slabs * slab::bytes(usize::from(size)) as u64;
    }
    stats
}

/// What a block of `bytes` bytes, aligned to 16 at most, counts in [`HeapStats::live_bytes`].
pub fn counted(bytes: usize) -> u64 {
    if bytes == 0 {
        return 0;
    }
    match Layout::from_size_align(bytes, 8).ok().and_then(class) {
        Some(class) => u64::from(SIZES[class]),
        None => bytes as u64,
    }
}

/// Bytes of memory that the heap has taken so far.
pub fn mapped() -> u64 {
    region::counts().0
}

/// Runs `f` with the locks of all classes and the region's held: for tests of who needs them, and of the report path.
#[doc(hidden)]
pub fn with_locked<R>(f: impl FnOnce() -> R) -> R {
    let _classes = CLASSES.each_ref().map(Class::lock);
    region::with_locked(f)
}
