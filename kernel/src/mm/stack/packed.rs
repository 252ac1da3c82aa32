//! Stacks that are packed while they are cold.
//!
//! ```text
//!   top page of a parked G (a frame of 4 KiB)             block on the heap
//!   │ never touched, or old bytes │ used bytes │   ───▶   │ used bytes │          the page's entry: PACKED, where, how many
//!                                 sp           hi
//!
//!   a last-level table with nothing but packed pages      block of 64 bytes
//!   │ … │ packed │ … │ packed │ … (8 windows)      ───▶   │ the eight entries │   the table's entry: PACKED, where
//! ```
//!
//! A touch of the page, on any core, through any pointer, brings the page back like a page from
//! compressed swap: at the same address, with the same bytes. Other code sees no difference. The
//! bytes below the used part are not kept: a parked G's stack is used from its stack pointer up.
//!
//! Packing runs on ordinary stacks and may use the heap. Unpacking runs in the #PF handler and may
//! not use the heap. So the handler puts an emptied block on its core's [`Deferred`] list.

use alloc::alloc::{Layout, alloc, dealloc};
use core::cell::Cell;
use core::ptr::null_mut;
use core::sync::atomic::Ordering;

use trefoil_sched::internals::page::{Backing, PageEntry};

use super::Window;
use super::walk::{self, ADDRESS, PAGE, TABLE};
use crate::mm::frames::FRAME;
use crate::mm::{heap, paging, phys_to_virt, record};

/// The most bytes that a packed stack may have used: half a page. More is hardly worth it, and fits
/// no size class.
pub(super) const MOST: u64 = 2048;

/// Where the entries of the top pages stand in a table of eight default windows.
const TOPS: [usize; 8] = [63, 127, 191, 255, 319, 383, 447, 511];
/// Bytes of a packed table.
const TABLE_BYTES: usize = size_of::<[u64; 8]>();

/// A block with packed bytes.
#[derive(Debug, Clone, Copy)]
struct Block {
    at: *mut u8,
    len: usize,
}

const ALIGN: usize = 16;
// gdb's script reads an entry in this form: `cargo-trefoil/gdb/trefoil_gdb/layout.py`.
/// The address, without the bits that are the same in all the kernel's addresses…
const AT_SHIFT: u32 = 12;
/// … and the length, in an entry that is not present.
const LEN_SHIFT: u32 = AT_SHIFT + UPPER.trailing_zeros() - ALIGN.trailing_zeros();
const UPPER: u64 = 0xffff_8000_0000_0000;
const _: () = assert!((MOST as usize / ALIGN) < 1 << (64 - LEN_SHIFT));

impl Block {
    fn layout(len: usize) -> Layout {
        // A block's length is at most MOST, so this is a layout.
        Layout::from_size_align(len, ALIGN).unwrap_or(Layout::new::<u128>())
    }

    /// Allocates room for `len` bytes, a multiple of 16.
    fn new(len: usize) -> Option<Self> {
        // SAFETY: callers pack at least one word: `len` is not 0.
        let at = unsafe { alloc(Self::layout(len)) };
        (!at.is_null()).then_some(Self { at, len })
    }

    fn free(self) {
        // SAFETY: it came from `new` with this length, and its owner gives it up.
        unsafe { dealloc(self.at, Self::layout(self.len)) };
    }

    /// Returns the block in the form that stands in an entry.
    fn reference(self) -> u64 {
        let (at, len) = ((self.at as u64 - UPPER) / ALIGN as u64, (self.len / ALIGN) as u64);
        (at << AT_SHIFT) | (len << LEN_SHIFT)
    }

    fn from_reference(word: u64) -> Self {
        let at = (word >> AT_SHIFT & ((1 << (LEN_SHIFT - AT_SHIFT)) - 1)) * ALIGN as u64 + UPPER;
        Self { at: at as *mut u8, len: (word >> LEN_SHIFT) as usize * ALIGN }
    }
}

/// Blocks that this core's #PF handler has emptied.
pub struct Deferred(Cell<*mut Link>);

struct Link {
    next: *mut Link,
    len: usize,
}

impl Deferred {
    /// Creates an empty list.
    pub const fn new() -> Self {
        Self(Cell::new(null_mut()))
    }

    fn push(&self, block: Block) {
        let link = block.at.cast::<Link>();
        // SAFETY: the block is ours, at least 16 bytes, and aligned to 16.
        unsafe { link.write(Link { next: self.0.get(), len: block.len }) };
        self.0.set(link);
    }

    /// Returns true if the list is empty.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.0.get().is_null()
    }
}

impl Default for Deferred {
    fn default() -> Self {
        Self::new()
    }
}

/// Frees the blocks that this core's handler could not free. On g0 or a G's stack, with preemption
/// off.
#[cold]
pub fn free_deferred() {
    let mut at = record::current().deferred.0.replace(null_mut());
    while !at.is_null() {
        // SAFETY: `push` wrote the link, and the list is ours.
        let Link { next, len } = unsafe { at.read() };
        Block { at: at.cast(), len }.free();
        at = next;
    }
}

/// Packs the page whose entry has been in `limbo` for an epoch and of which the `used` uppermost
/// bytes matter. Returns the frame, which the caller then owns. `None`: no memory for a block, or a
/// touch was faster.
pub(super) fn pack_page(entry: &PageEntry, limbo: u64, used: u64) -> Option<u64> {
    let block = Block::new(used.next_multiple_of(ALIGN as u64) as usize)?;
    let frame = limbo & ADDRESS;
    // SAFETY: both places are `len` bytes. If the page is in use again, the bytes change during the
    // read: the copy is thrown away then.
    unsafe { block.at.copy_from_nonoverlapping(phys_to_virt(frame + FRAME - block.len as u64), block.len) };
    if !entry.pack(limbo, block.reference()) {
        block.free();
        return None;
    }
    let stacks = &record::current().stacks;
    stacks.pages.fetch_sub(1, Ordering::Relaxed);
    stacks.packed.fetch_add(1, Ordering::Relaxed);
    stacks.packed_bytes.fetch_add(heap::counted(block.len) as i64, Ordering::Relaxed);
    Some(frame)
}

/// Unpacks a page into a frame that `take` gives. Returns false if `take` has none. Another core
/// may unpack the page at the same time and be faster.
#[inline(always)]
pub(super) fn unpack_page(
    entry: &PageEntry,
    word: u64,
    take: &mut impl FnMut() -> Option<u64>,
    give: &mut impl FnMut(u64),
) -> bool {
    let Some(frame) = take() else { return false };
    let block = Block::from_reference(word);
    walk::poison(frame);
    // SAFETY: both places are `len` bytes, and the frame is ours. If another core is faster, the
    // block may have another owner by now, or its page may be gone; the copy is thrown away.
    unsafe { heap::read(block.at, phys_to_virt(frame + FRAME - block.len as u64), block.len) };
    if !entry.unpack(word, frame | PAGE) {
        give(frame);
        return true;
    }
    let core = record::current();
    core.deferred.push(block);
    core.stacks.pages.fetch_add(1, Ordering::Relaxed);
    core.stacks.packed.fetch_sub(1, Ordering::Relaxed);
    core.stacks.packed_bytes.fetch_sub(heap::counted(block.len) as i64, Ordering::Relaxed);
    core.stacks.unpacked.fetch_add(1, Ordering::Relaxed);
    true
}

/// The content of a last-level table.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing.
    Nothing,
    /// Packed top pages of default windows only: their entries, 0 for none.
    Packed([u64; 8]),
    /// At least one page, or a page in limbo.
    Pages,
}

/// Returns the content of the table in frame `table`.
pub(super) fn content(table: u64) -> Content {
    let (mut tops, mut any) = ([0; 8], false);
    // The usual places of pages come first: a few looks are enough for most tables.
    for (top, index) in tops.iter_mut().zip(TOPS) {
        match walk::entry(table, index).get() {
            Backing::Empty => {}
            Backing::Packed(word) => {
                *top = word;
                any = true;
            }
            _ => return Content::Pages,
        }
    }
    let is_top = |index: usize| index % 64 == 63;
    if (0..512).any(|index| !is_top(index) && !matches!(walk::entry(table, index).get(), Backing::Empty)) {
        return Content::Pages;
    }
    if any { Content::Packed(tops) } else { Content::Nothing }
}

/// Takes the table away whose entry has been in `limbo` for an epoch, if it has no page. The caller
/// then owns its frame. Else the table is put back.
pub(super) fn pack_table(entry: &PageEntry, limbo: u64, may_pack: bool) -> Option<u64> {
    let table = limbo & ADDRESS;
    let taken = match content(table) {
        Content::Nothing => entry.reclaim(limbo),
        Content::Packed(tops) if may_pack => match Block::new(TABLE_BYTES) {
            Some(block) => {
                // SAFETY: the block is ours, TABLE_BYTES long and aligned.
                unsafe { block.at.cast::<[u64; 8]>().write(tops) };
                let packed = entry.pack(limbo, block.reference());
                if packed {
                    record::current().stacks.packed_bytes.fetch_add(TABLE_BYTES as i64, Ordering::Relaxed);
                } else {
                    block.free();
                }
                packed
            }
            None => false,
        },
        _ => false,
    };
    if !taken {
        // If that fails, a touch was faster.
        entry.restore(limbo);
        return None;
    }
    record::current().stacks.tables.fetch_sub(1, Ordering::Relaxed);
    Some(table)
}

/// Unpacks a packed table, as [`unpack_page`] does a page.
pub(super) fn unpack_table(
    entry: &PageEntry,
    word: u64,
    take: &mut impl FnMut() -> Option<u64>,
    give: &mut impl FnMut(u64),
) -> bool {
    let Some(table) = take() else { return false };
    let block = Block::from_reference(word);
    walk::clear(table);
    // SAFETY: the block holds eight words, or has been freed by a faster core, and then the table
    // is thrown away. The frame is ours.
    unsafe {
        let mut words = [0u64; 8];
        heap::read(block.at, words.as_mut_ptr().cast(), TABLE_BYTES);
        for (index, word) in TOPS.into_iter().zip(words) {
            phys_to_virt(table).cast::<u64>().add(index).write(word);
        }
    }
    if !entry.unpack(word, table | TABLE) {
        give(table);
        return true;
    }
    let core = record::current();
    core.deferred.push(block);
    core.stacks.tables.fetch_add(1, Ordering::Relaxed);
    core.stacks.packed_bytes.fetch_sub(TABLE_BYTES as i64, Ordering::Relaxed);
    true
}

/// Returns true if a packed table has an entry for the page at `addr`. With preemption off.
pub(super) fn table_has(word: u64, addr: u64) -> bool {
    let index = (addr / FRAME) as usize & 511;
    // SAFETY: the block holds eight words. If a faster core unpacks the table, the block is not
    // freed before this core passes an epoch.
    let words = unsafe { Block::from_reference(word).at.cast::<[u64; 8]>().read_volatile() };
    TOPS.into_iter().zip(words).any(|(at, word)| at == index && word != 0)
}

/// Returns true if the top page of the window that ends at `hi` is packed.
pub fn is_packed(hi: u64) -> bool {
    matches!(walk::find(hi - FRAME), (_, _, Backing::Packed(_)))
}

/// Returns the frame of a packed stack after a report's look, so that it may serve for the next
/// look. All other cores have stopped, and the G never runs again.
pub fn put_back(hi: u64) {
    let top = Window::of(hi - 1).map_or(hi - FRAME, Window::top);
    let (0, entry, Backing::Present(word)) = walk::find(top) else { return };
    if entry.retire()
        && let Backing::Limbo(limbo) = entry.get()
        && entry.reclaim(limbo)
    {
        // This core forgets one translation; the others have stopped.
        paging::forget(top);
        record::current().reserve.put_back(word & ADDRESS);
    }
}
