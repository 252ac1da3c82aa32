//! The list of G's that wait for an object: FIFO, through the nodes in the G's own records, guarded
//! by the object's lock.
//!
// ANCHOR: list
//! ```text
//!   object { lock, WaitQueue { head, tail } }
//!                      │        └───────────────────────┐
//!                      ▼                                ▼
//!              Waiter in G a's record ── next ──▶ Waiter in G b's record
//!              { g, slot, outcome }               { g, slot, outcome }
//! ```
// ANCHOR_END: list
//!
//! Nothing of the list lies on a stack: waking a G that has waited long must not touch its stack,
//! which may be packed away. A value up to 32 bytes is handed over in the record as well
//! ([`place_for`]). A G that waits for several objects has a block of nodes on the heap.
//!
//! A node is pushed with the lock held, and `park`'s `commit` releases the lock when the G is saved
//! (INV-PUBLISH). A popper that takes a node under the lock has claimed the G. Only that popper
//! serves the G (moves a value through `slot`, marks it served), or leaves it unserved because the
//! object was closed. Then the popper readies the G. The node lives until then, so nobody touches
//! it after [`Claimed::wake`].
//!
//! # Two kinds of nodes
//!
//! A G that waits for one object without a deadline has a *plain* node: to pop it is to claim it. A
//! G whose wait may end in another way has a *ticketed* node, with a number from the G's ticket
//! (`ticket.rs`). Its popper has to win the ticket as well, and skips the node if it comes too
//! late. A third kind only *watches*: its G wants to know that something has changed, and looks
//! again. A pop wakes a watcher in passing.
//!
//! * **INV-WAITER**: a plain node is in its list until it is popped. A ticketed one is in its list
//!   until a popper takes it out, or its G does, under the object's lock. The G does so when it
//!   runs again because something else has won. `linked`, guarded by that lock, says which was
//!   first. So a popper that has lost touches the node under the lock only. When the G has taken
//!   out (or found gone) all of its nodes, nobody knows them.
//! * **INV-NO-ORPHAN**: from the return of `park` until all of its nodes are out, a G keeps
//!   preemption off. A G that is ended where it stands ends with preemption on, so it leaves no
//!   node behind.
//! * A plain push and pop know nothing of tickets but one comparison. `prev` is set by ticketed
//!   pushes only, since only a ticketed node is ever taken out of the middle. The remover of a node
//!   puts its neighbours right.
//!
//! Rejected:
//!
//! * the G's own link instead of a node: a G that waits for two objects has one link;
//! * a lock-free list: every operation on a channel looks at its values and at both lists, which
//!   have to agree;
//! * stale nodes that stay in the list until a pop finds them: a `select` in a loop over one quiet
//!   and one busy channel would fill the quiet one's list.

use core::cell::Cell;
use core::ptr::NonNull;

use crate::deaths;
use crate::g::{GRef, HAND_BYTES};
use crate::m::M;
use crate::park::ready;
use crate::preempt::PreemptGuard;
use crate::sync::UnsafeCell;
use crate::ticket::Number;

/// The fate of a node, as its G finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
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
    g: Cell<Option<GRef>>,
    /// The place for a value. The two sides of the object agree on the type behind it.
    slot: Cell<*mut ()>,
    /// The number of the wait that the popper has to win. None: the pop wins it.
    ticket: Cell<Option<Number>>,
    /// Written by the claimer of the node, read by its G once it runs again.
    outcome: UnsafeCell<Outcome>,

    // --- Guarded by the object's lock.
    next: Cell<Option<NonNull<Waiter>>>,
    /// Of ticketed nodes; means nothing in the first one.
    prev: Cell<Option<NonNull<Waiter>>>,
    /// Of ticketed nodes: it is in the list.
    linked: UnsafeCell<bool>,
    /// Of ticketed nodes: its G only wants to be woken.
    watches: Cell<bool>,
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

    fn outcome(&self) -> Outcome {
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

    fn set_linked(&self, to: bool) {
        // SAFETY: as above.
        self.linked.with_mut(|linked| unsafe { *linked = to });
    }

    /// Makes the node a plain one again: the wait is over and the node is out of its list.
    pub(crate) fn retire(&self) {
        self.ticket.set(None);
    }
}

/// A waiter that was taken off its list: the right and the duty to wake it.
#[derive(Debug)]
#[must_use = "a claimed G waits for ever unless it is woken"]
pub(crate) struct Claimed(NonNull<Waiter>);

impl Claimed {
    /// Returns its place for a value.
    #[inline(always)]
    pub(crate) fn slot(&self) -> *mut () {
        // SAFETY: the G is parked until `wake` readies it, so the content of its node stays.
        unsafe { self.0.as_ref() }.slot.get()
    }

    /// Marks the G as served. The `Claimed` is still to be woken.
    #[inline(always)]
    pub(crate) fn serve(self) -> Self {
        // SAFETY: as in `slot`; nobody else touches the outcome between claim and wake.
        unsafe { self.0.as_ref() }.outcome.with_mut(|outcome| unsafe { *outcome = Outcome::Served });
        self
    }

    /// Marks the G as one that would wait for ever, because G number `id` has died. The `Claimed`
    /// is still to be woken.
    pub(crate) fn bury(self, id: u64) -> Self {
        // SAFETY: as in `slot`, and in `serve`.
        let waiter = unsafe { self.0.as_ref() };
        waiter.slot.set(core::ptr::without_provenance_mut(id as usize));
        // SAFETY: as in `serve`.
        waiter.outcome.with_mut(|outcome| unsafe { *outcome = Outcome::Buried });
        self
    }

    /// Returns true if the wait can go on as if the node had not been claimed.
    pub(crate) fn is_plain(&self) -> bool {
        // SAFETY: as in `slot`.
        unsafe { self.0.as_ref() }.outcome() == Outcome::Waits
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
    /// How many of them are ticketed.
    ticketed: usize,
}

// SAFETY: the nodes are reached under the object's lock only, or belong to their claimer.
unsafe impl Send for WaitQueue {}

impl WaitQueue {
    pub(crate) const fn new() -> Self {
        Self { head: None, tail: NonNull::dangling(), ticketed: 0 }
    }

    /// Appends a plain node.
    ///
    /// # Safety
    /// 1. The node stays where it is until it was popped and its G readied: the caller parks right
    ///    after this.
    #[inline(always)]
    pub(crate) unsafe fn push(&mut self, waiter: &Waiter) {
        let node = NonNull::from(waiter);
        match self.head {
            None => self.head = Some(node),
            // SAFETY: the tail of a list that is not empty is in the list, hence its G is parked
            // and the node lives.
            Some(_) => unsafe { self.tail.as_ref() }.next.set(Some(node)),
        }
        self.tail = node;
    }

    /// Puts a plain node in front of others.
    ///
    /// # Safety
    /// 1. As for [`push`](Self::push).
    pub(crate) unsafe fn push_front(&mut self, waiter: &Waiter) {
        waiter.next.set(self.head);
        let node = NonNull::from(waiter);
        match self.head.replace(node) {
            None => self.tail = node,
            // SAFETY: nodes in the list live; see `push`. A ticketed one that is not the first any
            // more needs its `prev`.
            Some(second) => unsafe { second.as_ref() }.prev.set(Some(node)),
        }
    }

    /// Puts a plain node that was claimed in vain back: it is the first again.
    pub(crate) fn put_back(&mut self, claimed: Claimed) {
        // SAFETY: 1. its G is still parked.
        unsafe { self.push_front(claimed.0.as_ref()) };
    }

    /// Returns the slot of the G that has waited longest, if anybody waits. In a list of plain
    /// nodes.
    pub(crate) fn first_slot(&self) -> Option<*mut ()> {
        // SAFETY: nodes in the list live; see `push`.
        self.head.map(|node| unsafe { node.as_ref() }.slot.get())
    }

    /// Returns true if the list is empty (G's whose wait is over may still be in it).
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Returns true if at least two G's wait. In a list of plain nodes.
    pub(crate) fn has_two(&self) -> bool {
        self.head.is_some_and(|head| head != self.tail)
    }

    /// Appends a ticketed node.
    ///
    /// # Safety
    /// 1. The node stays where it is until [`remove`](Self::remove) was called for it: the caller
    ///    parks, and does that when it runs again.
    pub(crate) unsafe fn push_ticketed(&mut self, waiter: &Waiter) {
        waiter.prev.set(Some(self.tail));
        waiter.set_linked(true);
        self.ticketed += 1;
        // SAFETY: 1. a pop unlinks it as well.
        unsafe { self.push(waiter) };
    }

    /// Claims the G that has waited longest. Watchers on the way are woken.
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<Claimed> {
        let node = self.head?;
        // SAFETY: nodes in the list live; see `push`.
        let waiter = unsafe { node.as_ref() };
        if waiter.ticket.get().is_some() {
            return self.pop_ticketed();
        }
        self.head = waiter.next.get();
        Some(Claimed(node))
    }

    /// Claims the G that has waited longest, if its place `fits`. Nodes whose wait is over are
    /// skipped.
    pub(crate) fn pop_if(&mut self, fits: impl Fn(*mut ()) -> bool) -> Option<Claimed> {
        loop {
            let node = self.head?;
            // SAFETY: as in `pop`.
            let waiter = unsafe { node.as_ref() };
            let open = match (waiter.ticket.get(), waiter.g.get()) {
                (Some(number), Some(g)) => g.ticket.is_open(number),
                _ => true,
            };
            if open && !fits(waiter.slot.get()) {
                return None;
            }
            self.head = waiter.next.get();
            if waiter.ticket.get().is_none() || self.win(waiter) {
                return Some(Claimed(node));
            }
        }
    }

    /// Pops from a list whose first node is a ticketed one.
    #[cold]
    #[inline(never)]
    fn pop_ticketed(&mut self) -> Option<Claimed> {
        loop {
            let node = self.head?;
            // SAFETY: as in `pop`.
            let waiter = unsafe { node.as_ref() };
            self.head = waiter.next.get();
            if waiter.ticket.get().is_none() || self.win(waiter) {
                return Some(Claimed(node));
            }
        }
    }

    /// Tries to win the ticket of a popped node; true: the node is claimed. The node is not in the
    /// list any more.
    fn win(&mut self, waiter: &Waiter) -> bool {
        waiter.set_linked(false);
        self.ticketed -= 1;
        let (Some(number), Some(g)) = (waiter.ticket.get(), waiter.g.get()) else { return false };
        if !g.ticket.win(number) {
            return false;
        }
        // SAFETY: the ticket is ours: nobody else writes the outcome, and the G is parked until it
        // is readied.
        waiter.outcome.with_mut(|outcome| unsafe { *outcome = Outcome::Claimed });
        if waiter.watches.get() {
            // Under the object's lock, in an object's rare case. The G will want that lock, so it
            // looks at what comes of this pop.
            ready_rarely(g);
            return false;
        }
        waiter.ticket.set(None);
        true
    }

    /// Returns true if there is anybody to claim besides `but`. Watchers on the way are woken.
    pub(crate) fn has_other(&mut self, but: GRef) -> bool {
        let mut at = self.head;
        while let Some(node) = at {
            // SAFETY: as in `pop`.
            let waiter = unsafe { node.as_ref() };
            at = waiter.next.get();
            let Some(number) = waiter.ticket.get() else { return true };
            let Some(g) = waiter.g.get() else { continue };
            if core::ptr::eq(g, but) {
                continue;
            }
            if waiter.watches.get() {
                self.unlink(waiter);
                if g.ticket.win(number) {
                    // SAFETY: as in `win`.
                    waiter.outcome.with_mut(|outcome| unsafe { *outcome = Outcome::Claimed });
                    ready_rarely(g);
                }
            } else if g.ticket.is_open(number) {
                return true;
            }
        }
        false
    }

    /// Takes a ticketed node out, unless a pop has done so. By its G, after the park.
    pub(crate) fn remove(&mut self, waiter: &Waiter) {
        if waiter.is_linked() {
            self.unlink(waiter);
        }
    }

    fn unlink(&mut self, waiter: &Waiter) {
        let node = NonNull::from(waiter);
        let (prev, next) = (waiter.prev.get(), waiter.next.get());
        waiter.set_linked(false);
        self.ticketed -= 1;
        match prev {
            _ if self.head == Some(node) => self.head = next,
            // SAFETY: it is not the first, so the one before it is in the list and lives; every
            // remover in between put `prev` right.
            Some(prev) => unsafe { prev.as_ref() }.next.set(next),
            None => {}
        }
        match (next, prev) {
            // SAFETY: as above, of the one behind it.
            (Some(next), _) => unsafe { next.as_ref() }.prev.set(prev),
            (None, Some(prev)) => self.tail = prev,
            (None, None) => {}
        }
    }

    /// Claims all G's; watchers are woken at once. Takes no time for each, unless there are
    /// ticketed ones.
    pub(crate) fn take(&mut self) -> Crowd {
        if self.ticketed != 0 {
            self.claim_ticketed();
        }
        Crowd(core::mem::replace(self, Self::new()))
    }

    #[cold]
    #[inline(never)]
    fn claim_ticketed(&mut self) {
        let mut all = core::mem::replace(self, Self { ticketed: self.ticketed, ..Self::new() });
        while let Some(node) = all.head {
            // SAFETY: as in `pop`.
            let waiter = unsafe { node.as_ref() };
            all.head = waiter.next.get();
            if waiter.ticket.get().is_none() || self.win(waiter) {
                waiter.next.set(None);
                // SAFETY: 1. its G is claimed and not readied yet.
                unsafe { self.push(waiter) };
            }
        }
    }
}

/// So many of a crowd are woken in one go: some thousands of instructions.
const TOGETHER: usize = if cfg!(loom) { 1 } else { 32 };

/// Waiters that were claimed together.
///
/// More than [`TOGETHER`] of them are woken in pieces, between which the waker may die. So while
/// the waker is at it, its record names the rest; and if it dies, the undertaker wakes them.
#[derive(Debug)]
#[must_use = "claimed G's wait for ever unless they are woken"]
pub(crate) struct Crowd(WaitQueue);

impl Crowd {
    /// Makes a crowd of nobody.
    pub(crate) const fn nobody() -> Self {
        Self(WaitQueue::new())
    }

    /// Returns true if there is nobody in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the waiters whom `dead`, which never runs again, has not come to wake.
    pub(crate) fn left_by(dead: GRef) -> Option<Self> {
        // Its tail is not needed any more.
        dead.rest_of_crowd.take().map(|head| Self(WaitQueue { head: Some(head), ..WaitQueue::new() }))
    }

    /// Appends `other` to this crowd.
    pub(crate) fn and(self, other: Self) -> Self {
        let (Self(mut all), Self(other)) = (self, other);
        let Some(head) = other.head else { return Self(all) };
        match all.head {
            None => return Self(other),
            // SAFETY: a claimed G is parked until it is woken, so its node lives.
            Some(_) => unsafe { all.tail.as_ref() }.next.set(Some(head)),
        }
        all.tail = other.tail;
        Self(all)
    }

    /// Wakes them, unserved, of whom the caller has been the claimer under `guard`. A larger crowd
    /// is not to hold the core: it is woken in pieces.
    #[inline(never)]
    pub(crate) fn wake_claimed(mut self, guard: PreemptGuard) {
        self.wake_some(&guard);
        if self.0.head.is_some() {
            self.wake_rest(guard);
        }
    }

    /// Wakes some thousands of instructions' worth.
    fn wake_some(&mut self, guard: &PreemptGuard) {
        for _ in 0..TOGETHER {
            let Some(claimed) = self.0.pop() else { return };
            claimed.wake(guard);
        }
    }

    #[cold]
    #[inline(never)]
    fn wake_rest(mut self, mut guard: PreemptGuard) {
        let m = M::current(&guard);
        let Some(g) = m.running() else {
            // A g0 has preemption off all the time.
            return deaths::leave_to_round(m, self, &guard);
        };
        let rest = &g.rest_of_crowd;
        if rest.get().is_some() {
            // A handler on top of a G that wakes a crowd: it does not die in here.
            while self.0.head.is_some() {
                self.wake_some(&guard);
            }
            return;
        }
        rest.set(self.0.head);
        while rest.get().is_some() {
            drop(guard);
            guard = PreemptGuard::new();
            self.0.head = rest.get();
            self.wake_some(&guard);
            rest.set(self.0.head);
        }
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

    /// One more crowd.
    pub(crate) fn add(&mut self, crowd: Crowd) {
        if let Some(node) = crowd.0.head {
            // SAFETY: a claimed G is parked until it is woken, so its node lives. Its `prev` means
            // nothing.
            unsafe { node.as_ref() }.prev.set(self.0.replace(node));
        }
    }

    /// The next one to be woken.
    pub(crate) fn pop(&mut self) -> Option<Claimed> {
        let node = self.0?;
        // SAFETY: as above.
        let waiter = unsafe { node.as_ref() };
        self.0 = match waiter.next.get() {
            Some(next) => {
                // SAFETY: as above.
                unsafe { next.as_ref() }.prev.set(waiter.prev.get());
                Some(next)
            }
            None => waiter.prev.get(),
        };
        Some(Claimed(node))
    }
}

/// [`ready`] where it need not be fast: once in the image.
#[inline(never)]
fn ready_rarely(g: GRef) {
    ready(&PreemptGuard::new(), g);
}

/// Where `g` keeps a `T` that passes from hand to hand while it waits: in its record if it fits
/// there, else at `stack`.
#[inline(always)]
pub(crate) fn place_for<T>(g: GRef, stack: *mut T) -> *mut T {
    if size_of::<T>() <= HAND_BYTES && align_of::<T>() <= 8 { g.hand().cast() } else { stack }
}
