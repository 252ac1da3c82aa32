//! Windows whose addresses are never used again.
//!
//! A G that was ended where it stood may have lent something on its stack to other G's. A child may
//! borrow it, or a list may hold a node in it. Rust would have kept the G from leaving those frames
//! before the borrow ends; an overflow does not. So the frames stay until all members of the G's
//! scopes have ended. Its addresses are never used again. A later access through a stale pointer
//! meets a fault that names the G of the stack.
//!
//! ```text
//!   ended where it stood ──▶ DEAD: its memory is there ──▶ GONE: the memory goes back after an epoch
//!                            (who may still borrow from it)        (a touch is a named fault)
//! ```
//!
//! A look-up takes no lock, and its time does not depend on the number of windows. The structure is
//! a tree by the window's number, to which entries are only added.
//!
//! ```text
//!   ROOT (static)      node (a frame)           leaf (a frame)
//!   │ … │ number/32768 ──▶ │ … │ number/64 ──▶ │ state, cause, id, name │ 64 of these
//! ```
//!
//! So 64 neighbours share a frame. An overflow costs 64 bytes to 4 KiB for good, and 8 KiB the
//! first time among 32,768 windows. The frames come from the frame allocator. If memory is used up,
//! the core's fault reserve supplies them: a G often dies because there is no memory. If the
//! reserve is empty, too, the G's name is lost. Its addresses are not used again even so: a tag in
//! the window's top word says that, not this tree.

use core::cell::Cell;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use trefoil_sched::internals::g::Name;
use trefoil_sched::{Cause, Stack};

use super::walk;
use super::{BASE, CLASS_SHIFT, CLASSES, RETIRED, Window};
use crate::mm::frames::{self, FRAME};
use crate::mm::phys_to_virt;
use crate::mm::record;

/// No G has died there. (Zero: a frame is cleared when it becomes a leaf.)
const ALIVE: u8 = 0;
/// Its G was ended where it stood, and its memory is kept.
const DEAD: u8 = 1;
/// The same, and its memory has been given up.
const GONE: u8 = 2;

/// A retired window's entry: the G that lived there.
#[repr(align(64))]
pub struct Retired {
    /// A reader of the other fields has read this field first, and it was not [`ALIVE`].
    state: AtomicU8,
    cause: Cell<u8>,
    id: Cell<u64>,
    name: Cell<Name>,
}

// SAFETY: the cells are written before `state` says that they are, and never after.
unsafe impl Sync for Retired {}

const _: () = assert!(size_of::<Retired>() == 64);

impl Retired {
    /// Returns the number and name of the G that lived there.
    pub fn who(&self) -> (u64, Name) {
        (self.id.get(), self.name.get())
    }

    /// Returns the cause of that G's death.
    pub fn cause(&self) -> Option<Cause> {
        Cause::from_u8(self.cause.get())
    }
}

/// Entries of a leaf, and leaves of a node.
const LEAF: u64 = FRAME / size_of::<Retired>() as u64;
const NODE: u64 = FRAME / size_of::<u64>() as u64;

/// Where the nodes of each class begin in [`ROOT`], and how many there are in all.
const ROOTS: [usize; CLASSES.len() + 1] = {
    let mut roots = [0; CLASSES.len() + 1];
    let mut class = 0;
    while class < CLASSES.len() {
        let windows = (1 << CLASS_SHIFT) / CLASSES[class];
        roots[class + 1] = roots[class] + windows.div_ceil(LEAF * NODE) as usize;
        class += 1;
    }
    roots
};

/// Frames of nodes, 0 for none.
static ROOT: [AtomicU64; ROOTS[CLASSES.len()]] = [const { AtomicU64::new(0) }; ROOTS[CLASSES.len()]];
/// Windows that were given up.
static COUNT: AtomicU64 = AtomicU64::new(0);
/// Retired windows that are kept as yet.
static KEPT: AtomicU64 = AtomicU64::new(0);
/// Frames in the tree.
static FRAMES: AtomicU64 = AtomicU64::new(0);

/// Returns the address that a place in the tree holds. If there is none, `make` adds a frame there.
#[inline(always)]
fn below(place: &AtomicU64, make: bool) -> Option<u64> {
    // Acquire: pairs with the Release in `grow`: the frame is cleared.
    match place.load(Ordering::Acquire) {
        0 if make => grow(place),
        0 => None,
        frame => Some(frame),
    }
}

#[cold]
fn grow(place: &AtomicU64) -> Option<u64> {
    let frame = frames::alloc().or_else(|| record::current().reserve.take())?;
    walk::clear(frame);
    // AcqRel: Release pairs with the Acquire in `below`; Acquire, if another core was faster.
    match place.compare_exchange(0, frame, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            FRAMES.fetch_add(1, Ordering::Relaxed);
            Some(frame)
        }
        Err(theirs) => {
            // SAFETY: 1. the frame came from `alloc` or the reserve, and nobody else knows it: the
            // other core was faster.
            unsafe { frames::free(frame) };
            Some(theirs)
        }
    }
}

/// Returns the entry of `window`. `None`: no G has died in its neighbourhood; or, with `make`,
/// there is no memory.
#[inline(always)]
fn entry(window: Window, make: bool) -> Option<&'static Retired> {
    let class = window.class();
    let number = (window.lo - BASE - ((class as u64) << CLASS_SHIFT)) / CLASSES[class];
    let leaf = number / LEAF;
    let node = below(&ROOT[ROOTS[class] + (leaf / NODE) as usize], make)?;
    // SAFETY: a node is a frame of so many words, in the physical map, for ever.
    let place = unsafe { &*phys_to_virt(node).cast::<AtomicU64>().add((leaf % NODE) as usize) };
    let leaf = below(place, make)?;
    // SAFETY: a leaf is a frame of so many entries, for ever; all bits zero are one.
    Some(unsafe { &*phys_to_virt(leaf).cast::<Retired>().add((number % LEAF) as usize) })
}

/// Retires the window of G number `id`, which ends with `cause`. Called once for each G that ends
/// where it stands, with preemption off, not in a handler.
pub fn retire_window(stack: Stack, id: u64, name: &str, cause: u8) {
    let window = Window::from(stack);
    // SAFETY: the top word of a stack in use is its G's address; the G is at its end, and nobody
    // else writes it.
    unsafe {
        let top = (window.hi as *mut usize).sub(1);
        top.write(top.read() | RETIRED);
    }
    KEPT.fetch_add(1, Ordering::Relaxed);
    if let Some(entry) = entry(window, true) {
        entry.id.set(id);
        entry.name.set(Name::new(name));
        entry.cause.set(cause);
        // Release: pairs with the Acquire in `owner_of`: the rest is written.
        entry.state.store(DEAD, Ordering::Release);
    }
}

/// Gives up the memory of `window`, which is retired, from here on. Called once.
pub(super) fn give_up(window: Window) {
    if let Some(entry) = owner_of(window.lo) {
        // Relaxed: a touch that comes too early to see it gets a page back once more.
        entry.state.store(GONE, Ordering::Relaxed);
    }
    KEPT.fetch_sub(1, Ordering::Relaxed);
    COUNT.fetch_add(1, Ordering::Relaxed);
}

/// Returns the entry of the retired window that `addr` lies in. Takes no lock.
pub fn owner_of(addr: u64) -> Option<&'static Retired> {
    // Acquire: pairs with the Release in `retire`.
    entry(Window::of(addr)?, false).filter(|entry| entry.state.load(Ordering::Acquire) != ALIVE)
}

/// Returns true if `addr` lies in a retired window.
pub fn is_dead(addr: u64) -> bool {
    owner_of(addr).is_some()
}

/// Returns true if `addr` lies in a retired window whose memory was given up.
pub(super) fn is_gone(addr: u64) -> bool {
    owner_of(addr).is_some_and(|entry| entry.state.load(Ordering::Relaxed) == GONE)
}

/// Returns how many windows were given up.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Returns how many windows are kept for members that may borrow from them.
pub fn kept() -> u64 {
    KEPT.load(Ordering::Relaxed)
}

/// Returns how many frames the tree takes.
pub fn frames() -> u64 {
    FRAMES.load(Ordering::Relaxed)
}
