//! Slabs: pieces of 8 or 32 KiB, aligned to their size, cut into blocks of one class. And chunks,
//! which are slabs of slabs.
//!
//! ```text
//!   slab (address = block & !(bytes - 1))            chunk of 128 KiB
//!   ├─ header: neighbours in the class's list,       ├─ slab
//!   │  blocks at home, how many         32 bytes     │    └─ header · the chunk's header · blocks
//!   ├─ in a chunk's first slab: its header, 32       ├─ slab
//!   ├─ nothing, up to the blocks' alignment          │    └─ header · 32 bytes unused  · blocks
//!   └─ block │ block │ block │ …                     └─ …
//!
//!   a slab stands in     when its blocks are       and goes
//!   the partial list     some at home, some out    nowhere, when the last leaves
//!   no list              all out                   to the partial list, when one comes home
//!   its place as spare   all at home               to the partial list, when that is empty
//!   none of these        all at home, with a       back to its chunk
//!                        spare there already
//! ```
//!
//! A block is *at home* while it stands in its slab's own list or was never in use, and *out*
//! otherwise: handed out, or in a core's magazine. A new slab writes no list: 500 links at once
//! would keep preemption off for long. Each link is written when its block leaves.
//!
//! * **INV-HOME**: a block comes home to the slab that its address names, whichever core frees it.
//!   `home` of a slab counts its list and the blocks from `fresh` on, which were never handed out.
//!   `out` of a class is the number of blocks of all its slabs that are out.
//! * All writes here are under the class's lock, which is held for a short time. A refill takes a
//!   slab's whole list, or cuts a piece off; there is no search for a slab. Blocks on their way
//!   home come as runs: [`Class::give`] looks for neighbours before it takes the lock, and writes
//!   each run's length and end into its first block. A trip ends at [`MOST_RUNS`] runs or slabs,
//!   and at [`MOST_GONE`] slabs that leave, which bounds the time with preemption off. A slab that
//!   leaves is unlinked under the lock and given to its chunk after it. Code that takes two locks
//!   takes them in this order: class, reserve, chunks, frames.
//! * Slabs come from chunks and go back to them by the same steps: INV-HOME with "slab" for
//!   "block". The header of a chunk lies in its first slab, which leaves those bytes alone, whether
//!   it is cut into blocks or not.
//! * A reserve slab stands in no list: it feeds goroutines that unwind, a block at a time, when
//!   other allocations fail.
//!
//! Rejected: a table of slabs outside them, which needs a search or a second mapping. Also
//! rejected: a list of blocks for the whole class. One block that stays out keeps every slab, and
//! nothing tells which slab it belongs to. Also rejected: slabs straight from the pages. The slab
//! of one long-lived block is then the border of a hole: a burst of small blocks leaves short runs
//! of frames everywhere.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicU64, Ordering};

use super::sizes::SIZES;
use crate::arch::lock::Lock;

/// A free block; the link is its first word.
pub(super) struct Block {
    pub(super) next: *mut Block,
}

/// Blocks of one slab that stand side by side in a list on its way home. Written into the first of
/// them.
#[repr(C)]
struct Run {
    first: Block,
    /// Bytes from the first one to the last one's.
    last: i32,
    len: u32,
}
// The smallest block has room for it, and slabs are smaller than its field can tell.
const _: () = assert!(size_of::<Run>() <= SIZES[0] as usize && CHUNK <= i32::MAX as usize);

/// A slab's header.
#[repr(C)]
pub(super) struct Slab {
    prev: *mut Slab,
    next: *mut Slab,
    /// Blocks at home.
    free: *mut Block,
    home: u16,
    total: u16,
    /// The first of the blocks that were never in use, by its number; those behind it weren't
    /// either.
    fresh: u16,
    /// Set if the slab feeds goroutines that unwind.
    reserve: bool,
}

/// Bytes of a header; a slab begins with room for two.
const HEADER: usize = 32;
const _: () = assert!(size_of::<Slab>() <= HEADER && HEADER.is_multiple_of(align_of::<Slab>()));

/// Bytes of a small slab; reserve slabs are of this kind.
pub(super) const SMALL: usize = 8 << 10;
/// Bytes of a slab for larger blocks.
pub(super) const BIG: usize = 32 << 10;
/// Bytes of a chunk.
const CHUNK: usize = 128 << 10;

/// Bytes of a slab for blocks of `size`, or of a chunk for slabs of `size`.
pub(super) const fn bytes(size: usize) -> usize {
    match size {
        0..=256 => SMALL,
        257..SMALL => BIG,
        _ => CHUNK,
    }
}

/// Returns where blocks of `size` begin: they are aligned to the largest power of two that divides
/// it. A chunk is all slabs.
const fn first(size: usize) -> usize {
    if size < SMALL { (2 * HEADER).next_multiple_of(1 << size.trailing_zeros()) } else { 0 }
}

/// Returns where the header lies.
const fn header(size: usize) -> usize {
    if size < SMALL { 0 } else { HEADER }
}

/// Returns how many blocks of `size` a slab has.
const fn blocks(size: usize) -> usize {
    (bytes(size) - first(size)) / size
}

// Few bytes are lost.
const _: () = {
    let mut class = 0;
    while class < SIZES.len() {
        let size = SIZES[class] as usize;
        assert!(blocks(size) * size * 100 >= bytes(size) * 92);
        class += 1;
    }
};

/// A trip takes from so many slabs at most, or leaves so many runs of blocks at home, for that is
/// with preemption off.
const MOST_RUNS: u32 = 32;
/// A trip brings so many slabs back to their chunks at most.
const MOST_GONE: u64 = 6;

/// Blocks that hang together: the first one and how many.
pub(super) type Chain = (*mut Block, u32);

/// The part of a class that the cores share.
pub(super) struct Class {
    lists: Lock<Lists>,
    /// Blocks that are out. Written under the lock; the counting code reads it without.
    out: AtomicU64,
    /// Slabs that there are. The same.
    slabs: AtomicU64,
}

struct Lists {
    /// Slabs with blocks both at home and out.
    partial: *mut Slab,
    /// A slab with all blocks at home, kept so that one block that comes and goes does not make and
    /// unmake a slab.
    spare: *mut Slab,
    /// The reserve slab in use.
    reserve: *mut Slab,
}

// SAFETY: the lists are reached under their lock only, and the slabs in them are nobody else's.
unsafe impl Send for Lists {}

impl Lists {
    /// # Safety
    /// 1. `slab` is a slab of this class that stands in no list.
    unsafe fn link(&mut self, slab: *mut Slab) {
        // SAFETY: 1. its header is ours, and so is that of the list's first one.
        unsafe {
            (*slab).prev = null_mut();
            (*slab).next = self.partial;
            if let Some(next) = self.partial.as_mut() {
                next.prev = slab;
            }
        }
        self.partial = slab;
    }

    /// # Safety
    /// 1. `slab` stands in `partial`.
    unsafe fn unlink(&mut self, slab: *mut Slab) {
        // SAFETY: 1. its neighbours are slabs in the same list.
        unsafe {
            let (prev, next) = ((*slab).prev, (*slab).next);
            if let Some(next) = next.as_mut() {
                next.prev = prev;
            }
            match prev.as_mut() {
                Some(prev) => prev.next = next,
                None => self.partial = next,
            }
        }
    }

    /// Sees to a slab whose blocks are all home: the slab becomes the spare, or goes.
    ///
    /// # Safety
    /// 1. `slab` is a slab of this class, and stands in `partial` if `listed`, and otherwise in no
    ///    list.
    #[cold]
    unsafe fn spare_or_free(&mut self, slab: *mut Slab, listed: bool, gone: &mut Gone) {
        if listed {
            // SAFETY: 1. the caller's: a slab that is `listed` stands in `partial`.
            unsafe { self.unlink(slab) };
        }
        if self.reserve == slab {
            self.reserve = null_mut();
            // SAFETY: 1. the slab is this class's, and its header is used under this lock only.
        } else if self.spare.is_null() && !unsafe { (*slab).reserve } {
            self.spare = slab;
            return;
        }
        // SAFETY: 1. the slab is this class's, and in no list now, so nobody else uses its link.
        unsafe { (*slab).next = gone.0 };
        *gone = Gone(slab, gone.1 + 1);
    }
}

impl Slab {
    /// Returns the slab in which a block of `size` lies.
    #[inline(always)]
    fn of(block: *mut Block, size: usize) -> *mut Slab {
        block.map_addr(|at| (at & !(bytes(size) - 1)) + header(size)).cast()
    }

    /// Makes a slab of blocks of `size`, all at home.
    ///
    /// # Safety
    /// 1. `at` is memory of `bytes(size)`, aligned to that, and nobody else's.
    unsafe fn make(at: *mut u8, size: usize, reserve: bool) -> *mut Slab {
        let total = blocks(size) as u16;
        // SAFETY: 1. the header lies before `first`, or where the chunk's first slab has nothing.
        unsafe {
            let slab = at.add(header(size)).cast::<Slab>();
            slab.write(Slab {
                prev: null_mut(),
                next: null_mut(),
                free: null_mut(),
                home: total,
                total,
                fresh: 0,
                reserve,
            });
            slab
        }
    }

    /// Takes all blocks that were in use, if they are `few` to `most`. Their list leaves as it
    /// stands: no block is touched.
    fn pour(&mut self, few: u32, most: u32) -> Option<Chain> {
        let listed = self.listed();
        if !(few..=most).contains(&u32::from(listed)) {
            return None;
        }
        self.home -= listed;
        Some((core::mem::replace(&mut self.free, null_mut()), u32::from(listed)))
    }

    /// Blocks at home that were in use.
    fn listed(&self) -> u16 {
        self.home - (self.total - self.fresh)
    }

    /// Cuts up to `want` blocks off, in front of `rest`: of those that were in use first, the
    /// nearest in the caches.
    ///
    /// # Safety
    /// 1. `at` is a slab of blocks of `size`, and the caller's or under its class's lock.
    unsafe fn cut(at: *mut Self, size: usize, want: u32, (mut chain, len): Chain) -> Chain {
        // SAFETY: 1. blocks don't overlap headers.
        let slab = unsafe { &mut *at };
        let n = want.min(u32::from(slab.home)) as u16;
        let listed = n.min(slab.listed());
        if listed > 0 {
            let head = slab.free;
            let mut last = head;
            for _ in 1..listed {
                // SAFETY: the list has as many blocks as are home and not fresh (INV-HOME), and
                // `listed` is not more.
                last = unsafe { (*last).next };
            }
            // SAFETY: `last` is the list's block number `listed`, hence free memory whose first
            // word is the link.
            unsafe {
                slab.free = (*last).next;
                (*last).next = chain;
            }
            chain = head;
        }
        let fresh = n - listed;
        let blocks =
            at.cast::<u8>().map_addr(|at| (at & !(bytes(size) - 1)) + first(size) + usize::from(slab.fresh) * size);
        for i in (0..usize::from(fresh)).rev() {
            // SAFETY: 1. there are `total - fresh` such blocks, each ends within the slab, and
            // nobody has them.
            unsafe {
                let block = blocks.add(i * size).cast::<Block>();
                block.write(Block { next: chain });
                chain = block;
            }
        }
        slab.fresh += fresh;
        slab.home -= n;
        (chain, len + u32::from(n))
    }
}

/// A list of slabs without an owner, through `next`, and their number. Gives their memory's
/// addresses.
pub(super) struct Gone(*mut Slab, u64);

impl Iterator for Gone {
    type Item = *mut u8;

    fn next(&mut self) -> Option<*mut u8> {
        let slab = self.0;
        // SAFETY: slabs in this list are their holder's alone.
        self.0 = unsafe { slab.as_ref()?.next };
        // Slabs and chunks are aligned to more than a header's size, and headers lie in the first
        // two of it.
        Some(slab.map_addr(|at| at & !(2 * HEADER - 1)).cast())
    }
}

impl Class {
    pub(super) const fn new() -> Self {
        let lists = Lists { partial: null_mut(), spare: null_mut(), reserve: null_mut() };
        Self { lists: Lock::new(lists), out: AtomicU64::new(0), slabs: AtomicU64::new(0) }
    }

    /// Takes up to `want` blocks at home, from slabs in use first, or a slab's whole list of up to
    /// `most`; `size` is this class's.
    pub(super) fn take(&self, size: usize, want: u32, most: u32) -> Chain {
        let mut lists = self.lists.lock();
        let mut chain = (null_mut(), 0);
        let mut slabs = 0;
        while chain.1 < want && slabs < MOST_RUNS {
            let mut slab = lists.partial;
            if slab.is_null() {
                slab = core::mem::replace(&mut lists.spare, null_mut());
                if slab.is_null() {
                    break;
                }
                // SAFETY: 1. the spare stands in no list.
                unsafe { lists.link(slab) };
            }
            // SAFETY: a slab in the list is this class's, under its lock.
            unsafe {
                let all = if chain.1 == 0 { (*slab).pour(want.div_ceil(2), most) } else { None };
                chain = all.unwrap_or_else(|| Slab::cut(slab, size, want - chain.1, chain));
                if (*slab).home == 0 {
                    lists.unlink(slab);
                }
            }
            slabs += 1;
        }
        self.count(i64::from(chain.1), 0);
        chain
    }

    /// Takes up to `want` blocks of a new slab.
    ///
    /// # Safety
    /// 1. `at` is memory of `bytes(size)`, aligned to that, and nobody else's; `size` is this
    ///    class's.
    pub(super) unsafe fn take_new(&self, at: *mut u8, size: usize, want: u32) -> Chain {
        // SAFETY: 1. the caller's: `at` is memory of `bytes(size)`, aligned to that, and nobody
        // else's.
        let slab = unsafe { Slab::make(at, size, false) };
        // SAFETY: it was just made, and nobody else knows it.
        let chain = unsafe { Slab::cut(slab, size, want, (null_mut(), 0)) };
        let mut lists = self.lists.lock();
        // SAFETY: it was just made, and is in no list yet, so nobody else knows it.
        if unsafe { (*slab).home } > 0 {
            // SAFETY: 1. it was just made, and is in no list yet.
            unsafe { lists.link(slab) };
        }
        self.count(i64::from(chain.1), 1);
        chain
    }

    /// Takes a block from the reserve slab; `more` gives a new one, of `SMALL` bytes and aligned to
    /// that.
    pub(super) fn take_reserve(&self, size: usize, more: impl FnOnce() -> *mut u8) -> *mut u8 {
        debug_assert_eq!(bytes(size), SMALL);
        let mut lists = self.lists.lock();
        // SAFETY: the reserve slab in use is this class's, under its lock.
        if unsafe { lists.reserve.as_ref() }.is_none_or(|slab| slab.home == 0) {
            let at = more();
            if at.is_null() {
                return at;
            }
            // SAFETY: 1. `more` gives memory of `SMALL` bytes, aligned to that, and nobody else's.
            lists.reserve = unsafe { Slab::make(at, size, true) };
            self.count(0, 1);
        }
        // SAFETY: 1. the reserve slab in use is this class's, under its lock, and `size` is this
        // class's.
        let (block, _) = unsafe { Slab::cut(lists.reserve, size, 1, (null_mut(), 0)) };
        self.count(1, 0);
        block.cast()
    }

    /// Sends the first blocks of a list home, up to `most`. Returns how many they were, and the
    /// rest of the list; the caller owns slabs that are no longer needed.
    ///
    /// # Safety
    /// 1. The list has `most` blocks at least, one or more, all free blocks of this class, whose
    ///    blocks have `size`, and out.
    pub(super) unsafe fn give(&self, size: usize, list: *mut Block, most: u32) -> (u32, *mut Block, Gone) {
        // Neighbours in the list are often neighbours in a slab: a run of them goes home in one
        // piece, linked as it is.
        let (mut rest, mut left, mut runs) = (list, most, 0);
        while left > 0 && runs < MOST_RUNS {
            let (run, mut last, before) = (rest, rest, left);
            loop {
                // SAFETY: 1. `last` is a block of the list, hence free memory whose first word is
                // the link.
                rest = unsafe { (*last).next };
                left -= 1;
                if left == 0 || Slab::of(rest, size) != Slab::of(run, size) {
                    break;
                }
                last = rest;
            }
            let run = run.cast::<Run>();
            // SAFETY: 1. `run` and `last` are blocks of the list, hence free memory with room for a
            // `Run`; both lie in one slab, so their distance fits.
            unsafe {
                (*run).last = last.byte_offset_from(run) as i32;
                (*run).len = before - left;
            }
            runs += 1;
        }
        let (mut gone, mut given) = (Gone(null_mut(), 0), 0);
        let mut lists = self.lists.lock();
        let mut next = list;
        while runs > 0 && gone.1 < MOST_GONE {
            let (at, run) = (Slab::of(next, size), next.cast::<Run>());
            // SAFETY: 1. by INV-HOME a block of this class lies in a slab of this class; its header
            // is written under this lock only. The runs were written above.
            let (slab, last, len) = unsafe { (&mut *at, next.byte_offset((*run).last as isize), (*run).len) };
            // SAFETY: `last` is the end of a run of free blocks, and its first word is the link.
            let rest = unsafe { core::mem::replace(&mut (*last).next, slab.free) };
            let all_were_out = slab.home == 0;
            slab.free = next;
            slab.home += len as u16;
            (next, given, runs) = (rest, given + len, runs - 1);
            let (all_home, reserve) = (slab.home == slab.total, slab.reserve);
            if all_home {
                // SAFETY: the slab is listed if it had blocks both at home and out.
                unsafe { lists.spare_or_free(at, !all_were_out && !reserve, &mut gone) };
            } else if all_were_out && !reserve {
                // SAFETY: 1. it had no block at home, so it stood in no list.
                unsafe { lists.link(at) };
            }
        }
        self.count(-i64::from(given), -(gone.1 as i64));
        (given, next, gone)
    }

    /// Gives the spare slab to the caller.
    pub(super) fn give_spare(&self) -> Gone {
        let mut lists = self.lists.lock();
        let spare = core::mem::replace(&mut lists.spare, null_mut());
        // SAFETY: the spare is this class's, or null; it stands in no list, so nobody else has it.
        let Some(header) = (unsafe { spare.as_mut() }) else { return Gone(null_mut(), 0) };
        header.next = null_mut();
        self.count(0, -1);
        Gone(spare, 1)
    }

    /// Counts so many more blocks out, and so many more slabs. Under the lock.
    fn count(&self, out: i64, slabs: i64) {
        let add = |to: &AtomicU64, n| to.store(to.load(Ordering::Relaxed).wrapping_add_signed(n), Ordering::Relaxed);
        add(&self.out, out);
        add(&self.slabs, slabs);
    }

    /// Holds the lock: for tests.
    pub(super) fn lock(&self) -> impl Drop {
        self.lists.lock()
    }

    /// Blocks that are out, and slabs that there are.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.out.load(Ordering::Relaxed), self.slabs.load(Ordering::Relaxed))
    }
}
