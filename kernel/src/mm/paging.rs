//! Page tables, reached through the physical map.
//!
//! Missing tables are installed by compare-and-swap: the loser gives its frame back. So cores that
//! map neighbouring pages at once need no lock. A page that was absent needs no flush: x86 does not
//! remember absent entries. The tables under the G's windows have a life of their own:
//! `stack/walk.rs`.

use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::VirtAddr;
use x86_64::instructions::tlb;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::PageTableFlags;
use x86_64::structures::paging::page_table::PageTableLevel;

use super::{frames, phys_to_virt};

/// The rights of ordinary data. A page is always readable.
pub const DATA: PageTableFlags = PageTableFlags::WRITABLE.union(PageTableFlags::NO_EXECUTE);
/// The flags that [`translate`] tells.
const RIGHTS: PageTableFlags = DATA.union(PageTableFlags::NO_CACHE);

const PRESENT: u64 = PageTableFlags::PRESENT.bits();
const HUGE: u64 = PageTableFlags::HUGE_PAGE.bits();
/// The bits of an entry that are no flags: the frame's address.
pub(super) const ADDRESS: u64 = !PageTableFlags::all().bits();

/// Why a page could not be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapError {
    /// No frame for a page table.
    OutOfMemory,
    /// Something is mapped there already.
    Occupied,
}

/// An entry that several cores change: the crate's is not atomic.
type Entry = AtomicU64;

/// The levels of tables above the last one.
const UPPER: [PageTableLevel; 3] = [PageTableLevel::Four, PageTableLevel::Three, PageTableLevel::Two];

/// Returns the index of the entry for `virt` in a table of `level`.
#[inline(always)]
pub(super) fn index(virt: u64, level: PageTableLevel) -> usize {
    VirtAddr::new_truncate(virt).page_table_index(level).into()
}

fn entry(table: u64, virt: u64, level: PageTableLevel) -> &'static Entry {
    let index = index(virt, level);
    // SAFETY: `table` is a page table (the root, or an entry's address): 512 entries in the
    // physical map, shared as atomics.
    unsafe { &*phys_to_virt(table).cast::<Entry>().add(index) }
}

/// The root table: all cores have the same.
static ROOT: AtomicU64 = AtomicU64::new(0);
/// Tables made here, for the heap and the kernel's stacks; never freed.
static TABLES: AtomicU64 = AtomicU64::new(0);

pub(super) fn init() {
    ROOT.store(Cr3::read().0.start_address().as_u64(), Ordering::Relaxed);
}

/// Returns the root table's frame.
#[inline(always)]
pub(super) fn root() -> u64 {
    ROOT.load(Ordering::Relaxed)
}

/// Returns how many tables were made for memory other than windows.
pub fn tables() -> u64 {
    TABLES.load(Ordering::Relaxed)
}

/// Returns the entry of the 4 KiB page at `virt`; missing tables are made.
pub(super) fn leaf(virt: u64) -> Result<&'static Entry, MapError> {
    let mut table = root();
    for level in UPPER {
        let e = entry(table, virt, level);
        // Acquire: pairs with the Release below: the table is cleared.
        let mut value = e.load(Ordering::Acquire);
        if value & PRESENT == 0 {
            let new = frames::alloc().ok_or(MapError::OutOfMemory)?;
            // SAFETY: the frame is ours; a table must start out empty.
            unsafe { phys_to_virt(new).cast::<[u64; 512]>().write([0; 512]) };
            let wanted = new | PRESENT | PageTableFlags::WRITABLE.bits();
            match e.compare_exchange(0, wanted, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    TABLES.fetch_add(1, Ordering::Relaxed);
                    value = wanted;
                }
                Err(theirs) => {
                    // SAFETY: 1. another core was faster: nobody knows our table.
                    unsafe { frames::free(new) };
                    value = theirs;
                }
            }
        }
        if value & HUGE != 0 {
            return Err(MapError::Occupied);
        }
        table = value & ADDRESS;
    }
    Ok(entry(table, virt, PageTableLevel::One))
}

/// Maps the frame at physical address `frame` as the page at `virt`.
///
/// # Errors
/// No memory for a table, or the page is mapped already.
pub fn map_page(virt: u64, frame: u64, flags: PageTableFlags) -> Result<(), MapError> {
    // AcqRel: a page appears once.
    leaf(virt)?
        .compare_exchange(0, frame | flags.bits() | PRESENT, Ordering::AcqRel, Ordering::Acquire)
        .map(drop)
        .map_err(|_| MapError::Occupied)
}

/// Takes the page at `virt` away on this core and returns its frame. Does not flush other cores:
/// the caller knows that no other core has a TLB entry for the page.
pub fn unmap_page(virt: u64) -> Option<u64> {
    let e = find(virt)?;
    let old = e.swap(0, Ordering::AcqRel);
    forget(virt);
    (old & PRESENT != 0).then_some(old & ADDRESS)
}

/// Forgets this core's translation of the page at `virt`.
#[inline(always)]
pub(super) fn forget(virt: u64) {
    // SAFETY: `invlpg` takes any address. One that is not canonical has no translation.
    tlb::flush(unsafe { VirtAddr::new_unsafe(virt) });
}

/// Returns the entry of the 4 KiB page at `virt`, if its tables are there.
pub(super) fn find(virt: u64) -> Option<&'static Entry> {
    let mut table = root();
    for level in UPPER {
        let value = entry(table, virt, level).load(Ordering::Acquire);
        if value & PRESENT == 0 || value & HUGE != 0 {
            return None;
        }
        table = value & ADDRESS;
    }
    Some(entry(table, virt, PageTableLevel::One))
}

/// Returns the frame and flags of the 4 KiB page at `virt`, if there is one.
pub fn translate(virt: u64) -> Option<(u64, PageTableFlags)> {
    let value = find(virt)?.load(Ordering::Acquire);
    (value & PRESENT != 0).then_some((value & ADDRESS, PageTableFlags::from_bits_retain(value) & RIGHTS))
}
