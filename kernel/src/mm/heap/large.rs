//! Blocks that are larger than any class: pages, or granules of an arena.

use core::alloc::Layout;

use super::magazine::LARGE;
use super::{arena, pages, trim};
use crate::mm::frames::FRAME;
use crate::mm::record;
use crate::mm::stack::scavenge;

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
        record::add::<LARGE>(layout.size() as u64);
    }
    block
}

#[cold]
#[inline(never)]
#[optimize(size)]
pub(super) fn alloc_large(layout: Layout) -> *mut u8 {
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
pub(super) unsafe fn free_large(block: *mut u8, layout: Layout) {
    record::add::<LARGE>((layout.size() as u64).wrapping_neg());
    match place(layout) {
        // SAFETY: 1. the caller's: the block came from `take_large`, hence from `pages::alloc` with
        // these numbers, and no code uses it.
        Place::Pages(pages, align) => unsafe { pages::free(block, pages, align) },
        // SAFETY: 1. the caller's: the block came from `take_large`, hence from `arena::alloc` with
        // this size, and no code uses it.
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
pub(super) unsafe fn resize_large(block: *mut u8, layout: Layout, new: Layout) -> bool {
    let resized = match (place(layout), place(new)) {
        // SAFETY: 1. the caller's: the block came from `pages` with so many pages, and no code uses
        // the part that goes.
        (Place::Pages(pages, _), Place::Pages(new, _)) => unsafe { pages::resize(block, pages, new) },
        // SAFETY: 1. the caller's: the block came from `arena` with this size, and no code uses the
        // part that goes.
        (Place::Arena, Place::Arena) => unsafe { arena::resize(block, layout.size(), new.size()) },
        _ => false,
    };
    if resized {
        record::add::<LARGE>((new.size() as u64).wrapping_sub(layout.size() as u64));
    }
    resized
}
