//! Pieces of the heap for which there is no run of frames: frames from anywhere, mapped side by
//! side.
//!
//! ```text
//!   a place       2^k pages of addresses, aligned to that; its length never changes
//!
//!   unused  ──alloc──▶  in use  ──free: unmapped, frames go back──▶  resting  ──▶  waiting  ──▶  free
//!      ▲                   ▲                                             an epoch       it is      │
//!      │ new addresses     │                                             begins         over       │
//!      └───────────────────┴───────────────────────── alloc ───────────────────────────────────────┘
//! ```
//!
//! The *frames* of a piece go back at once: no code touches the addresses of a freed block. But
//! other cores may still have old TLB entries for those addresses. So the *addresses* rest until
//! every core has flushed (`sched/src/stack/epoch.rs`). No allocation waits for that: as long as an
//! epoch lasts, new addresses are taken. If a place is wanted and none is free, laggards are asked
//! to pass.
//!
//! * A place that is not in use stands in one list of its order. The link is its first page's entry
//!   in the page table, which is not present then. Tables are never freed.
//! * Frames are taken, mapped and given back [`BATCH`] at a time. Preemption is off for one batch,
//!   if the caller has it on. No lock is held while a page is mapped. A G that ends between two
//!   batches leaves the accounts right.
//! * All pages or none: if frames run out on the way, the frames taken so far go back.
//!
//! **The hard race** is with a core that unpacks a stack from a block here while another core has
//! been faster. The other core has freed the block, so the page may be gone. So the slower core
//! reads through the page table ([`read`]), and throws away the bytes that it has read.
//!
//! Rejected: an interrupt to all cores for each free. Also rejected: addresses that are never used
//! again, since page tables would grow for ever. Also rejected: moving the stacks' pages out of the
//! way, since each needs its G held, and an epoch.

use core::sync::atomic::Ordering;

use super::pages;
use crate::arch::lock::Lock;
use crate::arch::tlb::flush_tlb;
use crate::arch::{apic, percpu};
use crate::mm::frames::{self, BATCH, FRAME};
use crate::mm::paging;
use crate::mm::phys_to_virt;
use crate::mm::stack::scavenge::EPOCHS;

/// Where the addresses begin.
pub(super) const BASE: u64 = 0xffff_e000_0000_0000;
/// Bytes of addresses: 1 TiB.
const SPAN: u64 = 1 << 40;
/// Orders of places: from a page to the whole range.
const ORDERS: usize = 29;
const _: () = assert!(FRAME << (ORDERS - 1) == SPAN);

/// The mark in the entry of a place in a list: not present, with the address of the next place.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Places of one order, through their first entries. 0: none.
#[derive(Clone, Copy)]
struct List {
    first: u64,
    last: u64,
}

const EMPTY: List = List { first: 0, last: 0 };

/// Makes `at` the last place before `next`.
fn link(at: u64, next: u64) {
    if let Some(entry) = paging::find(at) {
        entry.store(next & ADDRESS, Ordering::Relaxed);
    }
}

impl List {
    fn push(&mut self, at: u64) {
        link(at, self.first);
        if self.first == 0 {
            self.last = at;
        }
        self.first = at;
    }

    fn pop(&mut self) -> Option<u64> {
        let at = self.first;
        if at == 0 {
            return None;
        }
        let next = paging::find(at)?.swap(0, Ordering::Relaxed);
        self.first = if next == 0 { 0 } else { next | !(ADDRESS | (FRAME - 1)) };
        Some(at)
    }

    /// Moves all places of `other` to this list.
    fn append(&mut self, other: &mut Self) {
        let theirs = core::mem::replace(other, EMPTY);
        if theirs.first == 0 {
            return;
        }
        if self.first == 0 {
            *self = theirs;
        } else {
            link(self.last, theirs.first);
            self.last = theirs.last;
        }
    }
}

struct Places {
    /// The beginning of the addresses that were never used.
    next: u64,
    free: [List; ORDERS],
    /// Places freed before `epoch` began.
    waiting: [List; ORDERS],
    /// Places freed since.
    resting: [List; ORDERS],
    /// The epoch that `waiting` waits for; 0: none.
    epoch: u64,
}

static PLACES: Lock<Places> = Lock::new(Places {
    next: BASE,
    free: [EMPTY; ORDERS],
    waiting: [EMPTY; ORDERS],
    resting: [EMPTY; ORDERS],
    epoch: 0,
});

impl Places {
    /// Checks whether an epoch is over, and begins one if places rest.
    fn turn(&mut self, holds_nothing: bool) {
        for _ in 0..2 {
            if self.epoch == 0 && self.resting.iter().any(|list| list.first != 0) {
                core::mem::swap(&mut self.waiting, &mut self.resting);
                self.epoch = EPOCHS.begin();
            }
            if holds_nothing && let Some(m) = percpu::current().m() {
                EPOCHS.pass(m.index(), flush_tlb);
            }
            if self.epoch == 0 || !EPOCHS.is_over(self.epoch) {
                break;
            }
            self.free.iter_mut().zip(&mut self.waiting).for_each(|(free, waiting)| free.append(waiting));
            self.epoch = 0;
        }
    }

    /// Takes a place of an order. `None`: all addresses are used up.
    fn take(&mut self, order: usize, holds_nothing: bool) -> Option<u64> {
        if let Some(at) = self.free[order].pop() {
            return Some(at);
        }
        self.turn(holds_nothing);
        if let Some(at) = self.free[order].pop() {
            return Some(at);
        }
        if self.waiting[order].first != 0 {
            let me = percpu::current().index();
            for core in EPOCHS.laggards(self.epoch).filter(|&m| m != me).filter_map(percpu::get) {
                apic::send_flush(core.lapic_id());
            }
        }
        let bytes = FRAME << order;
        let at = self.next.next_multiple_of(bytes);
        if at + bytes > BASE + SPAN {
            return None;
        }
        self.next = at + bytes;
        Some(at)
    }
}

/// Returns the order of a place for so many pages.
fn order(pages: u64, align: u64) -> Option<usize> {
    let order = pages.max(align).checked_next_power_of_two()?.ilog2() as usize;
    (order < ORDERS).then_some(order)
}

/// Maps `pages` more pages at `at`. Returns false, and maps none, if there are not so many frames.
fn map(at: u64, pages: u64) -> bool {
    let mut done = 0;
    while done < pages {
        percpu::preempt_off();
        let (mut batch, mut mapped) = ([0; BATCH], 0);
        let mut len = 0;
        // The request includes the frames of the page tables.
        let got = frames::alloc_some(pages - done + (pages - done) / 512 + 3, |frame| {
            batch[len] = frame;
            len += 1;
        })
        .min(pages - done);
        pages::count(got as i64);
        for &frame in &batch[..got as usize] {
            if paging::map_page(at + (done + mapped) * FRAME, frame, paging::DATA).is_err() {
                break;
            }
            mapped += 1;
        }
        // SAFETY: 1. no code uses the frames that were not mapped.
        batch[mapped as usize..len].iter().for_each(|&frame| unsafe { frames::free(frame) });
        pages::count(mapped as i64 - got as i64);
        percpu::preempt_on();
        done += mapped;
        if mapped < got || got == 0 {
            unmap(at, done);
            return false;
        }
    }
    true
}

/// Unmaps `pages` pages at `at`, and gives their frames back.
fn unmap(at: u64, pages: u64) {
    for batch in (0..pages).step_by(BATCH) {
        let end = pages.min(batch + BATCH as u64);
        percpu::preempt_off();
        for page in batch..end {
            if let Some(frame) = paging::unmap_page(at + page * FRAME) {
                // SAFETY: 1. the frame was mapped here alone, and no code touches this address
                // before all cores have flushed it.
                unsafe { frames::free(frame) };
            }
        }
        pages::count(batch as i64 - end as i64);
        percpu::preempt_on();
    }
}

/// Allocates a piece, as [`pages::alloc`].
#[cold]
#[inline(never)]
#[optimize(size)]
pub(super) fn alloc(pages: u64, align: u64) -> *mut u8 {
    let null = core::ptr::null_mut();
    let Some(order) = order(pages, align) else { return null };
    if !frames::heap_may_have(pages) {
        return null;
    }
    let holds_nothing = percpu::depth() == 0 && !percpu::in_handler();
    let Some(at) = PLACES.lock().take(order, holds_nothing) else { return null };
    // Without a table for its first page the place could stand in no list, so its addresses are
    // given up.
    if paging::leaf(at).is_err() {
        return null;
    }
    if map(at, pages) {
        return at as *mut u8;
    }
    PLACES.lock().resting[order].push(at);
    null
}

/// Frees a piece, as [`pages::free`].
///
/// # Safety
/// 1. As there.
#[cold]
#[inline(never)]
pub(super) unsafe fn free(at: u64, pages: u64, align: u64) {
    unmap(at, pages);
    if let Some(order) = order(pages, align) {
        PLACES.lock().resting[order].push(at);
    }
}

/// Resizes a piece, as [`pages::resize`]. A piece only becomes shorter: other cores may have old
/// TLB entries for the addresses behind it.
///
/// # Safety
/// 1. As there.
#[cold]
#[inline(never)]
pub(super) unsafe fn resize(at: u64, pages: u64, new: u64) -> bool {
    if new > pages {
        return false;
    }
    // The piece leaves with its new length: the rest of its place is given up.
    unmap(at + new * FRAME, pages - new);
    true
}

/// Copies `len` bytes of heap memory that may be free, and even unmapped. Takes no lock: for the
/// #PF handler.
///
/// # Safety
/// 1. `from` is, or was, a block of `len` bytes, and `to` has room for them.
#[cold]
#[inline(never)]
pub(super) unsafe fn read(from: *const u8, to: *mut u8, len: usize) {
    let mut done = 0;
    while done < len {
        let at = from as u64 + done as u64;
        let piece = (len - done).min((FRAME - at % FRAME) as usize);
        if let Some((frame, _)) = paging::translate(at) {
            // SAFETY: 1. the frame was a block's, and the physical map covers it, for any owner of
            // the frame.
            unsafe { to.add(done).copy_from_nonoverlapping(phys_to_virt(frame + at % FRAME), piece) };
        }
        done += piece;
    }
}
