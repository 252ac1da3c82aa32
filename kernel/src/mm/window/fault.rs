//! A touch of a page that is not there.
//!
//! **The hard race** is with oneself. A #PF is not held back by `cli` or by preemption being off: it can hit code that holds the
//! frame pool's lock, or is in the middle of the frame cache, on this very core. So the handler takes frames from the core's
//! [`FaultReserve`], which nobody else pops, and fills it up again only when it interrupted code at depth 0, which holds no lock; or whoever turns
//! preemption on does, or g0, at the next scheduling point. What it has to free (packed blocks) goes on a list of its core that g0 empties.
//!
//! | what is touched | by the stack's own G | by anybody else |
//! |---|---|---|
//! | an empty page | it grows | a stack that has ended: a named fault |
//! | a page in limbo | comes back | comes back; of a stack that has ended, at depth 0: a named fault |
//! | a packed page | is unpacked | is unpacked |
//! | a red page, depth 0 | that G ends: overflow | a wild pointer |
//! | a red page, depth > 0 | is mapped; the G ends when preemption is on again | a wild pointer |
//! | the guard | overflow; at depth > 0 the machine ends | a wild pointer |
//!
//! "Its own" is decided by the interrupted `rsp`: it lies in the same window. That is right even in the few instructions before a switch, where
//! the M already names the next G.
//!
//! The last [`EMERGENCY`] frames of the reserve are for depth > 0 only: code that can't be ended where it stands gets through to where it can.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering};

use trefoil_sched::entry::Backing;
use trefoil_sched::{Cause, M};

use super::walk::{self, PAGE};
use super::{FORBIDDEN, GUARD, Window, packed, retired};
use crate::arch::percpu::{self, PerCpu};
use crate::mm::frames::{self, FRAME};
use crate::mm::inject;

/// Frames of one core that only its #PF handler takes. Other code of that core may be in the middle of adding one.
pub struct FaultReserve {
    len: AtomicUsize,
    frames: UnsafeCell<[u64; RESERVE]>,
}

/// Enough for 256 KiB of stack and its tables, touched without a moment at depth 0, and the emergency.
pub const RESERVE: usize = 80;
/// Four red pages, a table for each of two levels, and some to spare.
const EMERGENCY: usize = 12;

impl FaultReserve {
    /// Empty; [`fill_reserve`] fills it.
    pub const fn new() -> Self {
        Self { len: AtomicUsize::new(0), frames: UnsafeCell::new([0; RESERVE]) }
    }

    /// In the handler.
    #[inline(always)]
    fn pop(&self, keep: usize) -> Option<u64> {
        let len = self.len.load(Ordering::Relaxed);
        if len <= keep {
            return None;
        }
        self.len.store(len - 1, Ordering::Relaxed);
        // SAFETY: this core only, and no handler interrupts this one: nobody else touches the array. `len` is at most RESERVE.
        Some(unsafe { (*self.frames.get())[len - 1] })
    }

    /// Adds a frame. The handler may come in between, take some and give some back: then the length has changed, or everything below it is as it was.
    /// False: it is full.
    #[inline(always)]
    fn push(&self, frame: u64) -> bool {
        loop {
            let len = self.len.load(Ordering::Relaxed);
            if len >= RESERVE {
                return false;
            }
            // SAFETY: as in `pop`; the place is not counted yet. Volatile: it is written before it is counted.
            unsafe { self.frames.get().cast::<u64>().add(len).write_volatile(frame) };
            if self.len.compare_exchange(len, len + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
    }

    /// A frame that the report path has borrowed.
    pub(super) fn put_back(&self, frame: u64) {
        self.push(frame);
    }

    /// Whether g0 should fill it up.
    #[inline(always)]
    pub fn is_low(&self) -> bool {
        self.len.load(Ordering::Relaxed) < RESERVE / 2
    }
}

impl Default for FaultReserve {
    fn default() -> Self {
        Self::new()
    }
}

/// Fills this core's reserve: in the #PF handler over code at depth 0, or with preemption off; with no lock of the frames held by this core.
#[cold]
pub fn fill_reserve() {
    let reserve = &percpu::current().reserve;
    if frames::alloc_while(|frame| reserve.push(frame)) {
        return;
    }
    // The pool is empty; this core may have kept some.
    while reserve.len.load(Ordering::Relaxed) < RESERVE {
        let Some(frame) = frames::alloc() else { return };
        if !reserve.push(frame) {
            // SAFETY: 1. it is nobody's.
            return unsafe { frames::free(frame) };
        }
    }
}

/// Frames in all cores' reserves.
pub fn reserve_frames() -> u64 {
    percpu::all().map(|core| core.reserve.len.load(Ordering::Relaxed) as u64).sum()
}

/// What a page fault at an address means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowFault {
    /// The page is there now: go on.
    Resolved,
    /// Guard or red page of the stack that was in use: it has overflowed.
    Overflow,
    /// No frame is left for a page of the stack that was in use.
    OutOfMemory,
    /// A page of some other stack that has nothing behind it: that G has ended, or the pointer is wild.
    DeadStack,
    /// The address is not in any window.
    NotAWindow,
}

/// Handles a fault on an absent page at `addr`, in code whose stack pointer was `rsp` and in which preemption was off `depth` deep. In the #PF
/// handler: interrupts off.
pub fn fault(addr: u64, rsp: u64, depth: u32) -> WindowFault {
    let Some(window) = Window::of(addr) else { return WindowFault::NotAWindow };
    let core = percpu::current();
    // `rsp` may be one past the top, on a stack that is just being left.
    let own = window.contains(rsp - 1);
    if depth == 0 && core.reserve.is_low() {
        fill_reserve();
    }
    let keep = if depth == 0 { EMERGENCY } else { 0 };
    let red = addr - window.lo < FORBIDDEN;
    if red && own && (depth == 0 || addr - window.lo < GUARD) {
        return WindowFault::Overflow;
    }
    let mut grew = false;
    let verdict = resolve(core, window, addr, own, keep, &mut grew);
    if red && own && verdict == WindowFault::Resolved {
        doom(window, Cause::StackOverflow);
    }
    if core.reserve.is_low()
        && let Some(m) = core.m()
    {
        // Preemption was off, or memory is short: whoever turns it on sees to it, or the next scheduling point.
        m.attend_platform();
        if depth > 0 {
            percpu::pend();
        }
        if depth > 0 && core.reserve.len.load(Ordering::Relaxed) < EMERGENCY && grew && frames::is_used_up() {
            doom(window, Cause::OutOfMemory);
        }
    }
    verdict
}

/// The G that lives on `window` ends when preemption is on again.
#[cold]
fn doom(window: Window, cause: Cause) {
    if let Some(g) = window.owner() {
        g.doom(cause);
        percpu::pend();
    }
}

#[inline(always)]
fn resolve(core: &PerCpu, window: Window, addr: u64, own: bool, keep: usize, grew: &mut bool) -> WindowFault {
    loop {
        let (level, entry, backing) = walk::find(addr);
        match backing {
            Backing::Present(_) => return WindowFault::Resolved,
            // Else who touches it again and again would keep it for ever, and whoever waits for its frame as well.
            Backing::Limbo(_) if !own && keep > 0 && retired::is_dead(addr) => return WindowFault::DeadStack,
            Backing::Limbo(word) => {
                if entry.restore(word) && level == 0 && own {
                    note_depth(core, window, addr);
                }
            }
            Backing::Empty if !own => return WindowFault::DeadStack,
            Backing::Empty if keep > 0 && inject::denies_growth() => return WindowFault::OutOfMemory,
            Backing::Empty => {
                let Some(frame) = core.reserve.pop(keep) else { return WindowFault::OutOfMemory };
                let used = if level == 0 {
                    walk::poison(frame);
                    entry.map(frame | PAGE)
                } else {
                    walk::put_table(entry, level, frame)
                };
                if !used {
                    core.reserve.push(frame);
                } else if level == 0 {
                    core.stacks.pages.fetch_add(1, Ordering::Relaxed);
                    core.stacks.grown.fetch_add(1, Ordering::Relaxed);
                    note_depth(core, window, addr);
                    *grew = true;
                    return WindowFault::Resolved;
                }
            }
            Backing::Packed(word) => {
                let (mut take, mut give) = (|| core.reserve.pop(0), |frame| _ = core.reserve.push(frame));
                let unpacked = if level == 0 {
                    packed::unpack_page(entry, word, &mut take, &mut give)
                } else {
                    packed::unpack_table(entry, word, &mut take, &mut give)
                };
                if !unpacked {
                    return WindowFault::OutOfMemory;
                }
            }
        }
    }
}

/// The stack of `window` reaches down to `addr` now. Its own G does that, so nobody else writes what is written here.
#[inline(always)]
fn note_depth(core: &PerCpu, window: Window, addr: u64) {
    // Nearly always the one that runs; between a switch and its beginning it is another.
    let running = core.m().and_then(M::running).filter(|g| Window::from(g.stack()) == window);
    if let Some(g) = running.or_else(|| window.owner()) {
        let page = (addr & !(FRAME - 1)) as usize;
        if page < g.stack_low.load(Ordering::Relaxed) {
            g.stack_low.store(page, Ordering::Relaxed);
        }
        if page < g.stack_deepest.load(Ordering::Relaxed) {
            g.stack_deepest.store(page, Ordering::Relaxed);
        }
    }
}
