//! Chunks, which are cut into slabs; and the pieces kept for goroutines that unwind.
//!
//! A chunk is a run of whole pages ([`pages`]), and goes back there when all its slabs are home.
//!
//! * The reserve is filled at boot and from slabs that come back, before their chunk gets them.

use core::ptr::null_mut;

use super::pages;
use super::slab::{self, BIG, Block, Class, Gone, SMALL};
use crate::arch::lock::Lock;
use crate::mm::frames::FRAME;

/// Pieces of a small slab's size that wait for unwinding: one for each class up to 128 bytes, where
/// panics allocate.
const RESERVE: usize = 8;

/// Chunks, for each size of slab.
static CHUNKS: [Class; 2] = [Class::new(), Class::new()];

struct Reserve {
    pieces: [*mut u8; RESERVE],
    len: usize,
}

// SAFETY: the pieces are reached under the lock only, and nobody else's.
unsafe impl Send for Reserve {}

static RESERVED: Lock<Reserve> = Lock::new(Reserve { pieces: [null_mut(); RESERVE], len: 0 });

/// Fills the reserve.
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

fn chunks(bytes: usize) -> &'static Class {
    debug_assert!(bytes == SMALL || bytes == BIG);
    &CHUNKS[usize::from(bytes == BIG)]
}

/// Pages of a chunk of slabs of `slab` bytes, and their alignment.
fn chunk_pages(slab: usize) -> u64 {
    slab::bytes(slab) as u64 / FRAME
}

/// Allocates memory for a slab, aligned to its size. Null: no memory.
pub(super) fn alloc_slab(bytes: usize) -> *mut u8 {
    let (mut slab, _) = chunks(bytes).take(bytes, 1, 1);
    if slab.is_null() {
        let chunk = pages::alloc(chunk_pages(bytes), chunk_pages(bytes));
        if chunk.is_null() {
            return chunk;
        }
        // SAFETY: 1. the chunk was just allocated, with the size of a chunk of such slabs, and
        // aligned to that.
        (slab, _) = unsafe { chunks(bytes).take_new(chunk, bytes, 1) };
    }
    slab.cast()
}

/// Takes a slab's memory back: the reserve first.
///
/// # Safety
/// 1. The slab came from [`alloc_slab`] or [`alloc_reserve`] with that size, and no code uses it.
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
    let (_, _, gone) = unsafe {
        slab.write(Block { next: null_mut() });
        chunks(bytes).give(bytes, slab, 1)
    };
    free_chunks(gone, bytes);
}

/// Gives back the chunks that have no slab in use.
pub(super) fn trim() {
    for bytes in [SMALL, BIG] {
        free_chunks(chunks(bytes).give_spare(), bytes);
    }
}

fn free_chunks(gone: Gone, slab: usize) {
    for chunk in gone {
        // SAFETY: 1. all its slabs are home, and it stands in no list; `Gone` read its header
        // before.
        unsafe { pages::free(chunk, chunk_pages(slab), chunk_pages(slab)) };
    }
}

/// Takes a piece of the reserve, `SMALL` bytes. Null: the reserve is used up too.
pub(super) fn alloc_reserve() -> *mut u8 {
    let mut reserved = RESERVED.lock();
    let Some(at) = reserved.len.checked_sub(1) else { return null_mut() };
    reserved.len = at;
    reserved.pieces[at]
}
