//! Windows whose addresses are never used again.
//!
//! A G that was ended where it stood may have lent something on its stack to others: a child that
//! borrows, a list that it stands in. Rust would have kept it from leaving those frames before the
//! borrow ends; an overflow does not ask. So its frames stay until all members of its scopes have
//! ended, and nobody else ever gets its addresses: what still points there afterwards meets a fault
//! that names the G whose stack it was.
//!
//! ```text
//!   ended where it stood ──▶ DEAD: its memory is there ──▶ GONE: the memory goes back after an epoch
//!                            (who may still borrow from it)        (a touch is a named fault)
//! ```
//!
//! A look costs the same however many there are, and takes no lock: a tree by the window's number,
//! to which entries are only added.
//!
//! ```text
//!   ROOT (static)      node (a frame)           leaf (a frame)
//!   │ … │ number/32768 ──▶ │ … │ number/64 ──▶ │ state, cause, id, name │ 64 of these
//! ```
//!
//! So 64 neighbours share a frame, and an overflow costs 64 bytes to 4 KiB for good, and 8 KiB the
//! first time among 32,768 windows. The frames come from where growing stacks have theirs, and from
//! the core's fault reserve if there are no others: a G often dies because there is no memory. If
//! there is none at all, its name is lost. Its addresses are not used again even so: a tag in the
//! window's top word says that, not this tree.

use core::cell::Cell;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use trefoil_sched::g::Name;
use trefoil_sched::{Cause, G};

use super::walk;
use super::{BASE, CLASS_SHIFT, CLASSES, RETIRED, Window};
use crate::arch::percpu;
use crate::mm::frames::{self, FRAME};
use crate::mm::phys_to_virt;

/// Nobody has died there. (Zero: a frame is cleared when it becomes a leaf.)
const ALIVE: u8 = 0;
/// Its G was ended where it stood, and its memory is kept.
const DEAD: u8 = 1;
/// The same, and its memory has been given up.
const GONE: u8 = 2;

/// A retired window's entry: whose it was.
#[repr(align(64))]
pub struct Retired {
    /// Who reads anything else has read this, and it was not [`ALIVE`].
    state: AtomicU8,
    cause: Cell<u8>,
    id: Cell<u64>,
    name: Cell<Name>,
}

// SAFETY: what is in the cells is written before `state` says that there is something, and never
// after.
unsafe impl Sync for Retired {}

const _: () = assert!(size_of::<Retired>() == 64);

impl Retired {
    /// The number and name of the G that lived there.
    pub fn who(&self) -> (u64, Name) {
        (self.id.get(), self.name.get())
    }

    /// What it died of.
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
/// Those that are kept as yet.
static KEPT: AtomicU64 = AtomicU64::new(0);
/// Frames in the tree.
static FRAMES: AtomicU64 = AtomicU64::new(0);

/// What a place in the tree leads to, which is made if `make` says so.
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
    let frame = frames::alloc().or_else(|| percpu::current().reserve.take())?;
    walk::clear(frame);
    // AcqRel: Release pairs with the Acquire in `below`; Acquire, if another core was faster.
    match place.compare_exchange(0, frame, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            FRAMES.fetch_add(1, Ordering::Relaxed);
            Some(frame)
        }
        Err(theirs) => {
            // SAFETY: 1. nobody else knows it.
            unsafe { frames::free(frame) };
            Some(theirs)
        }
    }
}

/// The entry of `window`. None: nobody has died in its neighbourhood; or with `make`, there is no
/// memory.
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

/// The window of `g`, which has [its cause](G::doomed), is never used again. Once for each G that
/// ends where it stands, with preemption off, not in a handler.
pub fn retire(g: &G) {
    let window = Window::from(g.stack());
    // SAFETY: the top word of a stack in use is its G's address; the G is at its end, and nobody
    // else writes it.
    unsafe {
        let top = (window.hi as *mut usize).sub(1);
        top.write(top.read() | RETIRED);
    }
    KEPT.fetch_add(1, Ordering::Relaxed);
    if let Some(entry) = entry(window, true) {
        entry.id.set(g.id());
        entry.name.set(g.name());
        entry.cause.set(g.doomed().map_or(0, |cause| cause as u8));
        // Release: pairs with the Acquire in `owner_of`: the rest is written.
        entry.state.store(DEAD, Ordering::Release);
    }
}

/// The memory of `window`, which is retired, is given up from here on. Once.
pub(super) fn give_up(window: Window) {
    if let Some(entry) = owner_of(window.lo) {
        // Relaxed: a touch that comes too early to see it gets a page back once more.
        entry.state.store(GONE, Ordering::Relaxed);
    }
    KEPT.fetch_sub(1, Ordering::Relaxed);
    COUNT.fetch_add(1, Ordering::Relaxed);
}

/// Whose stack `addr` was part of, if that is retired. Takes no lock.
pub fn owner_of(addr: u64) -> Option<&'static Retired> {
    // Acquire: pairs with the Release in `retire`.
    entry(Window::of(addr)?, false).filter(|entry| entry.state.load(Ordering::Acquire) != ALIVE)
}

/// Whether `addr` lies in a retired window.
pub fn is_dead(addr: u64) -> bool {
    owner_of(addr).is_some()
}

/// Whether `addr` lies in a retired window whose memory was given up.
pub(super) fn is_gone(addr: u64) -> bool {
    owner_of(addr).is_some_and(|entry| entry.state.load(Ordering::Relaxed) == GONE)
}

/// How many were given up.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// How many are kept for those that may borrow from them.
pub fn kept() -> u64 {
    KEPT.load(Ordering::Relaxed)
}

/// Frames that the tree takes.
pub fn frames() -> u64 {
    FRAMES.load(Ordering::Relaxed)
}
