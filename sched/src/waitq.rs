//! The list of G's that wait for an object: FIFO, through nodes on the waiting G's own stacks, guarded by the object's lock.
//!
//! A node is pushed with the lock held, and the lock is released by `park`'s `commit`, when the G is saved (INV-PUBLISH). Whoever pops a node
//! owns the wake-up: it writes the outcome, releases the lock, and readies the G. The node lives until the G runs again,
//! so it is not touched after `ready`.

use core::cell::Cell;
use core::ptr::{NonNull, null_mut};

use crate::g::GRef;

/// A waiting G, on its own stack.
#[derive(Debug)]
pub(crate) struct Waiter {
    g: GRef,
    /// Where a value is handed over: the address of an `Option` of the object's type, on the G's stack. Null: no value.
    pub(crate) slot: *mut (),
    /// The object was closed instead.
    pub(crate) closed: Cell<bool>,
    next: Cell<Option<NonNull<Waiter>>>,
}

impl Waiter {
    pub(crate) fn new(g: GRef, slot: *mut ()) -> Self {
        Self { g, slot, closed: Cell::new(false), next: Cell::new(None) }
    }
}

/// A waiter that was taken off its list: the right and the duty to wake it.
#[derive(Debug)]
#[must_use = "a popped G waits for ever unless it is readied"]
pub(crate) struct Popped(NonNull<Waiter>);

impl Popped {
    /// The node, until the G is readied.
    pub(crate) fn node(&self) -> &Waiter {
        // SAFETY: the G is parked until `into_g`'s caller readies it, so its stack and this node stay.
        unsafe { self.0.as_ref() }
    }

    /// The G, to be readied now.
    pub(crate) fn into_g(self) -> GRef {
        self.node().g
    }
}

/// The list. Guarded by its object's lock.
#[derive(Debug)]
pub(crate) struct WaitQueue {
    head: Option<NonNull<Waiter>>,
    tail: *mut Waiter,
}

// SAFETY: the nodes are reached under the object's lock only.
unsafe impl Send for WaitQueue {}

impl WaitQueue {
    pub(crate) const fn new() -> Self {
        Self { head: None, tail: null_mut() }
    }

    /// Appends a node.
    ///
    /// # Safety
    /// 1. The node stays where it is until it was popped and its G readied; the caller parks right after this.
    pub(crate) unsafe fn push(&mut self, waiter: &Waiter) {
        let node = NonNull::from(waiter);
        // SAFETY: a tail node is in the list, hence its G is parked and the node lives.
        match unsafe { self.tail.as_ref() } {
            Some(tail) if self.head.is_some() => tail.next.set(Some(node)),
            _ => self.head = Some(node),
        }
        self.tail = node.as_ptr();
    }

    /// Takes the one that has waited longest.
    pub(crate) fn pop(&mut self) -> Option<Popped> {
        let node = self.head?;
        // SAFETY: nodes in the list live; see `push`.
        self.head = unsafe { node.as_ref() }.next.get();
        if self.head.is_none() {
            self.tail = null_mut();
        }
        Some(Popped(node))
    }
}
