//! The list of G's that wait for an object: FIFO, through nodes on the waiting G's own stacks, guarded by the object's lock.
//!
//! ```text
//!   object { lock, WaitQueue { head, tail } }
//!                      │        └───────────────────────┐
//!                      ▼                                ▼
//!              Waiter on G a's stack ── next ──▶ Waiter on G b's stack
//!              { g, slot, served }               { g, slot, served }
//! ```
//!
//! A node is pushed with the lock held, and the lock is released by `park`'s `commit`, when the G is saved (INV-PUBLISH). Whoever
//! pops a node under the lock has claimed the G: it alone serves it (moves a value through `slot`, sets `served`) or leaves it
//! unserved (the object was closed), and then readies it. The node lives until then, so it is not touched after [`Claimed::wake`].
//!
//! A G that waits for several objects at once will have a node in each list and one word that its nodes share; then
//! [`WaitQueue::pop`] is the one place that must win that word by a compare-and-swap before it hands a node out, and skip it
//! otherwise.
//!
//! Rejected: the G's own link instead of a node (a G that waits for two objects has one link); a lock-free list (every
//! operation on a channel looks at its values and at both lists, which have to agree).

use core::cell::Cell;
use core::ptr::NonNull;

use crate::g::GRef;
use crate::park::ready;
use crate::preempt::PreemptGuard;
use crate::sync::UnsafeCell;

/// A waiting G, on its own stack.
#[derive(Debug)]
pub(crate) struct Waiter {
    g: GRef,
    /// The place for a value on the same stack; what it points to is agreed between the two sides of the object.
    slot: *mut (),
    /// Guarded by the object's lock.
    next: Cell<Option<NonNull<Waiter>>>,
    /// Written by whoever claimed the node, read by its G once it runs again.
    served: UnsafeCell<bool>,
}

impl Waiter {
    #[inline(always)]
    pub(crate) fn new(g: GRef, slot: *mut ()) -> Self {
        Self { g, slot, next: Cell::new(None), served: UnsafeCell::new(false) }
    }

    /// Whether the G got what it waited for; only its own G, after the park.
    #[inline(always)]
    pub(crate) fn was_served(&self) -> bool {
        // SAFETY: the claimer has written it before it readied this G, which therefore sees it and is alone with it.
        self.served.with(|served| unsafe { *served })
    }
}

/// A waiter that was taken off its list: the right and the duty to wake it.
#[derive(Debug)]
#[must_use = "a claimed G waits for ever unless it is woken"]
pub(crate) struct Claimed(NonNull<Waiter>);

impl Claimed {
    /// Its place for a value.
    #[inline(always)]
    pub(crate) fn slot(&self) -> *mut () {
        // SAFETY: the G is parked until `wake` readies it, so its stack and this node stay.
        unsafe { self.0.as_ref() }.slot
    }

    /// The G has got what it waited for. The `Claimed` is still to be woken.
    #[inline(always)]
    pub(crate) fn serve(self) -> Self {
        // SAFETY: as in `slot`; nobody else touches `served` between claim and wake.
        unsafe { self.0.as_ref() }.served.with_mut(|served| unsafe { *served = true });
        self
    }

    /// Readies the G. With the object's lock released: the G may free the object.
    #[inline(always)]
    pub(crate) fn wake(self, guard: &PreemptGuard) {
        // SAFETY: as in `slot`; the last access to the node.
        let g = unsafe { self.0.as_ref() }.g;
        ready(guard, g);
    }
}

/// The list. Guarded by its object's lock.
#[derive(Debug)]
pub(crate) struct WaitQueue {
    head: Option<NonNull<Waiter>>,
    /// The last node; means nothing while `head` is `None`.
    tail: NonNull<Waiter>,
}

// SAFETY: the nodes are reached under the object's lock only, or belong to whoever claimed them.
unsafe impl Send for WaitQueue {}

impl WaitQueue {
    pub(crate) const fn new() -> Self {
        Self { head: None, tail: NonNull::dangling() }
    }

    /// Appends a node.
    ///
    /// # Safety
    /// 1. The node stays where it is until it was popped and its G readied: the caller parks right after this.
    #[inline(always)]
    pub(crate) unsafe fn push(&mut self, waiter: &Waiter) {
        let node = NonNull::from(waiter);
        match self.head {
            None => self.head = Some(node),
            // SAFETY: the tail of a list that is not empty is in the list, hence its G is parked and the node lives.
            Some(_) => unsafe { self.tail.as_ref() }.next.set(Some(node)),
        }
        self.tail = node;
    }

    /// Claims the one that has waited longest.
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<Claimed> {
        let node = self.head?;
        // SAFETY: nodes in the list live; see `push`.
        self.head = unsafe { node.as_ref() }.next.get();
        Some(Claimed(node))
    }

    /// Claims everybody.
    pub(crate) fn take(&mut self) -> Self {
        core::mem::replace(self, Self::new())
    }

    /// Wakes everybody in a list that was taken. Each with preemption off anew, so that a crowd does not hold the core.
    pub(crate) fn wake_all(mut self) {
        while let Some(claimed) = self.pop() {
            claimed.wake(&PreemptGuard::new());
        }
    }
}
