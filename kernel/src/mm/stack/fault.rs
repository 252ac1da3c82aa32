//! Page faults on absent pages of stack windows.
//!
//! **The hard race** is between a core and its own #PF handler. Neither `cli` nor preemption being
//! off holds back a #PF. A #PF can hit code on this very core that holds the frame pool's lock, or
//! is in the middle of the frame cache. So the handler takes frames from the core's
//! [`FaultReserve`]. Outside the handler, only code with preemption off takes from the reserve, on
//! a stack that does not grow. The handler puts blocks to free (packed blocks) on a list of its
//! core that g0 empties.
//!
//! When the reserve is low, the handler fills the reserve from the pool, at any depth. So a stack
//! may grow with preemption off as far as memory goes. The handler does not wait for its own core.
//! The interrupted code may be in the pool already, or be adding to the reserve. Then the handler
//! uses the frames in the reserve, and the next fault tries again: such code needs only a few
//! hundred bytes of stack. Code at depth 0 is in neither place.
//!
//! | touched page | by the stack's own G | by any other code |
//! |---|---|---|
//! | an empty page | it grows | of a G that lives, or is dead and [lends](super): is mapped; else a named fault |
//! | a page in limbo | comes back | comes back; of a stack that was given up, at depth 0: a named fault |
//! | a packed page | is unpacked | is unpacked |
//! | a red page, depth 0 | the G ends: overflow | is mapped if the stack's G has used it up, else a wild pointer |
//! | a red page, depth > 0 | is mapped; the G ends when preemption is on again | is mapped if the stack's G has used it up, else a wild pointer |
//! | the guard | overflow; at depth > 0 the machine ends | a wild pointer |
//!
//! The interrupted `rsp` decides whether a stack is the G's own: `rsp` lies in the same window. The
//! rule holds even in the few instructions before a switch, where the M already names the next G. A
//! G on its [deathbed](super::deathbed) grows the deathbed's window.
//!
//! Code other than the stack's own G may be the first to touch an empty page. A sender may write a
//! value to a place in a page that the receiver's stack has skipped. A child may be the first to
//! write to its parent's array.
//!
//! The last [`EMERGENCY`] frames of the reserve are for depth > 0 only. With them, code that can't
//! be ended on the spot runs on to a point where it can be ended.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering, compiler_fence};

use trefoil_sched::internals::page::Backing;
use trefoil_sched::internals::recorder::{BUILT, is_on, note};
use trefoil_sched::{Cause, GRef, M};
use trefoil_trace::Kind;

use super::walk::{self, PAGE};
use super::{GUARD, Window, packed, retired};
use crate::arch::percpu;
use crate::mm::frames::{self, FRAME};
use crate::mm::record::{self, Record};
use crate::mm::refusal;

/// Frames of one core for its #PF handler. On the same core, `take`, `put_back` and
/// [`fill_reserve`] also change the reserve: with preemption off, or at boot before the core runs a
/// G. A fault may interrupt an addition.
pub struct FaultReserve {
    len: AtomicUsize,
    /// Code of this core outside the handler is about to add a frame, not under the pool's lock.
    adding: AtomicBool,
    frames: UnsafeCell<[u64; RESERVE]>,
}

/// Enough for 256 KiB of stack and its tables, touched without a moment at depth 0, plus the
/// emergency frames.
pub const RESERVE: usize = 80;
/// Four red pages, a table for each of two levels, and some to spare.
const EMERGENCY: usize = 12;

impl FaultReserve {
    /// Creates an empty reserve; [`fill_reserve`] fills it.
    pub const fn new() -> Self {
        Self { len: AtomicUsize::new(0), adding: AtomicBool::new(false), frames: UnsafeCell::new([0; RESERVE]) }
    }

    /// Takes a frame if more than `keep` are left. In the handler, or from `take`.
    #[inline(always)]
    fn pop(&self, keep: usize) -> Option<u64> {
        let len = self.len.load(Ordering::Relaxed);
        if len <= keep {
            return None;
        }
        self.len.store(len - 1, Ordering::Relaxed);
        // SAFETY: only this core touches the array. No handler interrupts the #PF handler, and
        // `take` runs on a stack that does not fault. `len` is at most RESERVE.
        Some(unsafe { (*self.frames.get())[len - 1] })
    }

    /// Adds a frame. Returns false if the reserve is full. The handler may interrupt, take frames
    /// and give frames back: then either the length has changed, or everything below it is as
    /// before. (The handler fills the reserve only if it has not interrupted this function.)
    #[inline(always)]
    fn push(&self, frame: u64) -> bool {
        loop {
            let len = self.len.load(Ordering::Relaxed);
            if len >= RESERVE {
                return false;
            }
            // SAFETY: only this core touches the array, `len` is below RESERVE, and `len` does not
            // count the place yet. Volatile: the write comes before the count.
            unsafe { self.frames.get().cast::<u64>().add(len).write_volatile(frame) };
            if self.len.compare_exchange(len, len + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
    }

    /// Adds a frame as `push` does, outside the handler, with the pool's lock not held.
    fn add(&self, frame: u64) -> bool {
        // Relaxed: only this core's handler reads the mark, and sees this core's own writes.
        self.adding.store(true, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        let added = self.push(frame);
        compiler_fence(Ordering::SeqCst);
        self.adding.store(false, Ordering::Relaxed);
        added
    }

    /// Returns a frame that the report path has borrowed.
    pub(super) fn put_back(&self, frame: u64) {
        self.add(frame);
    }

    /// Takes a frame for a record that must be made when there is no memory. Outside the handler,
    /// with preemption off, on a stack that does not grow.
    pub(super) fn take(&self) -> Option<u64> {
        self.pop(0)
    }

    /// Returns true if g0 should fill the reserve.
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

/// Fills this core's reserve. Callable with preemption off, at boot, or in the #PF handler over
/// code at depth 0; this core holds no lock of the frames.
#[cold]
#[optimize(size)]
pub fn fill_reserve() {
    let reserve = &record::current().reserve;
    if frames::alloc_while(|frame| reserve.push(frame)) {
        return;
    }
    // The pool is empty, but this core's cache may have frames.
    while reserve.len.load(Ordering::Relaxed) < RESERVE {
        let Some(frame) = frames::alloc() else { return };
        if !reserve.add(frame) {
            // SAFETY: 1. the frame came from `alloc`, and nothing maps or uses it.
            return unsafe { frames::free(frame) };
        }
    }
}

/// Fills the reserve in the #PF handler over code at depth > 0, unless that code is in the pool or
/// the reserve itself.
#[cold]
fn fill_in_fault(core: &Record) {
    if !core.reserve.adding.load(Ordering::Relaxed) {
        frames::in_fault(|frame| core.reserve.push(frame));
    }
}

/// Counts the frames in all cores' reserves.
pub fn reserve_frames() -> u64 {
    record::all().map(|core| core.reserve.len.load(Ordering::Relaxed) as u64).sum()
}

/// The result of a page fault at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowFault {
    /// The page is present now: the interrupted code goes on.
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

/// Handles a fault on an absent page at `addr`, in code whose stack pointer was `rsp` and whose
/// preemption depth was `depth`. In the #PF handler of `core`: interrupts off.
#[inline(always)]
pub fn fault(core: &Record, addr: u64, rsp: u64, depth: u32) -> WindowFault {
    let Some(window) = Window::of(addr) else { return WindowFault::NotAWindow };
    // `rsp` may be one past the top, on a stack that the core is just leaving.
    let own = window.contains(rsp - 1);
    // The usual case: a G grows its own stack.
    if own
        && depth == 0
        && !window.is_forbidden(addr)
        && !core.reserve.is_low()
        && !refusal::is_armed()
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

/// Handles all other faults in a window.
#[inline(never)]
fn other_fault(core: &Record, window: Window, addr: u64, own: bool, depth: u32) -> WindowFault {
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
        // Memory is short, or this core is in the pool. The next `preempt_on` to depth 0 refills
        // the reserve, or the next scheduling point does.
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

/// Marks the G that lives on `window`, so that it ends when preemption is on again.
#[cold]
fn doom(window: Window, cause: Cause) {
    if let Some(g) = window.owner() {
        g.doom(cause);
        percpu::pend();
    }
}

#[inline(always)]
fn resolve(core: &Record, window: Window, addr: u64, own: bool, keep: usize, grew: &mut bool) -> WindowFault {
    loop {
        let (level, entry, backing) = walk::find(addr);
        match backing {
            Backing::Present(_) => return WindowFault::Resolved,
            // Otherwise code that touches the page again and again would keep it for ever, and
            // would block the round that waits for its frame.
            Backing::Limbo(_) if !own && keep > 0 && retired::is_gone(addr) => return WindowFault::DeadStack,
            Backing::Limbo(word) => {
                if entry.restore(word) && level == 0 && own {
                    note_depth(core, window, addr);
                }
            }
            Backing::Empty if !own && !foreign(core, window, addr) => return WindowFault::DeadStack,
            Backing::Empty if keep > 0 && refusal::denies_growth() => return WindowFault::OutOfMemory,
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
                if level == 0 {
                    note_unpacked(core, window);
                }
            }
        }
    }
}

/// Records for the trace that the top page of `window` is back.
#[inline(always)]
fn note_unpacked(core: &Record, window: Window) {
    if BUILT
        && let Some(m) = core.m()
        && is_on(m)
        && let Some(g) = owner_of(window)
    {
        note(m, Kind::Unpack, g.id(), 0);
    }
}

/// Finds the owner of `window`. Out of line, since calls are rare.
#[cold]
#[inline(never)]
fn owner_of(window: Window) -> Option<GRef> {
    window.owner()
}

/// Lowers `word` to `page` as `fetch_min` does, in fewer instructions if no other core writes it.
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

/// Returns true if code other than the window's G may have the empty page at `addr`.
#[cold]
#[inline(never)]
#[optimize(size)]
fn foreign(core: &Record, window: Window, addr: u64) -> bool {
    if let (0, entry, Backing::Packed(word)) = walk::find(window.top()) {
        // Once the page is unpacked, the top word can be read.
        let (mut take, mut give) = (|| core.reserve.pop(0), |frame| _ = core.reserve.push(frame));
        packed::unpack_page(entry, word, &mut take, &mut give);
    }
    window.may_be_borrowed(addr)
}

/// Records that the page at `addr` has got a frame.
#[inline(always)]
fn mapped(core: &Record, window: Window, addr: u64) {
    core.stacks.pages.fetch_add(1, Ordering::Relaxed);
    core.stacks.grown.fetch_add(1, Ordering::Relaxed);
    note_depth(core, window, addr);
}

/// Records that the stack of `window` reaches down to `addr`. Code other than the window's G may do
/// the same at the same time.
#[inline(always)]
fn note_depth(core: &Record, window: Window, addr: u64) {
    // The owner is nearly always the running G. Between a switch and its beginning it is another G.
    let running = core.m().and_then(M::running).filter(|g| Window::from(g.stack()) == window);
    // (A deathbed has an owner that lives elsewhere.)
    let owner = || owner_of(window).filter(|g| Window::from(g.stack()) == window);
    if let Some(g) = running.or_else(owner) {
        let page = (addr & !(FRAME - 1)) as usize;
        lower(&g.stack_low, page);
        lower(&g.stack_deepest, page);
        if BUILT && let Some(m) = core.m() {
            note(m, Kind::Grow, g.id(), (g.stack().hi - page) as u64);
        }
    }
}
