//! The heap: size-class magazines a core, over a list allocator for the rest.
//!
//! ```text
//!   alloc(≤ 2048)     core's magazine ──empty──▶ the class's depot ──empty──▶ a slab, cut into blocks
//!   alloc(larger)     linked_list_allocator ──no room──▶ the region grows: frames mapped at its end
//! ```
//!
//! A magazine is a list through free blocks, touched by its core alone with preemption off: spawn and channels meet neither a
//! lock nor a search. A block freed on another core goes into that core's magazine; past [`KEEP`] blocks, half a magazine moves
//! to the depot. Slabs are never taken apart again.
//!
//! Handlers never allocate.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicU64, Ordering};

use linked_list_allocator::Heap;

use super::frames::{self, FRAME};
use super::lock::Lock;
use super::paging::{self, Flags};
use crate::arch::percpu;

/// Where it begins.
pub(super) const BASE: u64 = 0xffff_e000_0000_0000;
/// The region grows by at least this much: 64 KiB.
const GROW: u64 = 64 << 10;
/// The region ends here, at the latest: 64 GiB.
const REGION: u64 = 64 << 30;

/// Block sizes of the classes.
const SIZES: [u16; 14] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048];
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

/// A magazine keeps at most this many blocks; half of them move to the depot at once.
const KEEP: u32 = 64;
/// Bytes of a slab, for blocks up to 512 bytes and for larger ones.
const SLAB: [usize; 2] = [8 << 10, 32 << 10];

/// A list of free blocks, through their first word.
struct List {
    head: Cell<*mut Block>,
    len: Cell<u32>,
}

struct Block {
    next: *mut Block,
}

impl List {
    const fn new() -> Self {
        Self { head: Cell::new(null_mut()), len: Cell::new(0) }
    }

    #[inline(always)]
    fn pop(&self) -> Option<*mut u8> {
        let block = self.head.get();
        if block.is_null() {
            return None;
        }
        // SAFETY: blocks in a list are free memory of at least 16 bytes whose first word `push` wrote.
        self.head.set(unsafe { (*block).next });
        self.len.set(self.len.get() - 1);
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
        self.len.set(self.len.get() + 1);
    }

    fn move_to(&self, other: &List, n: u32) {
        for _ in 0..n {
            let Some(block) = self.pop() else { return };
            // SAFETY: 1. it was just popped from a list of the same class.
            unsafe { other.push(block) };
        }
    }
}

/// A core's magazines.
pub struct Magazines([List; SIZES.len()]);

impl Magazines {
    /// Empty ones.
    pub const fn new() -> Self {
        Self([const { List::new() }; SIZES.len()])
    }
}

impl Default for Magazines {
    fn default() -> Self {
        Self::new()
    }
}

/// What all cores share.
struct Depot(List);

// SAFETY: a depot is reached under its lock only; the blocks in it belong to nobody else.
unsafe impl Send for Depot {}

static DEPOTS: [Lock<Depot>; SIZES.len()] = [const { Lock::new(Depot(List::new())) }; SIZES.len()];

struct Large {
    heap: Heap,
    end: u64,
}

static LARGE: Lock<Large> = Lock::new(Large { heap: Heap::empty(), end: BASE });
/// Bytes mapped for the heap.
static MAPPED: AtomicU64 = AtomicU64::new(0);

impl Large {
    /// Maps memory for at least `bytes` more.
    fn grow(&mut self, bytes: usize) -> bool {
        let Some(more) = (bytes as u64).checked_add(GROW).map(|n| n / GROW * GROW + GROW) else { return false };
        if self.end - BASE + more > REGION {
            return false;
        }
        let from = self.end;
        let mut to = from;
        while to < from + more {
            let Some(frame) = frames::alloc() else { break };
            if paging::map_page(to, frame, Flags::DATA).is_err() {
                // SAFETY: 1. it was not mapped.
                unsafe { frames::free(frame) };
                break;
            }
            to += FRAME;
        }
        let got = (to - from) as usize;
        self.end = to;
        MAPPED.fetch_add(got as u64, Ordering::Relaxed);
        if from == BASE && got > 0 {
            // SAFETY: `from..to` was just mapped and is nobody else's; first use.
            unsafe { self.heap.init(from as *mut u8, got) };
        } else if got > 0 {
            // SAFETY: `from..to` was just mapped, and begins where the heap ends.
            unsafe { self.heap.extend(got) };
        }
        got as u64 == more
    }

    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        if let Ok(block) = self.heap.allocate_first_fit(layout) {
            return block.as_ptr();
        }
        self.grow(layout.size() + layout.align());
        self.heap.allocate_first_fit(layout).map_or(null_mut(), NonNull::as_ptr)
    }
}

pub(super) fn init() {
    LARGE.lock().grow(0);
}

struct KernelHeap;

#[global_allocator]
static HEAP: KernelHeap = KernelHeap;

/// The class that serves `layout`, if one does: blocks are aligned to their size's largest power of two, at least 16.
#[inline(always)]
fn class(layout: Layout) -> Option<usize> {
    let size = if layout.align() > 16 { layout.size().max(layout.align()).next_power_of_two() } else { layout.size() };
    (size <= LARGEST).then(|| CLASS[size.div_ceil(16)] as usize)
}

// SAFETY: blocks come from slabs or from the list allocator, each to one owner at a time; sizes and alignment as `class` says.
unsafe impl GlobalAlloc for KernelHeap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class(layout) else {
            return LARGE.lock().alloc(layout);
        };
        percpu::preempt_off();
        let magazine = &percpu::current().magazines.0[class];
        let block = magazine.pop().unwrap_or_else(|| refill(magazine, class));
        percpu::preempt_on();
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(class) = class(layout) else {
            if let Some(block) = NonNull::new(block) {
                // SAFETY: the caller's: it came from `alloc` with this layout, hence from LARGE.
                unsafe { LARGE.lock().heap.deallocate(block, layout) };
            }
            return;
        };
        percpu::preempt_off();
        let magazine = &percpu::current().magazines.0[class];
        // SAFETY: 1. the caller's: the block is free from here on, and `class` is where it came from.
        unsafe { magazine.push(block) };
        if magazine.len.get() > KEEP {
            spill(magazine, class);
        }
        percpu::preempt_on();
    }
}

/// A block for an empty magazine, which is filled on the way. Null: no memory.
#[cold]
#[inline(never)]
fn refill(magazine: &List, class: usize) -> *mut u8 {
    debug_assert!(!percpu::in_handler(), "a handler allocates");
    DEPOTS[class].lock().0.move_to(magazine, KEEP / 2);
    if let Some(block) = magazine.pop() {
        return block;
    }
    let size = SIZES[class] as usize;
    let bytes = SLAB[usize::from(size > 512)];
    let layout = Layout::from_size_align(bytes, LARGEST).expect("a slab's layout");
    let slab = LARGE.lock().alloc(layout);
    if slab.is_null() {
        return slab;
    }
    for at in (0..bytes / size).rev() {
        // SAFETY: 1. `at * size` lies in the fresh slab.
        unsafe { magazine.push(slab.add(at * size)) };
    }
    if magazine.len.get() > KEEP {
        magazine.move_to(&DEPOTS[class].lock().0, magazine.len.get() - KEEP);
    }
    magazine.pop().unwrap_or(null_mut())
}

#[cold]
#[inline(never)]
fn spill(magazine: &List, class: usize) {
    magazine.move_to(&DEPOTS[class].lock().0, KEEP / 2);
}

/// Bytes of memory that the heap has taken so far.
pub fn mapped() -> u64 {
    MAPPED.load(Ordering::Relaxed)
}

/// Runs `f` with the heap's lock held: for tests of the report path.
#[doc(hidden)]
pub fn with_locked<R>(f: impl FnOnce() -> R) -> R {
    let _heap = LARGE.lock();
    f()
}
