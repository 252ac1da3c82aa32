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
//! Granules and frames are free runs (`runs.rs`). So a block above 2 KiB comes and goes in constant
//! time, for any number of holes. No lock is held while a page is mapped. Most large blocks map no
//! page, since they are runs of frames. So frames that the heap frees are at once free for stacks.
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
//! `talc`, `buddy_system_allocator`: see `runs.rs`.
//!
//! Handlers never allocate.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::hint::spin_loop;
use core::mem::offset_of;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::frames::FRAME;
use super::inject;
use super::stack::scavenge;
use crate::arch::percpu;
use crate::panic;

mod arena;
mod chunks;
mod pages;
mod scattered;
mod slab;

use slab::{Block, Class, Gone};

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

/// Blocks that a magazine keeps at most at first, and after a [`trim`].
const fn first_keep(size: u16) -> u32 {
    if size > 512 { 16 } else { 64 }
}

/// Blocks of `size` that a much-used magazine keeps at most.
const fn most_keep(size: u16) -> u32 {
    let (bytes, first) = (MOST_BYTES / size as u32, first_keep(size));
    if bytes > MOST {
        MOST
    } else if bytes < first {
        first
    } else {
        bytes
    }
}
const MOST_BYTES: u32 = 16 << 10;
const MOST: u32 = 512;

// The header states how much a core keeps.
const _: () = {
    let (mut class, mut bytes) = (0, 0);
    while class < SIZES.len() {
        bytes += most_keep(SIZES[class]) * SIZES[class] as u32;
        class += 1;
    }
    assert!(bytes <= 512 << 10);
};

/// A core's free blocks of one class.
struct Magazine {
    /// The first block of the list. Used by this core with preemption off.
    head: Cell<*mut Block>,
    /// The length of the list. Only this core writes it, with preemption off, one write at a time.
    /// Other cores read it to count.
    len: AtomicU32,
    /// How many blocks the magazine keeps at most. Used by this core with preemption off.
    keep: Cell<u32>,
}

impl Magazine {
    const fn new(size: u16) -> Self {
        Self { head: Cell::new(null_mut()), len: AtomicU32::new(0), keep: Cell::new(first_keep(size)) }
    }

    /// Counts a trip to the shared store, and makes the next trip come later. Returns how many
    /// blocks the trip moves: half of what the magazine keeps.
    fn trip(&self, class: usize) -> u32 {
        let keep = self.keep.get();
        self.keep.set((2 * keep).min(most_keep(SIZES[class])));
        percpu::add::<TRIPS>(1);
        keep / 2
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
        // SAFETY: blocks in a list are free memory of at least 16 bytes whose first word is the
        // link.
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
pub struct Magazines {
    all: [Magazine; SIZES.len()],
    /// Trips to the shared store. Counted by [`percpu::add`], like the next two counters.
    trips: AtomicU64,
    /// Bytes handed out on this core for layouts that no class serves, less those that came back
    /// here.
    large: AtomicU64,
    /// Bytes of the heap's memory, counted in the same way.
    mapped: AtomicU64,
    /// The core rests, and no core owns its magazines. The core that changes this to false owns
    /// them.
    rests: AtomicBool,
}

impl Magazines {
    /// Creates empty magazines.
    pub const fn new() -> Self {
        let mut all = [const { Magazine::new(0) }; SIZES.len()];
        let mut class = 0;
        while class < SIZES.len() {
            all[class] = Magazine::new(SIZES[class]);
            class += 1;
        }
        Self {
            all,
            trips: AtomicU64::new(0),
            large: AtomicU64::new(0),
            mapped: AtomicU64::new(0),
            rests: AtomicBool::new(false),
        }
    }
}

impl Magazines {
    /// Marks the core as resting: it touches no block until it rises, and others may send its
    /// blocks home.
    pub fn rest(&self) {
        // Release: pairs with the Acquire of `rise` and `with_resting`.
        self.rests.store(true, Ordering::Release);
    }

    /// Ends the rest. Waits for a trip of another core at most.
    pub fn rise(&self) {
        // Acquire: pairs with the Release in `with_resting`.
        while !self.rests.swap(false, Ordering::Acquire) {
            spin_loop();
        }
    }

    /// Runs `f` if the core rests; the core does not rise meanwhile. With preemption off.
    fn with_resting(&self, f: impl FnOnce(&Self) -> bool) -> bool {
        // Acquire: pairs with the Release in `rest`, and below.
        self.rests.swap(false, Ordering::Acquire) && {
            let result = f(self);
            // Release: as in `rest`.
            self.rests.store(true, Ordering::Release);
            result
        }
    }
}

/// Sums a count over all cores. Exact when the other cores are quiet.
#[inline(never)]
fn sum(of: fn(&Magazines) -> &AtomicU64) -> u64 {
    percpu::all().fold(0, |sum, core| sum.wrapping_add(of(&core.magazines).load(Ordering::Relaxed)))
}

/// Offsets of the counts in a core's record, for [`percpu::add`].
const TRIPS: usize = offset_of!(percpu::PerCpu, magazines) + offset_of!(Magazines, trips);
const LARGE: usize = offset_of!(percpu::PerCpu, magazines) + offset_of!(Magazines, large);
const MAPPED: usize = offset_of!(percpu::PerCpu, magazines) + offset_of!(Magazines, mapped);

impl Default for Magazines {
    fn default() -> Self {
        Self::new()
    }
}

static CLASSES: [Class; SIZES.len()] = [const { Class::new() }; SIZES.len()];

pub(super) fn init() {
    chunks::init();
}

struct KernelHeap;

#[global_allocator]
static HEAP: KernelHeap = KernelHeap;

/// Returns the class that serves `layout`, if there is one. Blocks are aligned to the largest power
/// of two that divides their size.
#[inline(always)]
fn class(layout: Layout) -> Option<usize> {
    // No overflow: a layout's size, rounded up to its alignment, is at most `isize::MAX`.
    let size = (layout.size() + (layout.align() - 1)) & !(layout.align() - 1);
    (size <= LARGEST).then(|| CLASS[size.div_ceil(16)] as usize)
}

// SAFETY: blocks come from slabs, arenas or pages, each to one owner at a time; sizes and alignment
// as `class` says.
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
        match percpu::current().magazines.all[class].pop() {
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
        let magazine = &percpu::current().magazines.all[class];
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
            // SAFETY: 1. the caller's.
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

/// The source of a block that is larger than any class.
enum Place {
    /// So many pages, aligned to so many.
    Pages(u64, u64),
    Arena,
}

#[inline(always)]
fn place(layout: Layout) -> Place {
    let (size, align) = (layout.size(), layout.align());
    let pages = size.div_ceil(FRAME as usize);
    if align <= FRAME as usize && pages * FRAME as usize - size > size / 8 {
        return Place::Arena;
    }
    Place::Pages(pages as u64, align.div_ceil(FRAME as usize) as u64)
}

#[inline]
fn take_large(layout: Layout) -> *mut u8 {
    let block = match place(layout) {
        Place::Pages(pages, align) => pages::alloc(pages, align),
        Place::Arena => arena::alloc(layout.size(), layout.align()),
    };
    if !block.is_null() {
        percpu::add::<LARGE>(layout.size() as u64);
    }
    block
}

#[cold]
#[inline(never)]
#[optimize(size)]
fn alloc_large(layout: Layout) -> *mut u8 {
    let block = take_large(layout);
    if !block.is_null() {
        return block;
    }
    trim();
    let block = take_large(layout);
    if block.is_null() && scavenge::for_the_heap() {
        return take_large(layout);
    }
    block
}

/// # Safety
/// 1. The block came from [`take_large`] with `layout`, and no code uses it.
#[cold]
#[inline(never)]
unsafe fn free_large(block: *mut u8, layout: Layout) {
    percpu::add::<LARGE>((layout.size() as u64).wrapping_neg());
    match place(layout) {
        // SAFETY: 1.
        Place::Pages(pages, align) => unsafe { pages::free(block, pages, align) },
        // SAFETY: 1.
        Place::Arena => unsafe { arena::free(block, layout.size()) },
    }
}

/// Makes a block one of `new`, in place. Returns false if it can't.
///
/// # Safety
/// 1. As [`free_large`]; the caller may use the part of `new` that the block has.
#[cold]
#[inline(never)]
#[optimize(size)]
unsafe fn resize_large(block: *mut u8, layout: Layout, new: Layout) -> bool {
    let resized = match (place(layout), place(new)) {
        // SAFETY: 1.
        (Place::Pages(pages, _), Place::Pages(new, _)) => unsafe { pages::resize(block, pages, new) },
        // SAFETY: 1.
        (Place::Arena, Place::Arena) => unsafe { arena::resize(block, layout.size(), new.size()) },
        _ => false,
    };
    if resized {
        percpu::add::<LARGE>((new.size() as u64).wrapping_sub(layout.size() as u64));
    }
    resized
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
        // SAFETY: 1.
        unsafe { scattered::read(from, to, len) }
    }
}

/// Allocates a block of a class whose magazine is empty. With preemption off, one level deeper than
/// in the caller.
#[cold]
#[inline(never)]
fn alloc_cold(class: usize) -> *mut u8 {
    let mut block = refill(&percpu::current().magazines.all[class], class);
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
    let magazine = &percpu::current().magazines.all[class];
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
    if slab::bytes(size) != slab::SMALL || !panic::panicking() {
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
            more = trim_some(&percpu::current().magazines, class);
            percpu::preempt_on();
        }
        for core in percpu::all() {
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
        let cached: u64 = percpu::all().map(|core| u64::from(core.magazines.all[class].len())).sum();
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
