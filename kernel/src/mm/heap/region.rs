//! The heap's region: one run of addresses, mapped as it grows, with a list allocator over it; and the pieces kept for
//! goroutines that unwind.
//!
//! What is larger than any class comes from here, and chunks, which are cut into slabs. The region never shrinks; a chunk that comes back
//! is room for anything.
//!
//! * The region leaves frames for others ([`frames::heap_floor`]): a heap that takes the last one takes the stack from the goroutine
//!   that must unwind because the heap is used up. A request that would go below that maps nothing at all.
//! * The reserve is filled at boot and from slabs that come back, before the region gets them.

use core::alloc::Layout;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicU64, Ordering};

use linked_list_allocator::Heap;

use super::BASE;
use super::slab::{self, BIG, Block, Class, Gone, SMALL};
use crate::arch::tlb;
use crate::mm::frames::{self, FRAME};
use crate::mm::lock::Lock;
use crate::mm::paging::{self, Flags};

/// The region grows by at least this much: 64 KiB.
const GROW: u64 = 64 << 10;
/// The region ends here, at the latest: 64 GiB.
const LONGEST: u64 = 64 << 30;
/// Pieces of a small slab's size that wait for unwinding: one for each class up to 128 bytes, where panics allocate.
const RESERVE: usize = 8;

struct Region {
    heap: Heap,
    end: u64,
}

static REGION: Lock<Region> = Lock::new(Region { heap: Heap::empty(), end: BASE });
/// Bytes mapped.
static MAPPED: AtomicU64 = AtomicU64::new(0);
/// Bytes handed out for layouts that no class serves. Written under the region's lock.
static LARGE: AtomicU64 = AtomicU64::new(0);

/// Chunks, for each size of slab.
static CHUNKS: [Class; 2] = [Class::new(), Class::new()];

struct Reserve {
    pieces: [*mut u8; RESERVE],
    len: usize,
}

// SAFETY: the pieces are reached under the lock only, and nobody else's.
unsafe impl Send for Reserve {}

static RESERVED: Lock<Reserve> = Lock::new(Reserve { pieces: [null_mut(); RESERVE], len: 0 });

impl Region {
    /// Maps memory for at least `bytes` more; if there is not enough, perhaps some, usually none.
    fn grow(&mut self, bytes: usize) {
        let Some(more) = (bytes as u64).checked_add(GROW).map(|n| n / GROW * GROW + GROW) else { return };
        let room = frames::stats().free.saturating_sub(frames::heap_floor()) * FRAME;
        if self.end - BASE + more > LONGEST || more > room {
            return;
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
        tlb::taken_by_heap(got as u64 / FRAME);
        if from == BASE && got > 0 {
            // SAFETY: `from..to` was just mapped and is nobody else's; first use.
            unsafe { self.heap.init(from as *mut u8, got) };
        } else if got > 0 {
            // SAFETY: `from..to` was just mapped, and begins where the heap ends.
            unsafe { self.heap.extend(got) };
        }
    }

    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        if let Ok(block) = self.heap.allocate_first_fit(layout) {
            return block.as_ptr();
        }
        let Some(bytes) = layout.size().checked_add(layout.align()) else { return null_mut() };
        self.grow(bytes);
        self.heap.allocate_first_fit(layout).map_or(null_mut(), NonNull::as_ptr)
    }
}

/// Maps the first memory, and fills the reserve.
pub(super) fn init() {
    let mut reserved = RESERVED.lock();
    while reserved.len < RESERVE {
        let piece = alloc_slab(SMALL);
        assert!(!piece.is_null(), "no memory for the heap");
        let at = reserved.len;
        reserved.pieces[at] = piece;
        reserved.len += 1;
    }
}

/// A block of `layout`. Null: no memory.
pub(super) fn alloc(layout: Layout) -> *mut u8 {
    let mut region = REGION.lock();
    let block = region.alloc(layout);
    if !block.is_null() {
        LARGE.fetch_add(layout.size() as u64, Ordering::Relaxed);
    }
    block
}

/// Takes a block back.
///
/// # Safety
/// 1. It came from [`alloc`] with `layout`, and nobody uses it.
pub(super) unsafe fn free(block: NonNull<u8>, layout: Layout) {
    let mut region = REGION.lock();
    LARGE.fetch_sub(layout.size() as u64, Ordering::Relaxed);
    // SAFETY: 1.
    unsafe { region.heap.deallocate(block, layout) };
}

fn chunks(bytes: usize) -> &'static Class {
    debug_assert!(bytes == SMALL || bytes == BIG);
    &CHUNKS[usize::from(bytes == BIG)]
}

fn chunk_layout(slab: usize) -> Layout {
    Layout::from_size_align(slab::bytes(slab), slab::bytes(slab)).expect("a chunk's size is a power of two")
}

/// Memory for a slab, aligned to its size. Null: no memory.
pub(super) fn alloc_slab(bytes: usize) -> *mut u8 {
    let (mut slab, _) = chunks(bytes).take(1);
    if slab.is_null() {
        let chunk = REGION.lock().alloc(chunk_layout(bytes));
        if chunk.is_null() {
            return chunk;
        }
        // SAFETY: 1. it was just allocated.
        (slab, _) = unsafe { chunks(bytes).take_new(chunk, bytes, 1) };
    }
    slab.cast()
}

/// Takes a slab's memory back: the reserve first.
///
/// # Safety
/// 1. It came from [`alloc_slab`] or [`alloc_reserve`] with that size, and nobody uses it.
pub(super) unsafe fn free_slab(slab: *mut u8, bytes: usize) {
    if bytes == SMALL {
        let mut reserved = RESERVED.lock();
        if reserved.len < RESERVE {
            let at = reserved.len;
            reserved.pieces[at] = slab;
            reserved.len += 1;
            return;
        }
    }
    let slab = slab.cast::<Block>();
    // SAFETY: 1. a list of one, which is out of its chunk.
    let (_, gone) = unsafe {
        slab.write(Block { next: null_mut() });
        chunks(bytes).give(bytes, slab, 1)
    };
    free_chunks(gone, bytes);
}

/// Gives the chunks back that nobody uses.
pub(super) fn trim() {
    for bytes in [SMALL, BIG] {
        free_chunks(chunks(bytes).give_spare(), bytes);
    }
}

fn free_chunks(gone: Gone, slab: usize) {
    for chunk in gone.filter_map(NonNull::new) {
        // SAFETY: all its slabs are home, and it stands in no list; `Gone` read its header before.
        unsafe { REGION.lock().heap.deallocate(chunk, chunk_layout(slab)) };
    }
}

/// A piece of the reserve, `SMALL` bytes. Null: it is used up too.
pub(super) fn alloc_reserve() -> *mut u8 {
    let mut reserved = RESERVED.lock();
    let Some(at) = reserved.len.checked_sub(1) else { return null_mut() };
    reserved.len = at;
    reserved.pieces[at]
}

/// Bytes mapped, and bytes handed out for large layouts.
pub(super) fn counts() -> (u64, u64) {
    (MAPPED.load(Ordering::Relaxed), LARGE.load(Ordering::Relaxed))
}

/// Runs `f` with the region's lock held.
pub(super) fn with_locked<R>(f: impl FnOnce() -> R) -> R {
    let _region = REGION.lock();
    f()
}
