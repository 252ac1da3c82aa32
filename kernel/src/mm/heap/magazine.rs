//! A core's free blocks, by class; `heap.rs` draws their ways.

use core::cell::Cell;
use core::hint::spin_loop;
use core::mem::offset_of;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::sizes::SIZES;
use super::slab::Block;
use crate::mm::record::{self, Record};

/// Blocks that a magazine keeps at most at first, and after a [`trim`](super::trim).
pub(super) const fn first_keep(size: u16) -> u32 {
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
pub(super) struct Magazine {
    /// The first block of the list. Used by this core with preemption off.
    pub(super) head: Cell<*mut Block>,
    /// The length of the list. Only this core writes it, with preemption off, one write at a time.
    /// Other cores read it to count.
    pub(super) len: AtomicU32,
    /// How many blocks the magazine keeps at most. Used by this core with preemption off.
    pub(super) keep: Cell<u32>,
}

impl Magazine {
    const fn new(size: u16) -> Self {
        Self { head: Cell::new(null_mut()), len: AtomicU32::new(0), keep: Cell::new(first_keep(size)) }
    }

    /// Counts a trip to the shared store, and makes the next trip come later. Returns how many
    /// blocks the trip moves: half of what the magazine keeps.
    pub(super) fn trip(&self, class: usize) -> u32 {
        let keep = self.keep.get();
        self.keep.set((2 * keep).min(most_keep(SIZES[class])));
        record::add::<TRIPS>(1);
        keep / 2
    }

    #[inline(always)]
    pub(super) fn len(&self) -> u32 {
        self.len.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(super) fn pop(&self) -> Option<*mut u8> {
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
    pub(super) unsafe fn push(&self, block: *mut u8) {
        let block = block.cast::<Block>();
        // SAFETY: the caller's: the block is free memory of this class, so its first word may be
        // the link.
        unsafe { (*block).next = self.head.get() };
        self.head.set(block);
        self.len.store(self.len() + 1, Ordering::Relaxed);
    }
}

/// A core's magazines.
pub struct Magazines {
    pub(super) all: [Magazine; SIZES.len()],
    /// Trips to the shared store. Counted by [`percpu::add`], like the next two counters.
    pub(super) trips: AtomicU64,
    /// Bytes handed out on this core for layouts that no class serves, less those that came back
    /// here.
    pub(super) large: AtomicU64,
    /// Bytes of the heap's memory, counted in the same way.
    pub(super) mapped: AtomicU64,
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
    pub(super) fn with_resting(&self, f: impl FnOnce(&Self) -> bool) -> bool {
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
pub(super) fn sum(of: fn(&Magazines) -> &AtomicU64) -> u64 {
    record::all().fold(0, |sum, core| sum.wrapping_add(of(&core.magazines).load(Ordering::Relaxed)))
}

/// Offsets of the counts in a core's record, for [`percpu::add`].
const TRIPS: usize = offset_of!(Record, magazines) + offset_of!(Magazines, trips);

pub(super) const LARGE: usize = offset_of!(Record, magazines) + offset_of!(Magazines, large);

pub(super) const MAPPED: usize = offset_of!(Record, magazines) + offset_of!(Magazines, mapped);

impl Default for Magazines {
    fn default() -> Self {
        Self::new()
    }
}
