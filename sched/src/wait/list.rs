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
//! (`wait/ticket.rs`). Its popper has to win the ticket as well, and skips the node if it comes too
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

use core::ptr::NonNull;

use crate::core::m::M;
use crate::core::park::ready;
use crate::g::GRef;
use crate::g::waiter::{Outcome, Waiter};
use crate::machine::guard::PreemptGuard;
use crate::wait::deaths;

/// A waiter that was taken off its list: the right and the duty to wake it.
#[derive(Debug)]
#[must_use = "a claimed G waits for ever unless it is woken"]
pub(crate) struct Claimed(NonNull<Waiter>);

impl Claimed {
    /// Makes the claim anew from the node of one.
    ///
    /// # Safety
    /// 1. The G of `node` is claimed, and nobody else has the claim.
    pub(crate) unsafe fn from_node(node: NonNull<Waiter>) -> Self {
        Self(node)
    }

    /// Returns its place for a value.
    #[inline(always)]
    pub(crate) fn slot(&self) -> *mut () {
        // SAFETY: the G is parked until `wake` readies it, so the content of its node stays.
        unsafe { self.0.as_ref() }.slot.get()
    }

    /// Marks the G as served. The `Claimed` is still to be woken.
    #[inline(always)]
    pub(crate) fn serve(self) -> Self {
        // SAFETY: the G is parked until `wake` readies it, so its node stays; nobody else touches
        // the outcome between claim and wake.
        unsafe { self.0.as_ref() }.outcome.with_mut(|outcome| unsafe { *outcome = Outcome::Served });
        self
    }

    /// Marks the G as one that would wait for ever, because G number `id` has died. The `Claimed`
    /// is still to be woken.
    pub(crate) fn bury(self, id: u64) -> Self {
        // SAFETY: the G is parked until `wake` readies it, so its node stays.
        let waiter = unsafe { self.0.as_ref() };
        waiter.slot.set(core::ptr::without_provenance_mut(id as usize));
        // SAFETY: nobody else touches the outcome between claim and wake.
        waiter.outcome.with_mut(|outcome| unsafe { *outcome = Outcome::Buried });
        self
    }

    /// Returns true if the wait can go on as if the node had not been claimed.
    pub(crate) fn is_plain(&self) -> bool {
        // SAFETY: the G is parked until `wake` readies it, so its node stays.
        unsafe { self.0.as_ref() }.outcome() == Outcome::Waits
    }

    /// Readies the G. With the object's lock released: the G may free the object.
    #[inline(always)]
    pub(crate) fn wake(self, guard: &PreemptGuard) {
        // SAFETY: the G is parked until `ready` below, and this is the last access to its node.
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
        // SAFETY: 1. the G of a claimed node stays parked until a later pop claims and wakes it.
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
        // SAFETY: 1. the node stays until its G has removed it, which the G does when it runs
        // again.
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
            // SAFETY: nodes in the list live; see `push`.
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
            // SAFETY: nodes in the list live; see `push`.
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
            // SAFETY: nodes in the list live; see `push`.
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
                    // SAFETY: this popper has won the ticket, so nobody else writes the outcome
                    // before the G is readied.
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
            // SAFETY: the node behind this one is in the list, hence it lives.
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
            // SAFETY: the nodes of `all` are still guarded by the object's lock, and those in a
            // list live; see `push`.
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

    /// Returns the first node of those that are left.
    pub(crate) fn first(&self) -> Option<NonNull<Waiter>> {
        self.0.head
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

/// [`ready`] where it need not be fast: once in the image.
#[inline(never)]
fn ready_rarely(g: GRef) {
    ready(&PreemptGuard::new(), g);
}
