//! Windows whose addresses are never used again.
//!
//! A G that was ended where it stood may have lent something on its stack to others: a child that borrows, a list that it stands in. Rust would have
//! kept it from leaving those frames before the borrow ends; an overflow does not ask. So its memory goes, but nobody else ever gets its
//! addresses: what still points there meets a fault that names the G whose stack it was.
//!
//! The list only grows, and is walked without a lock by handlers. Its first entries are static, so that the first hundreds need no memory: a G
//! often dies because there is none.

use alloc::boxed::Box;
use core::cell::Cell;
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use trefoil_sched::G;
use trefoil_sched::g::Name;

use super::Window;
use crate::mm::heap;

/// A retired window, and whose it was.
pub struct Retired {
    window: Cell<Window>,
    id: Cell<u64>,
    name: Cell<Name>,
    next: Cell<*const Retired>,
}

// SAFETY: a node is written before it is published and never after.
unsafe impl Sync for Retired {}

impl Retired {
    const fn empty() -> Self {
        Self {
            window: Cell::new(Window { lo: 0, hi: 0 }),
            id: Cell::new(0),
            name: Cell::new(Name::EMPTY),
            next: Cell::new(core::ptr::null()),
        }
    }

    /// The number and name of the G that lived there.
    pub fn who(&self) -> (u64, Name) {
        (self.id.get(), self.name.get())
    }
}

static FIRST: [Retired; 128] = [const { Retired::empty() }; 128];
static FIRST_USED: AtomicUsize = AtomicUsize::new(0);
static LIST: AtomicPtr<Retired> = AtomicPtr::new(core::ptr::null_mut());
static COUNT: AtomicU64 = AtomicU64::new(0);

/// The window of `g` is never used again. Once for each G that ends where it stands, with preemption off.
///
/// # Panics
/// After the first 128: without memory for a list entry.
pub fn retire(g: &G) {
    let node: &'static Retired = match FIRST.get(FIRST_USED.fetch_add(1, Ordering::Relaxed)) {
        Some(node) => node,
        None => Box::leak(Box::new(Retired::empty())),
    };
    node.window.set(g.stack().into());
    node.id.set(g.id());
    node.name.set(g.name());
    let mut head = LIST.load(Ordering::Relaxed);
    loop {
        node.next.set(head);
        // Release: pairs with the Acquire in `owner_of`: the node is written.
        let me = core::ptr::from_ref(node).cast_mut();
        match LIST.compare_exchange(head, me, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => head = now,
        }
    }
    COUNT.fetch_add(1, Ordering::Relaxed);
}

/// Whose stack `addr` was part of, if that is retired. Takes no lock.
pub fn owner_of(addr: u64) -> Option<&'static Retired> {
    // Acquire: pairs with the Release in `retire`.
    let mut at: *const Retired = LIST.load(Ordering::Acquire);
    // SAFETY: nodes are never freed.
    while let Some(node) = unsafe { at.as_ref() } {
        if node.window.get().contains(addr) {
            return Some(node);
        }
        at = node.next.get();
    }
    None
}

/// Whether `addr` lies in a retired window.
pub fn is_dead(addr: u64) -> bool {
    count() != 0 && owner_of(addr).is_some()
}

/// How many there are.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Bytes of heap that the list takes.
pub(super) fn heap_bytes() -> u64 {
    count().saturating_sub(FIRST.len() as u64) * heap::counted(size_of::<Retired>())
}
