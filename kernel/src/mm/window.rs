//! A G's stack: a window of addresses that is backed by memory as it is touched.
//!
//! ```text
//!   lo                                                                               hi
//!   │ guard  │ red  red  red  red │ … mapped on touch …                │ top page    │
//!   │ never  │ a touch is an      │                                    │ mapped at   │
//!   │ mapped │ overflow, too      │                                    │ birth       │
//! ```
//!
//! No copying, no moved pointers, no check in a function's prologue: the first touch of a page faults, and the #PF handler (on a
//! stack of its own) maps a frame. Rust probes large frames page by page, so the guard can't be jumped over.
//!
//! **The hard race** is with oneself. A #PF is not held back by `cli` or by preemption being off: it can hit code that holds the
//! frame pool's lock on this very core. So the handler takes frames from the core's [`FaultReserve`], which nobody else pops, and
//! fills it up again only when it interrupted code at depth 0, which holds no lock; or g0 does, at the next scheduling point.
//!
//! A freed window keeps its pages and waits in a list (through its own top word) for the next G of its class; nothing is
//! unmapped here, so nothing has to be flushed. Giving pages back needs epochs and comes with shrinking.

use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicU64, Ordering};

use super::frames::{self, FRAME};
use super::lock::Lock;
use super::paging::{self, Flags, MapError};
use crate::arch::percpu;

const BASE: u64 = 0xffff_a000_0000_0000;
/// Each class has 512 GiB of addresses: one entry of the top-level table.
const CLASS_SHIFT: u32 = 39;
/// Sizes of the windows of each class.
const CLASSES: [u64; 4] = [256 << 10, 1 << 20, 16 << 20, 1 << 30];
/// Pages at the low end that are never mapped (the guard) or whose touch is an overflow (red).
const FORBIDDEN: u64 = 5 * FRAME;

/// A window's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Lowest.
    pub lo: usize,
    /// One past the highest.
    pub hi: usize,
}

struct Class {
    /// Windows made so far.
    made: u64,
    /// Free ones, linked through their top word; 0: none.
    free: u64,
}

static CLASS: [Lock<Class>; 4] = [const { Lock::new(Class { made: 0, free: 0 }) }; 4];
/// Pages mapped in windows.
static PAGES: AtomicU64 = AtomicU64::new(0);

/// Frames of one core that only its #PF handler takes.
pub struct FaultReserve {
    len: Cell<usize>,
    frames: UnsafeCell<[u64; RESERVE]>,
}

/// Enough for 256 KiB of stack and its tables, touched without a moment at depth 0.
const RESERVE: usize = 68;

impl FaultReserve {
    /// Empty; [`fill_reserve`] fills it.
    pub const fn new() -> Self {
        Self { len: Cell::new(0), frames: UnsafeCell::new([0; RESERVE]) }
    }

    fn pop(&self) -> Option<u64> {
        let len = self.len.get().checked_sub(1)?;
        self.len.set(len);
        // SAFETY: this core only, with interrupts off: nobody else touches the array.
        Some(unsafe { (*self.frames.get())[len] })
    }

    fn push(&self, frame: u64) {
        let len = self.len.get();
        // SAFETY: as in `pop`; callers keep `len` below RESERVE.
        unsafe { (*self.frames.get())[len] = frame };
        self.len.set(len + 1);
    }
}

impl Default for FaultReserve {
    fn default() -> Self {
        Self::new()
    }
}

/// Fills this core's reserve. With interrupts off, and no lock of this module held by this core.
pub fn fill_reserve() {
    let reserve = &percpu::current().reserve;
    while reserve.len.get() < RESERVE {
        let Some(frame) = frames::alloc() else { return };
        reserve.push(frame);
    }
}

fn class_base(class: usize) -> u64 {
    BASE + ((class as u64) << CLASS_SHIFT)
}

/// A window of `size` bytes (one of the classes) with its top page mapped. None: no such class, or no memory.
pub fn alloc(size: usize) -> Option<Window> {
    let class = CLASSES.iter().position(|&c| c == size as u64)?;
    let mut list = CLASS[class].lock();
    if list.free != 0 {
        let hi = list.free;
        // SAFETY: a free window is the list's; its top word is the link that `free` wrote.
        list.free = unsafe { (hi as *const u64).sub(1).read() };
        return Some(Window { lo: hi as usize - size, hi: hi as usize });
    }
    if (list.made + 1) * CLASSES[class] > 1 << CLASS_SHIFT {
        return None;
    }
    let lo = class_base(class) + list.made * CLASSES[class];
    let hi = lo + CLASSES[class];
    let frame = frames::alloc()?;
    if paging::map_page(hi - FRAME, frame, Flags::DATA).is_err() {
        // SAFETY: 1. it was not mapped.
        unsafe { frames::free(frame) };
        return None;
    }
    list.made += 1;
    PAGES.fetch_add(1, Ordering::Relaxed);
    Some(Window { lo: lo as usize, hi: hi as usize })
}

/// Keeps a window for the next G of its class.
///
/// # Safety
/// 1. It came from [`alloc`]; nobody runs on it and nothing points into it.
pub unsafe fn free(window: Window) {
    let Some(class) = CLASSES.iter().position(|&c| c == (window.hi - window.lo) as u64) else { return };
    let mut list = CLASS[class].lock();
    // SAFETY: 1., and the top page is always mapped.
    unsafe { (window.hi as *mut u64).sub(1).write(list.free) };
    list.free = window.hi as u64;
}

/// What a page fault at an address means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowFault {
    /// The page is there now: go on.
    Grown,
    /// Guard or red page: the stack has overflowed.
    Overflow,
    /// No frame is left.
    OutOfMemory,
    /// The address is not in any window.
    NotAWindow,
}

/// Handles a fault on an absent page at `addr`. In the #PF handler: interrupts off. `depth` is how deep preemption was off in the
/// interrupted code.
pub fn fault(addr: u64, depth: u32) -> WindowFault {
    let Some(offset) = addr.checked_sub(BASE) else { return WindowFault::NotAWindow };
    let class = (offset >> CLASS_SHIFT) as usize;
    let Some(&size) = CLASSES.get(class) else { return WindowFault::NotAWindow };
    if (addr - class_base(class)) % size < FORBIDDEN {
        return WindowFault::Overflow;
    }
    let core = percpu::current();
    if depth == 0 {
        fill_reserve();
    }
    let Some(frame) = core.reserve.pop() else { return WindowFault::OutOfMemory };
    poison(frame);
    let mapped = paging::map_with(addr & !(FRAME - 1), frame, Flags::DATA, &mut || core.reserve.pop(), &mut |unused| {
        core.reserve.push(unused)
    });
    if core.reserve.len.get() < RESERVE / 2
        && let Some(m) = core.m()
    {
        // Preemption was off all the time: the next scheduling point fills it up.
        m.attend_platform();
    }
    match mapped {
        Ok(()) => {
            PAGES.fetch_add(1, Ordering::Relaxed);
            core.stack_faults.fetch_add(1, Ordering::Relaxed);
            WindowFault::Grown
        }
        Err(MapError::Occupied) => {
            // Somebody with a pointer into this stack touched the page at the same time.
            core.reserve.push(frame);
            WindowFault::Grown
        }
        Err(MapError::OutOfMemory) => {
            core.reserve.push(frame);
            WindowFault::OutOfMemory
        }
    }
}

/// Debug builds fill new stack pages, so that reading before writing shows.
fn poison(frame: u64) {
    if cfg!(debug_assertions) {
        // SAFETY: the frame was taken from the reserve and is mapped nowhere yet.
        unsafe { super::phys_to_virt(frame).write_bytes(0xa5, FRAME as usize) };
    }
}

/// Pages mapped in windows so far.
pub fn mapped_pages() -> u64 {
    PAGES.load(Ordering::Relaxed)
}
