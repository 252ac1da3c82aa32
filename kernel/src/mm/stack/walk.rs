//! Ways through the page tables under the windows.

use core::ops::Range;
use core::sync::atomic::Ordering;

use trefoil_sched::PreemptGuard;
use trefoil_sched::internals::page::{Backing, PageEntry};
use x86_64::structures::paging::PageTableFlags;

use crate::mm::frames::{self, FRAME};
use crate::mm::paging;
pub(super) use crate::mm::paging::ADDRESS;
use crate::mm::phys_to_virt;
use crate::mm::record;

/// A page of a stack.
pub(super) const PAGE: u64 = paging::DATA.bits();
/// A table.
pub(super) const TABLE: u64 = PageTableFlags::WRITABLE.bits();
/// Bytes that a last-level table covers.
pub(super) const TABLE_SPAN: u64 = 512 * FRAME;

/// Returns entry number `index` of the table in frame `table`.
#[inline(always)]
pub(super) fn entry(table: u64, index: usize) -> &'static PageEntry {
    debug_assert!(index < 512);
    // SAFETY: `table` is a page table: 512 words in the physical map, which are only used as
    // entries while it is one.
    unsafe { &*phys_to_virt(table).cast::<PageEntry>().add(index) }
}

/// Returns the entry for `addr` at `level` (0: the page's) in frame `table`. The level is a number
/// here and not the crate's type: a loop over that becomes a jump table at each of its steps.
#[inline(always)]
fn entry_for(table: u64, addr: u64, level: u32) -> &'static PageEntry {
    entry(table, (addr >> (12 + 9 * level)) as usize & 511)
}

/// Goes down towards the page at `addr`, as far as tables are present. Returns the level and the
/// entry where the walk ends, and the content of that entry.
#[inline(always)]
pub(super) fn find(addr: u64) -> (u32, &'static PageEntry, Backing) {
    let mut table = paging::root();
    let mut level = 3;
    loop {
        let entry = entry_for(table, addr, level);
        match entry.get() {
            Backing::Present(word) if level > 0 => {
                table = word & ADDRESS;
                level -= 1;
            }
            backing => return (level, entry, backing),
        }
    }
}

/// Returns the entry of the last-level table for `addr`, and the table's frame if it is present.
pub(super) fn find_table(addr: u64) -> Option<(&'static PageEntry, Backing)> {
    let mut table = paging::root();
    for level in [3, 2] {
        match entry_for(table, addr, level).get() {
            Backing::Present(word) => table = word & ADDRESS,
            _ => return None,
        }
    }
    let entry = entry_for(table, addr, 1);
    Some((entry, entry.get()))
}

/// Calls `f(addr, entry)` for each page of `range` whose table is present.
pub(super) fn each_page(range: Range<u64>, mut f: impl FnMut(u64, &'static PageEntry)) {
    let mut at = range.start;
    while at < range.end {
        let end = range.end.min((at & !(TABLE_SPAN - 1)) + TABLE_SPAN);
        if let Some((_, Backing::Present(table))) = find_table(at) {
            for page in (at..end).step_by(FRAME as usize) {
                f(page, entry_for(table & ADDRESS, page, 0));
            }
        }
        at = end;
    }
}

/// Clears a frame that becomes a table.
#[inline(always)]
pub(super) fn clear(frame: u64) {
    // SAFETY: the frame is the caller's, and used for nothing yet.
    unsafe { phys_to_virt(frame).write_bytes(0, FRAME as usize) };
}

/// Puts a table of frame `frame` under an empty entry. Returns false if another core was faster.
#[inline(always)]
pub(super) fn put_table(entry: &PageEntry, level: u32, frame: u64) -> bool {
    clear(frame);
    let put = entry.map(frame | TABLE);
    if put {
        let stacks = &record::current().stacks;
        let count = if level == 1 { &stacks.tables } else { &stacks.upper_tables };
        count.fetch_add(1, Ordering::Relaxed);
    }
    put
}

/// Fills a new stack page in debug builds, so that reading before writing shows.
#[inline(always)]
pub(super) fn poison(frame: u64) {
    if cfg!(debug_assertions) {
        // SAFETY: the frame is the caller's, and mapped nowhere yet.
        unsafe { phys_to_virt(frame).write_bytes(0xa5, FRAME as usize) };
    }
}

/// Maps the unused page at `addr` with frames of the common pool; the page may be present already.
/// Returns false if there is no memory, or only memory kept for the live stacks.
pub(super) fn map_from_pool(addr: u64) -> bool {
    let _here = PreemptGuard::new();
    loop {
        let (level, entry, backing) = find(addr);
        match backing {
            Backing::Present(_) => return true,
            Backing::Limbo(word) => {
                entry.restore(word);
            }
            // The window is unused, so no page of it is packed; its neighbours may be, with their
            // table.
            Backing::Packed(word) => {
                if !super::packed::unpack_table(entry, word, &mut frames::alloc, &mut give_back) {
                    return false;
                }
            }
            Backing::Empty => {
                if frames::is_scarce() {
                    return false;
                }
                let Some(frame) = frames::alloc() else { return false };
                let used = if level == 0 {
                    poison(frame);
                    entry.map(frame | PAGE)
                } else {
                    put_table(entry, level, frame)
                };
                if !used {
                    give_back(frame);
                } else if level == 0 {
                    record::current().stacks.pages.fetch_add(1, Ordering::Relaxed);
                    return true;
                }
            }
        }
    }
}

fn give_back(frame: u64) {
    // SAFETY: 1. the frame was taken for a place that another core has filled.
    unsafe { frames::free(frame) };
}

/// Returns how many pages of `range` have a frame.
pub(super) fn count_backed(range: Range<u64>) -> u64 {
    let _here = PreemptGuard::new();
    let mut pages = 0;
    each_page(range, |_, entry| pages += u64::from(matches!(entry.get(), Backing::Present(_) | Backing::Limbo(_))));
    pages
}
