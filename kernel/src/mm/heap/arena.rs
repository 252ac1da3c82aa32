//! Blocks above 2 KiB that would waste much of their last page, in arenas of granules.
//!
//! ```text
//!   arena of 128 KiB (its address = block & !(bytes - 1)), 256 granules of 512 bytes
//!   │ header: edge bits │ block │ free run │ block │ block │ free run …                     │
//! ```
//!
//! The free runs of a part's arenas are one structure (crate `trefoil-runs`), so there is no search
//! for an arena. Runs do not join across arenas, since a header is never free. An arena that is one
//! free run goes back to the pages. One such arena is kept as a spare, so that a block that comes
//! and goes does not make and unmake an arena each time.
//!
//! Each core allocates from a part of its own ([`PARTS`] cores do). A block goes back to the part
//! of its arena, which the header names. Before a core makes an arena, it looks for a run in the
//! other parts: memory is as full as with a single part.
//!
//! All operations run under the part's lock, in constant time. Arenas are made and given back
//! without a lock.

use core::ptr::{self, null_mut};

use trefoil_runs::{Ground, Runs, Word};

use super::pages;
use crate::arch::lock::Lock;
use crate::arch::percpu;
use crate::mm::PHYS_OFFSET;
use crate::mm::frames::FRAME;
use crate::mm::heap::scattered;

/// Bytes of a granule.
pub(super) const GRANULE: usize = 512;
/// Bytes of an arena.
const ARENA: usize = 128 << 10;
/// Granules of an arena: a header, and the rest.
const GRANULES: u32 = (ARENA / GRANULE) as u32;
const USABLE: u32 = GRANULES - 1;
/// Pages of an arena, and their alignment.
const PAGES: u64 = ARENA as u64 / FRAME;

/// Granules of the physical map; those of scattered arenas follow. Frames end at 1 TiB.
const SCATTERED: u64 = (1 << 40) / GRANULE as u64;

#[repr(C)]
struct Header {
    /// A bit for each granule.
    edges: [u64; GRANULES as usize / 64],
    /// The part that the arena belongs to.
    part: &'static Lock<Arenas>,
}
const _: () = assert!(size_of::<Header>() <= GRANULE);

/// Returns the number of the granule at `at`.
#[inline(always)]
fn number(at: u64) -> u32 {
    let granule = match at.checked_sub(scattered::BASE) {
        Some(offset) => offset / GRANULE as u64 + SCATTERED,
        None => (at - PHYS_OFFSET) / GRANULE as u64,
    };
    granule as u32
}

/// Returns the address of a granule.
#[inline(always)]
fn address(granule: u32) -> *mut u8 {
    let granule = u64::from(granule);
    let at = match granule.checked_sub(SCATTERED) {
        Some(granule) => scattered::BASE + granule * GRANULE as u64,
        None => PHYS_OFFSET + granule * GRANULE as u64,
    };
    at as *mut u8
}

/// The granules of all arenas.
struct Granules;

impl Granules {
    #[inline(always)]
    fn word(granule: u32, word: Word) -> *mut u32 {
        address(granule).cast::<u32>().wrapping_add(word as usize)
    }

    #[inline(always)]
    fn edges(granule: u32) -> (*mut u64, u64) {
        let edges = address(granule & !(GRANULES - 1)).cast::<u64>();
        (edges.wrapping_add((granule % GRANULES) as usize / 64), 1 << (granule % 64))
    }
}

impl Ground for Granules {
    #[inline(always)]
    fn load(&self, granule: u32, word: Word) -> u32 {
        // SAFETY: a free granule is the arenas', and mapped as long as its arena is theirs.
        unsafe { Self::word(granule, word).read() }
    }

    #[inline(always)]
    fn store(&mut self, granule: u32, word: Word, value: u32) {
        // SAFETY: a free granule is the arenas', and mapped as long as its arena is theirs.
        unsafe { Self::word(granule, word).write(value) }
    }

    #[inline(always)]
    fn is_edge(&self, granule: u32) -> bool {
        // The first granule behind an arena may have any owner.
        !granule.is_multiple_of(GRANULES) && {
            let (at, bit) = Self::edges(granule);
            // SAFETY: the header of an arena of ours, under the lock.
            unsafe { at.read() & bit != 0 }
        }
    }

    #[inline(always)]
    fn set_edge(&mut self, granule: u32, edge: bool) {
        let (at, bit) = Self::edges(granule);
        // SAFETY: the granule lies in an arena of ours, whose header has its bit; `&mut self`:
        // under the lock.
        unsafe { at.write(if edge { at.read() | bit } else { at.read() & !bit }) }
    }
}

struct Arenas {
    runs: Runs<Granules, 6>,
    /// The first usable granule of an arena that may be a free run; 0: none.
    spare: u32,
}

/// Arenas by the cores that made them, so that two cores seldom meet at a lock.
static ARENAS: [Lock<Arenas>; PARTS] = [const { Lock::new(Arenas { runs: Runs::new(Granules), spare: 0 }) }; PARTS];
const PARTS: usize = 8;

/// Returns the part to which a block belongs.
///
/// # Safety
/// 1. The block came from [`alloc`], and is out.
#[inline(always)]
unsafe fn part_of(block: *mut u8) -> &'static Lock<Arenas> {
    // SAFETY: 1. its arena has a header, and stays where it is; nobody writes this part of it.
    unsafe { (*block.map_addr(|at| at & !(ARENA - 1)).cast::<Header>()).part }
}

/// Granules for `bytes` bytes.
#[inline(always)]
fn granules(bytes: usize) -> u32 {
    bytes.div_ceil(GRANULE) as u32
}

/// Allocates a block of `bytes` bytes (less than an arena has), aligned to `align` (a page at
/// most). Null: no memory.
pub(super) fn alloc(bytes: usize, align: usize) -> *mut u8 {
    let (len, align) = (granules(bytes), granules(align));
    // The part of this core, or of the caller's previous core: any part will do.
    let part = &ARENAS[percpu::current().index() % PARTS];
    let block = take(part, 0, len, align);
    if block.is_null() { alloc_elsewhere(part, len, align) } else { block }
}

/// Takes a block of a part's arenas. If `fresh` is not 0, the arenas first get the granules of a
/// new arena from `fresh` on. Null: no run is long enough.
#[inline(never)]
fn take(part: &Lock<Arenas>, fresh: u32, len: u32, align: u32) -> *mut u8 {
    let mut arenas = part.lock();
    if fresh != 0 {
        arenas.runs.give(fresh, USABLE);
    }
    arenas.runs.take(len, align).map_or(null_mut(), address)
}

/// Takes a block of another part's arenas, or of a new one.
#[cold]
#[optimize(size)]
fn alloc_elsewhere(part: &'static Lock<Arenas>, len: u32, align: u32) -> *mut u8 {
    for other in ARENAS.iter().take(percpu::all().count()).filter(|&other| !ptr::eq(other, part)) {
        let block = take(other, 0, len, align);
        if !block.is_null() {
            return block;
        }
    }
    let arena = pages::alloc(PAGES, PAGES);
    if arena.is_null() {
        return null_mut();
    }
    // SAFETY: the arena was just allocated, has room for a header, and is nobody else's yet.
    unsafe { arena.cast::<Header>().write(Header { edges: [0; _], part }) };
    // A core that has made one as well may have left a run that fits better.
    take(part, number(arena as u64) + 1, len, align)
}

/// Takes a block back.
///
/// # Safety
/// 1. The block came from [`alloc`] with so many bytes, or has them by [`resize`], and no code uses
///    it.
pub(super) unsafe fn free(block: *mut u8, bytes: usize) {
    let gone = {
        // SAFETY: 1. the caller's: the block came from `alloc`, and is out until `give` below.
        let mut arenas = unsafe { part_of(block) }.lock();
        let (first, len) = arenas.runs.give(number(block as u64), granules(bytes));
        if len == USABLE { arenas.spare_or_free(first) } else { 0 }
    };
    release(gone);
}

/// Makes a block longer or shorter where it stands. False: it is as it was.
///
/// # Safety
/// 1. As [`free`]; no code uses the part that goes.
pub(super) unsafe fn resize(block: *mut u8, bytes: usize, new: usize) -> bool {
    let (first, len, new) = (number(block as u64), granules(bytes), granules(new));
    // SAFETY: 1. the caller's: the block came from `alloc`, and is out.
    let runs = &mut unsafe { part_of(block) }.lock().runs;
    if new > len {
        return runs.grow(first, len, new - len);
    }
    if new < len {
        runs.shrink(first, len, new);
    }
    true
}

impl Arenas {
    /// Sees to the arena of `first`, which is one free run. The arena becomes the spare, or leaves
    /// the structure: then this returns its first usable granule.
    #[cold]
    fn spare_or_free(&mut self, first: u32) -> u32 {
        if self.spare == 0 || !self.runs.is_run(self.spare, USABLE) || self.spare == first {
            self.spare = first;
            return 0;
        }
        self.runs.take_run(first, USABLE);
        first
    }
}

/// Gives back an arena that no part owns. Holds no lock.
fn release(first: u32) {
    if first != 0 {
        // SAFETY: 1. all its granules have been taken out as one run.
        unsafe { pages::free(address(first - 1), PAGES, PAGES) };
    }
}

/// Gives the spare arenas back.
pub(super) fn trim() {
    for part in &ARENAS {
        let gone = {
            let mut arenas = part.lock();
            let spare = core::mem::replace(&mut arenas.spare, 0);
            if spare != 0 && arenas.runs.is_run(spare, USABLE) {
                arenas.runs.take_run(spare, USABLE);
                spare
            } else {
                0
            }
        };
        release(gone);
    }
}

/// Runs `f` with the locks held.
pub(super) fn with_locked<R>(f: impl FnOnce() -> R) -> R {
    let _arenas = ARENAS.each_ref().map(Lock::lock);
    f()
}
