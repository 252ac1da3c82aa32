//! Whole pages of the heap: for large blocks, chunks and arenas.
//!
//! ```text
//!   alloc(n) ──▶ a run of frames, read and written by the physical map      frames.rs: constant time
//!            └─ no run is so long, but as many frames are free ──▶ frames mapped side by side: scattered.rs
//! ```
//!
//! A run of frames needs no page table and no flush, when it comes and when it goes. So 600 MiB
//! cost as much as 8 KiB, and frames that come back are good for stacks at once. Scattered pages
//! are for a memory that stacks have cut into pieces.

use core::ptr::null_mut;

use super::magazine::{MAPPED, sum};
use super::scattered;
use crate::mm::frames::{self, FRAME};
use crate::mm::record;
use crate::mm::{PHYS_OFFSET, phys_to_virt, refusal};

/// Counts `pages` pages more, or fewer, for the heap.
pub(super) fn count(pages: i64) {
    record::add::<MAPPED>((pages * FRAME as i64) as u64);
}

/// Bytes that the heap has.
pub(super) fn mapped() -> u64 {
    sum(|core| &core.mapped)
}

/// Returns the frame at `at`, which came from [`alloc`]. `None`: the piece is scattered.
#[inline(always)]
fn frame(at: *mut u8) -> Option<u64> {
    let at = at as u64;
    (at < scattered::BASE).then(|| at - PHYS_OFFSET)
}

/// Allocates a piece of `pages` pages, aligned to `align` pages (a power of two). Null: no memory.
#[optimize(size)]
pub(super) fn alloc(pages: u64, align: u64) -> *mut u8 {
    if refusal::denies_frame() {
        return null_mut();
    }
    match frames::alloc_run(pages, align, || count(pages as i64)) {
        Some(frame) => phys_to_virt(frame),
        None => scattered::alloc(pages, align),
    }
}

/// Takes a piece back.
///
/// # Safety
/// 1. The piece came from [`alloc`] with this number and alignment, or has it by [`resize`], and no
///    code uses it.
pub(super) unsafe fn free(at: *mut u8, pages: u64, align: u64) {
    match frame(at) {
        Some(frame) => {
            // SAFETY: the caller's: the run came from `alloc` with so many pages, and no code uses
            // it.
            unsafe { frames::shrink_run(frame, pages, 0, || count(-(pages as i64))) };
        }
        // SAFETY: the caller's: the piece came from `alloc` with this number and alignment, and no
        // code uses it. By its address it is a scattered one.
        None => unsafe { scattered::free(at as u64, pages, align) },
    }
}

/// Makes a piece longer or shorter where it stands. False: it is as it was.
///
/// # Safety
/// 1. As [`free`]; no code uses the part that goes.
pub(super) unsafe fn resize(at: *mut u8, pages: u64, new: u64) -> bool {
    let Some(frame) = frame(at) else {
        // SAFETY: the caller's: the piece is out with so many pages, and no code uses the part that
        // goes. By its address it is a scattered one.
        return unsafe { scattered::resize(at as u64, pages, new) };
    };
    if new > pages {
        // SAFETY: the caller's: the run is out with so many pages.
        return unsafe { frames::grow_run(frame, pages, new - pages, || count((new - pages) as i64)) };
    }
    if new < pages {
        // SAFETY: the caller's: the run is out with so many pages, and no code uses those behind
        // `new`.
        unsafe { frames::shrink_run(frame, pages, new, || count(new as i64 - pages as i64)) };
    }
    true
}
