//! A G's stack: a window of addresses that is backed by memory as it is touched.
//!
// ANCHOR: window
//! ```text
//!   lo                                                                               hi
//!   │ guard  │ red  red  red  red │ … mapped on touch …                │ top page    │
//!   │ never  │ a touch is an      │                                    │ mapped at   │
//!   │ mapped │ overflow           │                                    │ birth       │
//! ```
// ANCHOR_END: window
//!
//! No copying, no moved pointers, no check in a function's prologue. The first touch of a page
//! faults, and the #PF handler (on a stack of its own) maps a frame (`fault.rs`). Rust probes large
//! frames page by page, so no frame can jump over the guard.
//!
//! A parked G gives back the memory that it does not need. Pages far below its stack pointer go
//! back. If it stays parked and has used little, the top page goes too, packed into a block of the
//! heap (`packed.rs`, `scavenge/`). Every entry of these page tables changes only by the steps of
//! [`trefoil_sched::internals::page`].
//!
//! A default window belongs to its G's record for good, with or without memory. A larger one goes
//! back to its class when its G ends. The window of a G that was *ended where it stood* is retired:
//! other G's may still have a pointer into it. So its memory stays until all members of the G's
//! scopes have ended. Its addresses are never used again. A touch after that is a fault that names
//! the G of the window (`retired.rs`).
//!
//! The top word names the owner of a window, and handlers read it:
//!
//! | top word | the window |
//! |---|---|
//! | 0 | is being given to a G |
//! | the G's address | is that G's, which lives or is free |
//! | the same, `RETIRED` | is that G's, which was ended where it stood; its frames are kept |
//! | the same, but the G lives elsewhere | is its deathbed (`deathbed.rs`) |
//! | another window's end, `LINK` | has no owner, and is in the list of `stale.rs` |
//!
//! A walker of these page tables holds preemption off (or is a handler), and no epoch ends
//! meanwhile. So a table that the walker has found is not freed under it.

pub mod deathbed;
mod fault;
mod packed;
mod retired;
pub mod scavenge;
mod walk;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use trefoil_sched::internals::page::Backing;
use trefoil_sched::internals::state::State;
use trefoil_sched::platform::NoStack;
use trefoil_sched::{G, GRef, PreemptGuard, Stack};

use super::frames::FRAME;
use super::heap;
use super::phys_to_virt;
use crate::arch::lock::Lock;
use crate::mm::record::{self, Record};

pub use fault::{FaultReserve, RESERVE, WindowFault, fault, fill_reserve, reserve_frames};
pub use packed::{Deferred, free_deferred, is_packed, put_back};
pub use retired::{frames as tree_frames, is_dead, owner_of, retire_window};

const BASE: u64 = 0xffff_a000_0000_0000;
/// Each class has 8 TiB of addresses.
const CLASS_SHIFT: u32 = 43;
/// Sizes of the windows of each class.
const CLASSES: [u64; 4] = [256 << 10, 1 << 20, 16 << 20, 1 << 30];
/// Pages at the low end that are never mapped (the guard) or whose touch is an overflow (red).
const GUARD: u64 = FRAME;
const FORBIDDEN: u64 = 5 * FRAME;

/// In a window's top word, beside the G's address.
const RETIRED: usize = 1;
/// In a window's top word, beside a link.
const LINK: usize = 2;
const _: () = assert!(align_of::<G>() > (RETIRED | LINK));

/// A window's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Lowest.
    pub lo: u64,
    /// One past the highest.
    pub hi: u64,
}

impl Window {
    /// Returns the window that `addr` lies in, if `addr` lies in the windows' part of the
    /// addresses.
    pub fn of(addr: u64) -> Option<Self> {
        let offset = addr.checked_sub(BASE)?;
        let class = (offset >> CLASS_SHIFT) as usize;
        let size = *CLASSES.get(class)?;
        let lo = addr & !(size - 1);
        Some(Self { lo, hi: lo + size })
    }

    /// Returns true if `addr` lies in the window.
    pub fn contains(self, addr: u64) -> bool {
        (self.lo..self.hi).contains(&addr)
    }

    /// Returns true if `addr` lies in the guard or the red pages of the window.
    pub fn is_forbidden(self, addr: u64) -> bool {
        addr.wrapping_sub(self.lo) < FORBIDDEN
    }

    fn class(self) -> usize {
        ((self.lo - BASE) >> CLASS_SHIFT) as usize
    }

    fn top(self) -> u64 {
        self.hi - FRAME
    }

    /// Returns the top word; 0 if the top page is absent or packed. With preemption off, or in a
    /// handler.
    ///
    /// Not read through the window: the G may have got past its top page by an old entry of this
    /// core's TLB, while the page is in limbo.
    #[inline(always)]
    fn top_word(self) -> usize {
        let word = loop {
            match walk::find(self.top()) {
                (0, _, Backing::Present(word) | Backing::Limbo(word)) => break word,
                // The scavenger has found a table without pages, and a page has come since.
                (_, entry, Backing::Limbo(word)) => _ = entry.restore(word),
                _ => return 0,
            }
        };
        let top_word = phys_to_virt((word & walk::ADDRESS) + FRAME - 8).cast::<usize>();
        // SAFETY: a word of a frame that is not freed before this core passes an epoch. The word is
        // written whole.
        unsafe { top_word.read_volatile() }
    }

    /// Returns the G that owns the window, which must not be packed. As
    /// [`top_word`](Self::top_word).
    #[inline(always)]
    fn owner(self) -> Option<GRef> {
        let word = self.top_word();
        if word & LINK != 0 {
            return None;
        }
        // SAFETY: without the tags it is 0 or the address of a G; G's live for ever.
        unsafe { ((word & !RETIRED) as *const G).as_ref() }
    }

    /// Returns true if code other than the window's G may need its pages. The G must live, or have
    /// been ended where it stood with its frames kept. Red pages count only if the G has used them
    /// up: a G that is doomed may have parked there. In a handler; not of a packed stack.
    #[cold]
    #[optimize(size)]
    fn may_be_borrowed(self, addr: u64) -> bool {
        let retired = self.top_word() & RETIRED != 0;
        self.owner().is_some_and(|g| {
            let lives = retired || !matches!(g.state(), State::Idle | State::Dead);
            lives && addr - self.lo >= GUARD && (!self.is_forbidden(addr) || g.doomed().is_some())
        })
    }
}

impl From<Stack> for Window {
    fn from(stack: Stack) -> Self {
        Self { lo: stack.lo as u64, hi: stack.hi as u64 }
    }
}

impl From<Window> for Stack {
    fn from(window: Window) -> Self {
        Self { lo: window.lo as usize, hi: window.hi as usize }
    }
}

/// The addresses of one class.
struct Class {
    /// Windows that were ever made.
    made: AtomicU64,
    /// Windows in use.
    out: AtomicU64,
    /// Numbers of free windows, with no memory. If there is no memory to remember a window, its
    /// addresses are given up.
    free: Lock<Vec<u32>>,
}

static CLASS: [Class; 4] =
    [const { Class { made: AtomicU64::new(0), out: AtomicU64::new(0), free: Lock::new(Vec::new()) } }; 4];

/// Takes addresses of size class `class`.
fn addresses(class: usize) -> Option<Window> {
    let size = CLASSES[class];
    let free = CLASS[class].free.lock().pop().map(u64::from);
    let number = free.or_else(|| {
        let made = CLASS[class].made.fetch_add(1, Ordering::Relaxed);
        let fits = made < (1 << CLASS_SHIFT) / size;
        if !fits {
            CLASS[class].made.fetch_sub(1, Ordering::Relaxed);
        }
        fits.then_some(made)
    })?;
    CLASS[class].out.fetch_add(1, Ordering::Relaxed);
    let lo = BASE + ((class as u64) << CLASS_SHIFT) + number * size;
    Some(Window { lo, hi: lo + size })
}

/// Takes back addresses without memory.
fn forget(window: Window) {
    let class = window.class();
    let number = (window.lo - BASE - ((class as u64) << CLASS_SHIFT)) / CLASSES[class];
    CLASS[class].out.fetch_sub(1, Ordering::Relaxed);
    let mut free = CLASS[class].free.lock();
    if free.try_reserve(1).is_ok() {
        free.push(number as u32);
    }
}

/// Allocates a window of `size` bytes (one of the classes) with its top page present.
///
/// # Errors
/// No memory; or no addresses, or no such class.
pub fn alloc(size: usize) -> Result<Window, NoStack> {
    let class = CLASSES.iter().position(|&c| c == size as u64).ok_or(NoStack::Addresses)?;
    let window = addresses(class).ok_or(NoStack::Addresses)?;
    if warm(window) {
        // SAFETY: the top page is there and the caller's. No G lives on it yet.
        unsafe { (window.hi as *mut usize).sub(1).write(0) };
        Ok(window)
    } else {
        forget(window);
        Err(NoStack::Memory)
    }
}

/// Makes sure that the top page of an unused window is present. Returns false if there is no
/// memory.
pub fn warm(window: Window) -> bool {
    walk::map_from_pool(window.top())
}

/// Frees a window. The scavenger takes its memory, if it has any, and its addresses, unless it is
/// retired.
///
/// # Safety
/// 1. The window came from [`alloc`]; no G runs on it, and nothing that is still alive points into
///    it, unless it is retired.
pub unsafe fn free(window: Window) {
    let _here = PreemptGuard::new();
    match walk::find(window.top()) {
        // The window of a free G, which has been stripped.
        (_, _, Backing::Empty) => return forget(window),
        // Also the window of a free G; its neighbours are packed, with their table.
        (1, _, Backing::Packed(word)) if !packed::table_has(word, window.top()) => return forget(window),
        _ => {}
    }
    let retired = window.top_word() & RETIRED != 0;
    if retired {
        retired::give_up(window);
    }
    let low = window.owner().map_or(window.lo, |g| g.stack_low.load(Ordering::Relaxed) as u64);
    // SAFETY: 1. the top page of a window is there, and its words are nobody's any more.
    unsafe { scavenge::put_stale(window, low, retired) }
}

/// Memory of the windows, in pages of 4 KiB. Exact when the other cores are quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WindowStats {
    /// Windows that G's have, free ones and [kept](Self::kept) ones included, and those that were
    /// retired. (A G that ends where it stands has another one, until the scavenger comes by.)
    pub windows: u64,
    /// Pages mapped in windows, those in limbo included.
    pub pages: u64,
    /// Page tables under the windows, of the last level.
    pub tables: u64,
    /// Stacks whose used bytes are packed.
    pub packed: u64,
    /// Bytes of the heap blocks that hold packed stacks and packed tables.
    pub packed_bytes: u64,
    /// Windows that were retired: their G's were ended where they stood, and their memory was given
    /// up.
    pub retired: u64,
    /// Windows whose G's were ended where they stood, with their memory: members of their scopes
    /// may borrow from it.
    pub kept: u64,
}

/// Counts the windows and their memory.
pub fn stats() -> WindowStats {
    let sum = |f: fn(&Record) -> i64| record::all().map(f).sum::<i64>().max(0) as u64;
    WindowStats {
        windows: CLASS.iter().map(|class| class.out.load(Ordering::Relaxed)).sum(),
        pages: sum(|core| core.stacks.pages.load(Ordering::Relaxed)),
        tables: sum(|core| core.stacks.tables.load(Ordering::Relaxed)),
        packed: sum(|core| core.stacks.packed.load(Ordering::Relaxed)),
        packed_bytes: sum(|core| core.stacks.packed_bytes.load(Ordering::Relaxed)),
        retired: retired::count(),
        kept: retired::kept(),
    }
}

/// Returns the number of page tables under the windows above the last level.
pub fn upper_tables() -> u64 {
    record::all().map(|core| core.stacks.upper_tables.load(Ordering::Relaxed)).sum::<i64>().max(0) as u64
}

/// Returns how many pages G's have got by touching them, ever.
pub fn grown() -> u64 {
    record::all().map(|core| core.stacks.grown.load(Ordering::Relaxed) as u64).sum()
}

/// Returns how many stacks were unpacked, ever.
pub fn unpacked() -> u64 {
    record::all().map(|core| core.stacks.unpacked.load(Ordering::Relaxed) as u64).sum()
}

/// Returns the G that lives on the stack that `addr` is part of. With preemption off, or when all
/// other cores have stopped.
pub fn lives_at(addr: u64) -> Option<GRef> {
    Window::of(addr)?.owner().filter(|g| !matches!(g.state(), State::Idle | State::Dead))
}

/// Returns the number of pages mapped in windows.
pub fn mapped_pages() -> u64 {
    stats().pages
}

/// Returns how many bytes of `g`'s window are mapped, and how deep its stack ever was in this life,
/// in bytes. If `g` runs on another core, the first number is a guess.
pub fn in_use(g: &G) -> (usize, usize) {
    let window = Window::from(g.stack());
    if window.hi == 0 {
        return (0, 0);
    }
    let low = g.stack_low.load(Ordering::Relaxed) as u64;
    // In pieces, with preemption on between them where the caller has it on.
    let (mut at, mut pages) = (low.max(window.lo).min(window.top()), 0);
    while at < window.hi {
        let to = window.hi.min(at + CLASSES[0]);
        pages += walk::count_backed(at..to);
        at = to;
    }
    let deepest = g.stack_deepest.load(Ordering::Relaxed) as u64;
    ((pages * FRAME) as usize, window.hi.saturating_sub(deepest.min(window.top())) as usize)
}

/// Returns the bytes of heap that the lists of free addresses take.
pub fn list_bytes() -> u64 {
    CLASS.iter().map(|class| heap::counted(class.free.lock().capacity() * size_of::<u32>())).sum()
}

/// Ends `g`, which runs here with preemption on and is doomed: a touch of its guard page takes the
/// way of every other overflow.
pub fn end_here(g: &G) {
    touch_guard(g.stack().lo);
}

/// Writes to the guard page that begins at `lo`, of the window that the caller runs on.
pub fn touch_guard(lo: usize) {
    // SAFETY: the lowest page of a window is never mapped, so this writes nothing; the fault
    // handler takes the core away from this G.
    unsafe { (lo as *mut u8).write_volatile(0) };
}
