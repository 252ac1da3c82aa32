//! A touch of a page that is not there.
//!
//! **The hard race** is with oneself. A #PF is not held back by `cli` or by preemption being off:
//! it can hit code that holds the frame pool's lock, or is in the middle of the frame cache, on
//! this very core. So the handler takes frames from the core's [`FaultReserve`], which nobody else
//! pops. What it has to free (packed blocks) goes on a list of its core that g0 empties.
//!
//! When the reserve is low, the handler fills it from the pool, at any depth: a stack may grow with
//! preemption off as far as memory goes. It does not wait for its own core. If that is in the pool
//! already, or adds to the reserve, the handler uses what the reserve has, and the next fault tries
//! again: what is in there needs a few hundred bytes of stack. Over code at depth 0 none of that
//! can be.
//!
//! | what is touched | by the stack's own G | by anybody else |
//! |---|---|---|
//! | an empty page | it grows | of a G that lives, or is dead and [lends](super): is mapped; else a named fault |
//! | a page in limbo | comes back | comes back; of a stack that was given up, at depth 0: a named fault |
//! | a packed page | is unpacked | is unpacked |
//! | a red page, depth 0 | that G ends: overflow | a wild pointer, unless the G has used up its stack |
//! | a red page, depth > 0 | is mapped; the G ends when preemption is on again | the same |
//! | the guard | overflow; at depth > 0 the machine ends | a wild pointer |
//!
//! "Its own" is decided by the interrupted `rsp`: it lies in the same window. That is right even in
//! the few instructions before a switch, where the M already names the next G. A G on its
//! [deathbed](super::deathbed) grows that one.
//!
//! An empty page may well be somebody else's to touch first: the place for a value that a sender
//! writes may reach into a page that the receiver's stack has skipped, and a child may be the first
//! that writes to its parent's array.
//!
//! The last [`EMERGENCY`] frames of the reserve are for depth > 0 only: code that can't be ended
//! where it stands gets through to where it can.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering, compiler_fence};

use trefoil_sched::entry::Backing;
use trefoil_sched::{Cause, GRef, M};

use super::walk::{self, PAGE};
use super::{GUARD, Window, packed, retired};
use crate::arch::percpu::{self, PerCpu};
use crate::mm::frames::{self, FRAME};
use crate::mm::inject;

/// Frames of one core that only its #PF handler takes. Other code of that core may be in the middle
/// of adding one.
pub struct FaultReserve {
    len: AtomicUsize,
    /// Code of this core outside the handler is about to add one, not under the pool's lock.
    adding: AtomicBool,
    frames: UnsafeCell<[u64; RESERVE]>,
}

/// Enough for 256 KiB of stack and its tables, touched without a moment at depth 0, and the
/// emergency.
pub const RESERVE: usize = 80;
/// Four red pages, a table for each of two levels, and some to spare.
const EMERGENCY: usize = 12;

impl FaultReserve {
    /// Empty; [`fill_reserve`] fills it.
    pub const fn new() -> Self {
        Self { len: AtomicUsize::new(0), adding: AtomicBool::new(false), frames: UnsafeCell::new([0; RESERVE]) }
    }

    /// In the handler.
    #[inline(always)]
    fn pop(&self, keep: usize) -> Option<u64> {
        let len = self.len.load(Ordering::Relaxed);
        if len <= keep {
            return None;
        }
        self.len.store(len - 1, Ordering::Relaxed);
        // SAFETY: this core only, and no handler interrupts this one: nobody else touches the
        // array. `len` is at most RESERVE.
        Some(unsafe { (*self.frames.get())[len - 1] })
    }

    /// Adds a frame. The handler may come in between, take some and give some back: then the length
    /// has changed, or everything below it is as it was. (It fills the reserve only where nobody is
    /// in here.) False: it is full.
    #[inline(always)]
    fn push(&self, frame: u64) -> bool {
        loop {
            let len = self.len.load(Ordering::Relaxed);
            if len >= RESERVE {
                return false;
            }
            // SAFETY: as in `pop`; the place is not counted yet. Volatile: it is written before it
            // is counted.
            unsafe { self.frames.get().cast::<u64>().add(len).write_volatile(frame) };
            if self.len.compare_exchange(len, len + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
    }

    /// As `push`, outside the handler, with the pool's lock not held.
    fn add(&self, frame: u64) -> bool {
        // Relaxed: only this core's handler reads it, and finds what this core has written.
        self.adding.store(true, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        let added = self.push(frame);
        compiler_fence(Ordering::SeqCst);
        self.adding.store(false, Ordering::Relaxed);
        added
    }

    /// A frame that the report path has borrowed.
    pub(super) fn put_back(&self, frame: u64) {
        self.add(frame);
    }

    /// A frame for what must be recorded though there is no memory. Outside the handler, with
    /// preemption off, on a stack that does not grow.
    pub(super) fn take(&self) -> Option<u64> {
        self.pop(0)
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

/// Fills this core's reserve: in the #PF handler over code at depth 0, or with preemption off; with
/// no lock of the frames held by this core.
#[cold]
#[optimize(size)]
pub fn fill_reserve() {
    let reserve = &percpu::current().reserve;
    if frames::alloc_while(|frame| reserve.push(frame)) {
        return;
    }
    // The pool is empty; this core may have kept some.
    while reserve.len.load(Ordering::Relaxed) < RESERVE {
        let Some(frame) = frames::alloc() else { return };
        if !reserve.add(frame) {
            // SAFETY: 1. it is nobody's.
            return unsafe { frames::free(frame) };
        }
    }
}

/// The same in the #PF handler over code at depth > 0, if that is not at these frames itself.
#[cold]
fn fill_in_fault(core: &PerCpu) {
    if !core.reserve.adding.load(Ordering::Relaxed) {
        frames::in_fault(|frame| core.reserve.push(frame));
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
    /// A page of some other stack that has nothing behind it: that G has ended, or the pointer is
    /// wild.
    DeadStack,
    /// The address is not in any window.
    NotAWindow,
}

/// Handles a fault on an absent page at `addr`, in code whose stack pointer was `rsp` and in which
/// preemption was off `depth` deep. In the #PF handler of `core`: interrupts off.
#[inline(always)]
pub fn fault(core: &PerCpu, addr: u64, rsp: u64, depth: u32) -> WindowFault {
    let Some(window) = Window::of(addr) else { return WindowFault::NotAWindow };
    // `rsp` may be one past the top, on a stack that is just being left.
    let own = window.contains(rsp - 1);
    // Nearly always a G grows.
    if own
        && depth == 0
        && !window.is_forbidden(addr)
        && !core.reserve.is_low()
        && !inject::is_armed()
        && let (0, entry, Backing::Empty) = walk::find(addr)
        && let Some(frame) = core.reserve.pop(EMERGENCY)
    {
        walk::poison(frame);
        if entry.map(frame | PAGE) {
            mapped(core, window, addr);
        } else {
            core.reserve.push(frame);
        }
        return WindowFault::Resolved;
    }
    other_fault(core, window, addr, own, depth)
}

/// Any other fault in a window.
#[inline(never)]
fn other_fault(core: &PerCpu, window: Window, addr: u64, own: bool, depth: u32) -> WindowFault {
    if core.reserve.is_low() {
        if depth == 0 { fill_reserve() } else { fill_in_fault(core) }
    }
    let keep = if depth == 0 { EMERGENCY } else { 0 };
    let red = window.is_forbidden(addr);
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
        // Memory is short, or this core is in the pool: whoever turns preemption on sees to it, or
        // the next scheduling point.
        m.attend_platform();
        if depth > 0 {
            percpu::pend();
        }
        if depth > 0 && core.reserve.len.load(Ordering::Relaxed) < EMERGENCY && grew && frames::is_used_up() {
            if own {
                doom(window, Cause::OutOfMemory);
            } else if let Some(g) = m.running() {
                g.doom(Cause::OutOfMemory);
            }
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
            // Else who touches it again and again would keep it for ever, and whoever waits for its
            // frame as well.
            Backing::Limbo(_) if !own && keep > 0 && retired::is_gone(addr) => return WindowFault::DeadStack,
            Backing::Limbo(word) => {
                if entry.restore(word) && level == 0 && own {
                    note_depth(core, window, addr);
                }
            }
            Backing::Empty if !own && !foreign(core, window, addr) => return WindowFault::DeadStack,
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
                    mapped(core, window, addr);
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

/// Out of line, since it is rare.
#[cold]
#[inline(never)]
fn owner_of(window: Window) -> Option<GRef> {
    window.owner()
}

/// As `fetch_min`, in fewer instructions where nobody else is at it.
#[inline(always)]
fn lower(word: &AtomicUsize, page: usize) {
    let seen = word.load(Ordering::Relaxed);
    if page < seen && word.compare_exchange(seen, page, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        lower_again(word, page);
    }
}

#[cold]
fn lower_again(word: &AtomicUsize, page: usize) {
    word.fetch_min(page, Ordering::Relaxed);
}

/// Whether another than its G may have the empty page at `addr`.
#[cold]
#[inline(never)]
#[optimize(size)]
fn foreign(core: &PerCpu, window: Window, addr: u64) -> bool {
    if let (0, entry, Backing::Packed(word)) = walk::find(window.top()) {
        // Then the top word can be read.
        let (mut take, mut give) = (|| core.reserve.pop(0), |frame| _ = core.reserve.push(frame));
        packed::unpack_page(entry, word, &mut take, &mut give);
    }
    window.may_be_borrowed(addr)
}

/// The page at `addr` has a frame that it did not have.
#[inline(always)]
fn mapped(core: &PerCpu, window: Window, addr: u64) {
    core.stacks.pages.fetch_add(1, Ordering::Relaxed);
    core.stacks.grown.fetch_add(1, Ordering::Relaxed);
    note_depth(core, window, addr);
}

/// The stack of `window` reaches down to `addr` now. Others than its G may do that as well, at the
/// same time.
#[inline(always)]
fn note_depth(core: &PerCpu, window: Window, addr: u64) {
    // Nearly always the one that runs; between a switch and its beginning it is another.
    let running = core.m().and_then(M::running).filter(|g| Window::from(g.stack()) == window);
    // (A deathbed has an owner that lives elsewhere.)
    let owner = || owner_of(window).filter(|g| Window::from(g.stack()) == window);
    if let Some(g) = running.or_else(owner) {
        let page = (addr & !(FRAME - 1)) as usize;
        lower(&g.stack_low, page);
        lower(&g.stack_deepest, page);
    }
}
