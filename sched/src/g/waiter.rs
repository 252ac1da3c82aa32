//! A G's place in the list of the object that it waits for. `wait/list.rs` has the picture and the
//! rules.

use core::cell::Cell;
use core::ptr::NonNull;

use super::ticket::Number;
use super::{GRef, HAND_BYTES};
use crate::machine::sync::UnsafeCell;

/// The fate of a node, as its G finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nobody claimed the node. (Or a plain one was claimed, and not served.)
    Waits,
    /// Claimed by its ticket.
    Claimed,
    /// The G has got the thing that it waited for.
    Served,
    /// The G would have waited for ever, since another G has died. The slot has the dead G's
    /// number.
    Buried,
}

/// A waiting G, in its own record or on the heap.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) g: Cell<Option<GRef>>,
    /// The place for a value. The two sides of the object agree on the type behind it.
    pub(crate) slot: Cell<*mut ()>,
    /// The number of the wait that the popper has to win. None: the pop wins it.
    pub(crate) ticket: Cell<Option<Number>>,
    /// Written by the claimer of the node, read by its G once it runs again.
    pub(crate) outcome: UnsafeCell<Outcome>,

    // --- Guarded by the object's lock.
    pub(crate) next: Cell<Option<NonNull<Waiter>>>,
    /// Of ticketed nodes; means nothing in the first one.
    pub(crate) prev: Cell<Option<NonNull<Waiter>>>,
    /// Of ticketed nodes: it is in the list.
    pub(crate) linked: UnsafeCell<bool>,
    /// Of ticketed nodes: its G only wants to be woken.
    pub(crate) watches: Cell<bool>,
}

impl Waiter {
    pub(crate) fn new() -> Self {
        Self {
            g: Cell::new(None),
            slot: Cell::new(core::ptr::null_mut()),
            ticket: Cell::new(None),
            outcome: UnsafeCell::new(Outcome::Waits),
            next: Cell::new(None),
            prev: Cell::new(None),
            linked: UnsafeCell::new(false),
            watches: Cell::new(false),
        }
    }

    /// Returns the node of `g`, which is about to wait, with a place for a value. Called by that G.
    #[inline(always)]
    pub(crate) fn of(g: GRef, slot: *mut ()) -> &'static Self {
        g.waiter.prepare(g, slot);
        &g.waiter
    }

    /// Returns the node for a wait that also ends in another way: the popper has to win `number`.
    pub(crate) fn of_ticketed(g: GRef, slot: *mut (), number: Number) -> &'static Self {
        let node = Self::of(g, slot);
        node.ticket.set(Some(number));
        node
    }

    /// Makes a node that is not in a record ready for `g`, which is about to wait.
    pub(crate) fn set(&self, g: GRef, slot: *mut (), number: Number, watches: bool) {
        self.prepare(g, slot);
        self.ticket.set(Some(number));
        self.watches.set(watches);
    }

    #[inline(always)]
    fn prepare(&self, g: GRef, slot: *mut ()) {
        self.g.set(Some(g));
        self.slot.set(slot);
        self.next.set(None);
        // SAFETY: the G runs, so its node is in no list and nobody else looks at it.
        self.outcome.with_mut(|outcome| unsafe { *outcome = Outcome::Waits });
    }

    pub(crate) fn outcome(&self) -> Outcome {
        // SAFETY: the claimer has written it before it readied this G, which therefore sees it and
        // is alone with it.
        self.outcome.with(|outcome| unsafe { *outcome })
    }

    /// Returns true if the G was served. Only its own G calls this, after the park.
    #[inline(always)]
    pub(crate) fn was_served(&self) -> bool {
        self.outcome() == Outcome::Served
    }

    /// Returns the number of the dead G for which this one would have waited for ever. Only its own
    /// G calls this, after the park.
    #[inline]
    pub(crate) fn buried_by(&self) -> Option<u64> {
        (self.outcome() == Outcome::Buried).then(|| self.slot.get().addr() as u64)
    }

    /// Returns true if the ticketed wait ended through this node. Only its own G calls this, after
    /// the park.
    pub(crate) fn was_claimed(&self) -> bool {
        self.outcome() != Outcome::Waits
    }

    /// Returns true if the node is in its list; under the lock. (A cell that models watch: an
    /// access without the lock is seen.)
    pub(crate) fn is_linked(&self) -> bool {
        // SAFETY: the lock admits one.
        self.linked.with(|linked| unsafe { *linked })
    }

    pub(crate) fn set_linked(&self, to: bool) {
        // SAFETY: the object's lock is held, so this is the only access.
        self.linked.with_mut(|linked| unsafe { *linked = to });
    }

    /// Makes the node a plain one again: the wait is over and the node is out of its list.
    pub(crate) fn make_plain(&self) {
        self.ticket.set(None);
    }
}

/// Crowds whose wakers have died or are g0's. Guarded by the lock around it.
///
/// ```text
///   head ──▶ node ── next ──▶ node ── next ──▶ (none)       the rest of one crowd
///             └ prev ──▶ node ── next ──▶ …                 the rest of another one
/// ```
#[derive(Debug)]
pub(crate) struct Orphans(Option<NonNull<Waiter>>);

// SAFETY: the nodes are claimed, and belong to the list.
unsafe impl Send for Orphans {}

impl Orphans {
    /// Nobody.
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Returns true if there is nobody.
    #[cfg(loom)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Adds the rest of one more crowd, by its first node.
    pub(crate) fn add(&mut self, first: Option<NonNull<Waiter>>) {
        if let Some(node) = first {
            // SAFETY: a claimed G is parked until it is woken, so its node lives. Its `prev` means
            // nothing.
            unsafe { node.as_ref() }.prev.set(self.0.replace(node));
        }
    }

    /// The next one to be woken.
    pub(crate) fn pop(&mut self) -> Option<NonNull<Waiter>> {
        let node = self.0?;
        // SAFETY: a claimed G is parked until it is woken, so its node lives.
        let waiter = unsafe { node.as_ref() };
        self.0 = match waiter.next.get() {
            Some(next) => {
                // SAFETY: the next node of the crowd is claimed and not woken either, so it lives.
                unsafe { next.as_ref() }.prev.set(waiter.prev.get());
                Some(next)
            }
            None => waiter.prev.get(),
        };
        Some(node)
    }
}

/// Where `g` keeps a `T` that passes from hand to hand while it waits: in its record if it fits
/// there, else at `stack`.
#[inline(always)]
pub(crate) fn place_for<T>(g: GRef, stack: *mut T) -> *mut T {
    if size_of::<T>() <= HAND_BYTES && align_of::<T>() <= 8 { g.hand().cast() } else { stack }
}
