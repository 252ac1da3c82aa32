//! The list of G's that wait for an object: FIFO, through the nodes in the G's own records, guarded by the object's lock.
//!
//! ```text
//!   object { lock, WaitQueue { head, tail } }
//!                      │        └───────────────────────┐
//!                      ▼                                ▼
//!              Waiter in G a's record ── next ──▶ Waiter in G b's record
//!              { g, slot, served }                { g, slot, served }
//! ```
//!
//! Nothing of it lies on a stack: waking a G that has waited long must not touch its stack, which may be packed away. A value up to 32
//! bytes is handed over in the record as well ([`place_for`]).
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

use crate::g::{GRef, HAND_BYTES};
use crate::park::ready;
use crate::preempt::PreemptGuard;
use crate::sync::UnsafeCell;

/// A waiting G, in its own record.
#[derive(Debug)]
pub(crate) struct Waiter {
    g: Cell<Option<GRef>>,
    /// The place for a value; what it points to is agreed between the two sides of the object.
    slot: Cell<*mut ()>,
    /// Guarded by the object's lock.
    next: Cell<Option<NonNull<Waiter>>>,
    /// Written by whoever claimed the node, read by its G once it runs again.
    served: UnsafeCell<bool>,
}

impl Waiter {
    pub(crate) fn new() -> Self {
        Self {
            g: Cell::new(None),
            slot: Cell::new(core::ptr::null_mut()),
            next: Cell::new(None),
            served: UnsafeCell::new(false),
        }
    }

    /// The node of `g`, which is about to wait, with a place for a value. By that G.
    #[inline(always)]
    pub(crate) fn of(g: GRef, slot: *mut ()) -> &'static Self {
        let node = &g.waiter;
        node.g.set(Some(g));
        node.slot.set(slot);
        node.next.set(None);
        // SAFETY: the G runs, so its node is in no list and nobody else looks at it.
        node.served.with_mut(|served| unsafe { *served = false });
        node
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
        // SAFETY: the G is parked until `wake` readies it, so what it has put into its node stays.
        unsafe { self.0.as_ref() }.slot.get()
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
        let g = unsafe { self.0.as_ref() }.g.get();
        if let Some(g) = g {
            ready(guard, g);
        }
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

/// Where `g` keeps a `T` that passes from hand to hand while it waits: in its record if it fits there, else at `stack`.
#[inline(always)]
pub(crate) fn place_for<T>(g: GRef, stack: *mut T) -> *mut T {
    if size_of::<T>() <= HAND_BYTES && align_of::<T>() <= 8 { g.hand().cast() } else { stack }
}
